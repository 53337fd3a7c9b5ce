"""Dynamic-SUPERB: speech tasks that are told in words, each with its own labels."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from isthmus.errors import BadData
from isthmus.evaluate.answers import IDS, by, first, pairs, records, slug
from isthmus.evaluate.benchmarks._asked import have, hubs
from isthmus.evaluate.benchmarks._asked_media import Heard
from isthmus.evaluate.benchmarks._parts import Value, add
from isthmus.evaluate.files import document
from isthmus.evaluate.questions import Question, inside
from isthmus.evaluate.scored import Scored, macro_mean
from isthmus.types import Audio

ABOUT = "speech tasks that are told in words, each with its own labels; accuracy of each task"
SOURCE = "Huang et al., 2024, arXiv:2309.09510; github.com/dynamic-superb/dynamic-superb (exact match of the label)"
PREDICTIONS = {
    "rows with the truth inside, or a folder of one file for each task": (
        '{"task": "SpeakerVerification_VCTK", "instruction": "...", "label": "yes", "prediction": "Yes."}'
    ),
}
REFERENCES = {"the labels by id": '{"id": "...", "task": "...", "label": "yes"}'}
INSIDE = True  # rows of predictions may hold the truth
DATA = {
    "*/test/metadata.json": "a folder for each task, {sound: {instruction, label}}, and its sounds beside it",
    "*/**/test*.parquet": "or the tasks' repositories of the hub DynamicSuperb, a folder for each",
}
GET = "huggingface.co/DynamicSuperb, a folder for each task that is to be asked, called as the task"
HEADLINE = "accuracy"
TASKS = ("task", "task_name", "dataset", "dataset_name", "_file")
DIMENSIONS = ("dimension", "category")


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Accuracy over all, the mean of the tasks' accuracies, and that of each task and dimension.

    An answer is right if it is the label, whatever the case, outer white space and a full stop at its end; in lenient
    mode also if the label is the only one of its task that stands in it as words.
    """
    found = Scored()
    some = pairs(
        predictions, None if references is None else records(references), found, joins=(by(TASKS, IDS), by(IDS))
    )
    labels: dict[str, set[str]] = defaultdict(set)
    for one in some:
        labels[_task(one.truth | one.own)].add(plain(one.told()[0]))
    values = []
    for one in some:
        task, truth = _task(one.truth | one.own), plain(one.told()[0])
        right = plain(one.said) == truth
        if not right and mode != "official":
            right = named(one.said, labels[task]) == {truth}
        dimension = first(one.truth | one.own, DIMENSIONS)
        values.append(Value(float(right), one.id, (task, *([] if dimension is None else [slug(dimension)])), one.id))
    add(found, "accuracy", values)
    if len(labels) > 1:
        own = macro_mean([one.value for one in values], [one.parts[0] for one in values])
        found.metrics = {"accuracy": found.metrics.pop("accuracy"), "macro_accuracy": own} | found.metrics
    return found


def questions(folder: Path) -> Sequence[Question]:
    """The instructions of each task's test split, as they stand, which name what may be answered."""
    found = []
    for place in sorted(own for own in folder.iterdir() if own.is_dir()) if folder.is_dir() else ():
        if files := sorted(place.glob("test/metadata.json")) or sorted(place.glob("metadata.json")):
            found += _local(place.name, files[0])
        elif any(place.rglob("*.parquet")):
            found += _parquet(place.name, place)
    if not found:
        raise BadData(f"{folder}: no folder TASK with test/metadata.json or test*.parquet in this folder")
    return found


def _local(task: str, file: Path) -> list[Question]:
    held = document(file)
    if not isinstance(held, dict):
        raise BadData(f"{file}: expected {{sound: {{instruction, label}}}}")
    found = []
    for number, (name, row) in enumerate(held.items(), 1):
        if not isinstance(row, dict):
            raise BadData(f"{file}, {name}: expected {{instruction, label}}, not {str(row)[:80]!r}")
        have(row, ("instruction", "label"), file, number)
        names = [name, *(str(row[key]) for key in sorted(row) if re.fullmatch(r"(audio|file)[2-9]", key))]
        sounds = [Audio(inside(file.parent, [own, f"{own}.wav"], f"{task}, {name}")) for own in names]
        found.append(_question(task, name, str(row["instruction"]), str(row["label"]), sounds))
    return found


def _parquet(task: str, folder: Path) -> list[Question]:
    found = []
    for number, row in enumerate(hubs(folder, "test"), 1):
        have(row, ("audio", "instruction", "label"), folder, number)
        several = sorted(key for key in row if re.fullmatch(r"audio[2-9]?", key) and row[key] is not None)
        sounds = [Audio(Heard(row[key])) for key in several]
        name = str(row.get("file") or row.get("id") or number)
        found.append(_question(task, name, str(row["instruction"]), str(row["label"]), sounds))
    if len({own.id for own in found}) < len(found):  # one sound in several rows
        found = [
            replace(own, id=f"{own.id}#{i}", row=own.row | {"id": f"{own.row['id']}#{i}"})
            for i, own in enumerate(found)
        ]
    return found


def _question(task: str, name: str, asked: str, label: str, sounds: Sequence[Audio]) -> Question:
    row = {"task": task, "id": name, "instruction": asked, "label": label}
    return Question(f"{task} | {name}", asked, tuple(sounds), truth=label, parts=(slug(task),), row=row, longest=64)


def _task(row: dict[str, object]) -> str:
    return slug(first(row, TASKS) or "all")


def plain(label: str) -> str:
    """A label or answer as it is compared.

    >>> plain(" Yes."), plain("Bona fide")
    ('yes', 'bona fide')
    """
    return label.strip().lower().removesuffix(".").strip()


def named(answer: str, labels: set[str]) -> set[str]:
    """The labels that stand in an answer as words, without those that are within a longer one that does.

    >>> named("It is happy, I think", {"happy", "sad"}), named("not bona fide", {"bona fide", "spoof"})
    ({'happy'}, {'bona fide'})
    """
    found = {one for one in labels if re.search(rf"(?<!\w){re.escape(one)}(?!\w)", answer.lower())}
    return {one for one in found if not any(one != other and one in other for other in found)}
