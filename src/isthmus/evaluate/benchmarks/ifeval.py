"""IFEval: does an answer follow instructions that a program can check?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from isthmus.errors import BadData
from isthmus.evaluate import keys
from isthmus.evaluate.benchmarks._instructions import CHECKS, CannotJudge
from isthmus.evaluate.files import Row, matched, rows
from isthmus.evaluate.scored import Figure, Scored, proportion

ABOUT = "does an answer follow instructions that a program can check, as a number of words? 25 kinds of these"
SOURCE = "Zhou et al., 2023, arXiv:2311.07911; github.com/google-research, instruction_following_eval; languages seeded"
PREDICTIONS = {
    "input_response_data_MODEL.jsonl": '{"prompt": "Write a riddle without commas.", "response": "What has keys"}',
    "samples of lm-evaluation-harness, task ifeval": '{"doc": {"key": 1000, ...}, "resps": [["What has keys"]]}',
}
REFERENCES = {
    "input_data.jsonl": (
        '{"key": 1000, "prompt": "Write a riddle without commas.", "instruction_id_list": ["punctuation:no_comma"],'
        ' "kwargs": [{}]}'
    ),
}
INSIDE = True  # the harness's samples hold the instructions
LISTS = ("keywords", "forbidden_words")  # of words; counts are numbers, anything else is a text
SAID = keys.said("response", "prediction", "answer", "output", "text", "resps")


class Followed(NamedTuple):
    """A prompt's instructions, and for each whether it was followed: to the letter, and in one of eight versions."""

    name: str
    kinds: tuple[str, ...]
    strict: tuple[bool, ...]
    loose: tuple[bool, ...]


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """The share of prompts all of whose instructions were followed, and of instructions; strict and loose, as the
    paper defines these.

    Both modes are the same, but that an empty answer follows nothing in the official one and is unscored in the other.
    """
    found = Scored()
    said = _said(rows(predictions), predictions)
    asked = _asked(rows(references), references) if references else _inside(rows(predictions), predictions)
    every: list[Followed] = []
    silent: dict[str, str] = {}
    for prompt in matched(said, asked, silent):
        own, answer = asked[prompt], said[prompt]
        if answer is None or (mode == "lenient" and not answer.strip()):
            found.unscored[own["_name"]] = "no prediction" if answer is None else "an empty answer"
            continue
        try:
            every.append(_followed(own, answer))
        except CannotJudge as error:
            found.unscored[own["_name"]] = str(error)
    found.unscored |= {asked[prompt]["_name"]: why for prompt, why in silent.items()}
    found.marks = {own.name: float(all(own.strict)) for own in every}
    found.add(_figures(every))
    kinds = dict.fromkeys(kind.partition(":")[0] for own in every for kind in own.kinds)
    for kind in sorted(kinds):
        found.add(_by_instruction(every, kind), kind)
    for kind in sorted({kind for own in every for kind in own.kinds}):
        found.add(_by_instruction(every, kind), kind.replace(":", "/"))
    return found


def versions(said: str) -> list[str]:
    """What of an answer is looked at loosely: all of it, and without its first or last line, or both; each with its
    asterisks and without.

    >>> versions("*a*\\nb")
    ['*a*\\nb', 'b', '*a*', '', 'a\\nb', 'b', 'a', '']
    """
    lines = said.split("\n")
    cut = [said, *("\n".join(own).strip() for own in (lines[1:], lines[:-1], lines[1:-1]))]
    return cut + [own.replace("*", "") for own in cut]


def _followed(own: Row, answer: str) -> Followed:
    strict, loose = [], []
    for kind, asks in zip(own["instruction_id_list"], own["kwargs"], strict=True):
        check = CHECKS[kind][0]
        tried = (bool(one.strip()) and check(one, asks) for one in versions(answer))
        strict.append(next(tried))  # the first version is the answer itself
        loose.append(strict[-1] or any(tried))
    return Followed(own["_name"], tuple(own["instruction_id_list"]), tuple(strict), tuple(loose))


def _figures(every: Sequence[Followed]) -> dict[str, Figure]:
    whole = _by_instruction(every)
    return {
        "prompt_strict_accuracy": proportion(all(own.strict) for own in every),
        "instruction_strict_accuracy": whole["instruction_strict_accuracy"],
        "prompt_loose_accuracy": proportion(all(own.loose) for own in every),
        "instruction_loose_accuracy": whole["instruction_loose_accuracy"],
    }


def _by_instruction(every: Sequence[Followed], group: str = "") -> dict[str, Figure]:
    """The share of instructions that were followed, all or those of a group or kind; those of one prompt together."""
    some = [
        (own.name, strict, loose)
        for own in every
        for kind, strict, loose in zip(own.kinds, own.strict, own.loose, strict=True)
        if group in ("", kind, kind.partition(":")[0])
    ]
    names = [name for name, *_ in some]
    return {
        "instruction_strict_accuracy": proportion((strict for _, strict, _ in some), names),
        "instruction_loose_accuracy": proportion((loose for *_, loose in some), names),
    }


def _said(some: Sequence[Row], path: Path) -> dict[str, str | None]:
    """The answer to each prompt."""
    said: dict[str, str | None] = {}
    for number, row in enumerate(some, 1):
        doc = row.get("doc")
        prompt = row.get("prompt", doc.get("prompt") if isinstance(doc, dict) else None)
        key = next((key for key in SAID if key in row), None)
        if prompt is None or key is None:
            missing = "prompt" if prompt is None else ", ".join(SAID)
            raise BadData(f"{path}, row {number}: none of the keys {missing}. It has {', '.join(row)}")
        answer = row[key]
        while isinstance(answer, list) and len(answer) == 1:
            answer = answer[0]
        if answer is not None and not isinstance(answer, str):
            raise BadData(f"{path}, row {number}: {key} is no text")
        if said.setdefault(str(prompt), answer) != answer:
            raise BadData(f"{path}, row {number}: its prompt stands twice, with two answers")
    return said


def _inside(some: Sequence[Row], path: Path) -> dict[str, Row]:
    docs = [own if isinstance(own := row.get("doc"), dict) else row for row in some]
    if not all("instruction_id_list" in own for own in docs):
        raise BadData(f"ifeval needs --references: {next(iter(REFERENCES))}, which says what the prompts of {path} ask")
    return _asked(docs, path)


def _asked(some: Sequence[Row], path: Path) -> dict[str, Row]:
    """The instructions of each prompt, each with what it asks for, checked."""
    asked: dict[str, Row] = {}
    for number, row in enumerate(some, 1):
        if missing := [key for key in ("prompt", "instruction_id_list", "kwargs") if key not in row]:
            raise BadData(f"{path}, row {number}: no {', '.join(missing)}. It has {', '.join(row)}")
        kinds, given = row["instruction_id_list"], row["kwargs"]
        if not isinstance(given, list) or not isinstance(kinds, list) or not kinds or len(kinds) != len(given):
            raise BadData(f"{path}, row {number}: as many kwargs as instruction_id_list, one or more, are expected")
        own = [_asks(kind, one, f"{path}, row {number}") for kind, one in zip(kinds, given, strict=True)]
        asked[str(row["prompt"])] = {**row, "kwargs": own, "_name": str(row.get("key", number))}
    return asked


def _asks(kind: Any, given: Any, where: str) -> Row:
    """What one instruction asks for, each value of the type that its name promises."""
    if not isinstance(kind, str) or kind not in CHECKS:
        raise BadData(f"{where}: no instruction {kind!r}. Known: {', '.join(CHECKS)}")
    if not isinstance(given or {}, dict):
        raise BadData(f"{where}: kwargs of {kind} are {given!r}, where an object is expected")
    own = {key: value for key, value in (given or {}).items() if value is not None}  # Parquet fills up with None
    if missing := [key for key in CHECKS[kind][1] if key not in own]:
        raise BadData(f"{where}: {kind} says nothing of {', '.join(missing)}")
    for key in CHECKS[kind][1]:
        value = own[key]
        if key in LISTS:
            good = isinstance(value, list) and all(isinstance(one, str) for one in value)
        else:
            good = isinstance(value, int | float if key.endswith("frequency") or "num_" in key or "nth" in key else str)
        if not good:
            raise BadData(f"{where}: {kind} has {key} {value!r}, which cannot be")
    return own
