"""What was said and what it should have been, text by text, from the forms in which speech and translation have them.

Line by line; `id text`, as Kaldi and LibriSpeech (`.trans.txt`) have it; `text (id)`, as sclite's `.trn`; `{id: text}`;
and rows of JSON lines or tables.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from isthmus.errors import BadData
from isthmus.evaluate import keys
from isthmus.evaluate.benchmarks._rows import table, text
from isthmus.evaluate.files import SHEETS, document, held, identity, matched
from isthmus.evaluate.scored import Scored

IDS = ("id", "utt_id", "utt", "question_id", "index", "key", "audio", "file", "path", "segment_id")
SAID = keys.said(
    *("prediction", "hypothesis", "hyp", "pred", "pred_text", "predicted", "output", "response", "translation", "hypo"),
    *("mt", "candidate", "model_output", "predicted_text", "translation_text", "summary_text", "text"),
)
TRUTH = (
    *keys.truths(
        *("reference", "references", "ref", "refs", "truth", "ground_truth", "gt", "target", "label", "gt_text"),
        *("transcript", "transcription", "sentence", "premise", "answer", "answers"),
    ),
    "text",
)
TRN = re.compile(r"(.*?)\s*\(([^()\s]+)\)\s*")


class Pair(NamedTuple):
    """One utterance or sentence: its id, what was said, and one or several references."""

    id: str
    said: str
    references: list[str]


def pairs(predictions: Path, references: Path | None, found: Scored) -> list[Pair]:
    """The texts of both files, in the order of the references; what was not said at all goes into `found.unscored`.

    Raises `BadData` for an id that stands twice, files of different lengths that have no ids, and rows without a text.
    """
    if references is None:
        return _inside(predictions, found)
    said, truths = _texts(predictions, SAID), _texts(references, TRUTH)
    known = _named(said) and _named(truths)
    if not known and len(said) == len(truths) and _started(said) == _started(truths):
        said, truths, known = _cut(said), _cut(truths), True
    if not known:
        if len(said) != len(truths):
            raise BadData(
                f"{predictions} has {len(said):,} texts and {references} {len(truths):,}, without ids in common; only"
                " as many of both can be matched, line by line"
            )
        every = enumerate(zip(said, truths, strict=True), 1)
        return [Pair(str(i), _one(one), _several(truth)) for i, ((_, one), (_, truth)) in every]
    by_id, own = _single(said, predictions), _single(truths, references)
    names = matched(by_id, own, found.unscored)
    if more := len(by_id) - len(names):
        found.notes.append(f"{more:,} predictions are of no reference and were left out")
    return [Pair(name, _one(by_id[name]), _several(own[name])) for name in names]


Texts = list[tuple[str | None, Any]]


def _inside(path: Path, found: Scored) -> list[Pair]:
    """The pairs of rows that hold both; of `text` and another key, that other one is what was said."""
    done = []
    for number, row in enumerate(table(path), 1):
        truth = next((key for key in TRUTH if key in row and key != "text"), "text" if "text" in row else "")
        said = next((key for key in SAID if key in row and key != truth), "")
        if not truth or not said:
            raise BadData(
                f"{path}, row {number}: what was said ({keys.some(SAID)}) and its reference ({keys.some(TRUTH)}) are"
                f" needed in each row, or give --references. It has {held(row)}"
            )
        name = next((text(row[key]) for key in IDS if text(row.get(key))), str(number))
        if row[said] is None or row[said] != row[said]:
            found.unscored[name] = "no prediction"
        else:
            done.append(Pair(name, _one(row[said]), _several(row[truth])))
    return done


def _texts(path: Path, names: Sequence[str]) -> Texts:
    """The texts of a file or a folder of transcripts, each with its id where it has one."""
    if path.is_dir():
        files = sorted(path.rglob("*.trans.txt")) or sorted(path.rglob("*.txt"))
        if not files:
            raise BadData(f"{path}: no file *.trans.txt or *.txt in this folder")
        return [pair for file in files for pair in _texts(file, names)]
    if path.suffix.lower() in SHEETS or _structured(path):
        return _of_rows(path, names)
    lines = text_lines(path)
    if not lines:
        raise BadData(f"{path}: the file is empty")
    if path.name.endswith(".trans.txt"):
        return _cut([(None, line) for line in lines if line.strip()])
    marked = [TRN.fullmatch(line) for line in lines]
    if path.suffix == ".trn" and all(marked):
        return [(one[2], one[1]) for one in marked if one]
    return [(None, line) for line in lines]


def _of_rows(path: Path, names: Sequence[str]) -> Texts:
    if path.suffix == ".json":
        listed = document(path)
        if isinstance(listed, list) and listed and all(isinstance(one, str | list) for one in listed):
            return [(None, one) for one in listed]
    found: Texts = []
    for number, row in enumerate(table(path, names[0]), 1):
        key = next((key for key in names if key in row), "")
        if not key:
            raise BadData(f"{path}, row {number}: no text under {keys.some(names)}. It has {held(row)}")
        found.append((next((identity(text(row[name])) for name in IDS if text(row.get(name))), None), row[key]))
    return found


def _structured(path: Path) -> bool:
    """Whether a file holds JSON or a table with names, and not lines of text."""
    if path.suffix.lower() in (".json", ".jsonl", ".csv", ".tsv"):
        return True
    start = _read(path)[:200].lstrip()
    return start.startswith(('{"', "{\n", "[{", "[\n"))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadData(f"{path}: not text in UTF-8 (byte {error.start})") from error


def text_lines(path: Path) -> list[str]:
    """The lines of a text; only a line feed ends one, and the last line's end begins no other."""
    lines = [line.removesuffix("\r") for line in _read(path).split("\n")]
    return lines[:-1] if lines and not lines[-1] else lines


def _named(texts: Texts) -> bool:
    return all(name is not None for name, _ in texts)


def _started(texts: Texts) -> set[str] | None:
    """The first words of lines, if they could be ids: each another one, and with a digit in it."""
    firsts = [str(value).split(maxsplit=1)[0] if str(value).split() else "" for _, value in texts]
    able = len(set(firsts)) == len(firsts) and all(re.search(r"\d", first) for first in firsts)
    return set(firsts) if able and all(name is None for name, _ in texts) else {f"{id(texts)}"}


def _cut(texts: Texts) -> Texts:
    """Lines as their first word, the id, and the rest."""
    parts = [[*str(value).split(maxsplit=1), "", ""][:2] for _, value in texts]
    return [(name, rest) for name, rest in parts]


def _single(texts: Texts, path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, (name, value) in enumerate(texts, 1):
        if name in found:
            raise BadData(f"{path}, row {number}: the id {name} stands twice")
        found[str(name)] = value
    return found


def _one(value: Any) -> str:
    return text(value)


def _several(value: Any) -> list[str]:
    """References as a list; one that is empty is an empty text."""
    return [text(one) for one in value] if isinstance(value, list) and value else [text(value)]
