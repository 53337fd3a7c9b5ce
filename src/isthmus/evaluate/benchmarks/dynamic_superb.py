"""Dynamic-SUPERB: speech tasks that are told in words, each with its own labels."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from isthmus.evaluate.answers import IDS, by, first, pairs, records, slug
from isthmus.evaluate.benchmarks._parts import Value, add
from isthmus.evaluate.scored import Scored, of_sums

ABOUT = "speech tasks that are told in words, each with its own labels; accuracy of each task"
SOURCE = "Huang et al., 2024, arXiv:2309.09510; github.com/dynamic-superb/dynamic-superb (exact match of the label)"
PREDICTIONS = {
    "rows with the truth inside, or a folder of one file for each task": (
        '{"task": "SpeakerVerification_VCTK", "instruction": "...", "label": "yes", "prediction": "Yes."}'
    ),
}
REFERENCES = {"the labels by id": '{"id": "...", "task": "...", "label": "yes"}'}
INSIDE = True  # rows of predictions may hold the truth
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
        values.append(Value(float(right), one.id, (task, *([] if dimension is None else [slug(dimension)]))))
    add(found, "accuracy", values)
    if len(labels) > 1:
        place = {task: k for k, task in enumerate(labels)}
        sums = np.zeros((len(values), 2 * len(place)))
        for k, value in enumerate(values):
            sums[k, place[value.parts[0]]] = value.value
            sums[k, len(place) + place[value.parts[0]]] = 1
        width = len(place)
        macro = of_sums(lambda s: (s[..., :width] / s[..., width:]).mean(-1), sums)
        found.add({"accuracy": macro}, "task_mean")
    return found


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
