"""POPE: is an object in the picture? Three splits of questions, by how the absent objects were drawn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from isthmus.errors import BadData
from isthmus.evaluate.files import Row, folder, pick, rows
from isthmus.evaluate.scored import Figure, Scored, yes_no

ABOUT = "object hallucination: is there such a thing in the picture? yes or no"
SOURCE = "Li et al., 2023, arXiv:2305.10355; github.com/RUCAIBox/POPE"
PREDICTIONS = {
    "JSON lines in the order of the references": '{"question_id": 1, "text": "Yes, there is a snowboard."}',
    "as the authors write them": '{"question": "Is there a snowboard in the image?", "answer": "Yes"}',
    "with the truth inside": '{"question_id": 1, "answer": "Yes", "label": "yes"}',
}
REFERENCES = {
    "coco_pope_random.json, or the folder of all three": (
        '{"question_id": 1, "image": "COCO_val2014_000000310196.jpg", "text": "Is there a snowboard?", "label": "yes"}'
    ),
}
INSIDE = True  # rows of predictions may hold the truth
SAID = ("text", "answer", "prediction", "response")
SPLITS = ("adversarial", "popular", "random")


class Read(NamedTuple):
    """One question: its truth, what was said (True is yes), and the picture that several questions share."""

    truth: bool
    said: bool
    image: str


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Each split's figures; of several splits, those over all questions as well."""
    found = Scored()
    parts = _parts(predictions, references)
    every: list[Read] = []
    for name, pairs in parts.items():
        own = _read(name, pairs, mode, found)
        found.add(_figures(own), name if len(parts) > 1 else "")
        every += own
    if len(parts) > 1:
        found.metrics = _figures(every) | found.metrics
    return found


def _figures(some: Sequence[Read]) -> dict[str, Figure]:
    return yes_no([one.truth for one in some], [one.said for one in some], [one.image for one in some])


def said_yes(text: str) -> bool:
    """The official reading: yes, unless one of the words No, not, no stands before the first full stop.

    >>> said_yes("Yes, it is. No doubt."), said_yes("There is not, I think"), said_yes("None")
    (True, False, True)
    """
    return not {"No", "not", "no"} & set(text.split(".")[0].replace(",", "").split(" "))


def read(text: str) -> bool | None:
    """A person's reading: the first word that is yes or no, whatever its case; None where there is neither.

    >>> read("NO!"), read("**Yes**, a dog"), read("I cannot tell")
    (False, True, None)
    """
    found = re.search(r"\b(yes|no)\b", text.lower())
    return found[1] == "yes" if found else None


def _read(split: str, pairs: Sequence[tuple[str, Row, Row]], mode: str, found: Scored) -> list[Read]:
    """A split's questions, as far as their answers can be read."""
    some = []
    for name, truth, row in pairs:
        text = str(next(row[key] for key in SAID if key in row))
        said = said_yes(text) if mode == "official" else read(text)
        if said is None:
            found.unscored[f"{split}/{name}"] = "neither yes nor no is said"
            continue
        some.append(Read(str(truth["label"]).strip().lower() == "yes", said, str(truth.get("image", name))))
    return some


def _parts(predictions: Path, references: Path | None) -> dict[str, list[tuple[str, Row, Row]]]:
    """For each split its questions: an id, the row with the truth, the row with the answer."""
    answers = folder(predictions)
    for number, row in enumerate(answers, 1):
        pick(row, SAID, predictions, number)
    if references is None:
        for number, row in enumerate(answers, 1):
            pick(row, ["label"], predictions, number)
        return {"": [(str(row.get("question_id", i)), row, row) for i, row in enumerate(answers)]}
    labels = {name: rows_ for name, rows_ in _labels(references).items() if rows_}
    own = _divided(answers, labels, references)
    found = {}
    for name, truths in labels.items():
        if len(own[name]) != len(truths):
            raise BadData(
                f"{predictions} has {len(own[name]):,} answers{f' of the split {name}' if name else ''}, and"
                f" {references} {len(truths):,} questions; they are matched by their order, so there must be as many"
            )
        ids = [str(truth.get("question_id", i)) for i, truth in enumerate(truths)]
        found[name] = list(zip(ids, truths, own[name], strict=True))
    return found


def _labels(references: Path) -> dict[str, list[Row]]:
    """The questions of each split: of one file, under the name that it has in its file's."""
    if not references.is_dir():
        found = rows(references)
        for number, row in enumerate(found, 1):
            pick(row, ["label"], references, number)
        return {"": found}
    files = {split: sorted(references.glob(f"*{split}*.json*")) for split in SPLITS}
    if not any(files.values()):
        raise BadData(f"{references}: no file coco_pope_random.json, _popular or _adversarial in this folder")
    return {split: rows(some[0]) for split, some in files.items() if some}


def _divided(answers: Sequence[Row], labels: dict[str, list[Row]], references: Path) -> dict[str, list[Row]]:
    """The answers of each split: by their `category`, their file's name, their question's category, or their order."""
    if len(labels) == 1:
        return {name: list(answers) for name in labels}
    told = {str(row["question_id"]): row["category"] for row in _questions(references)}
    names = [_split(row, told) for row in answers]
    if all(name in labels for name in names):
        return {split: [row for row, name in zip(answers, names, strict=True) if name == split] for split in labels}
    parted, place = {}, 0
    for split, truths in labels.items():  # adversarial, popular, random: the order of the file that models are asked
        parted[split] = list(answers[place : place + len(truths)])
        place += len(truths)
    if place != len(answers):
        raise BadData(
            f"{references} has {place:,} questions in {len(labels)} splits, and there are {len(answers):,} answers"
            " that do not say of which split they are (by a key `category`, or by one file for each split)"
        )
    return parted


def _questions(references: Path) -> list[Row]:
    """The file of questions beside the references, whose rows have a category, if there is one."""
    for file in sorted(references.glob("*.jsonl")) if references.is_dir() else ():
        found = rows(file)
        if found and {"question_id", "category"} <= found[0].keys():
            return found
    return []


def _split(row: Row, told: dict[str, str]) -> str:
    own = str(row.get("category") or told.get(str(row.get("question_id")), ""))
    return own or next((split for split in SPLITS if split in str(row.get("_file", ""))), "")
