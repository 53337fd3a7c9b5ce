"""Isthmus's own scenes made worse as ImageNet-C makes pictures: how much of a model's accuracy is left?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from isthmus.errors import BadData
from isthmus.evaluate.answers import column, first, pairs, slug, text
from isthmus.evaluate.benchmarks import scenes
from isthmus.evaluate.benchmarks._corrupted import KINDS, Corrupted
from isthmus.evaluate.questions import Question
from isthmus.evaluate.scored import Figure, Scored, of_sums, over, proportion
from isthmus.types import Image, Sample

ABOUT = "Isthmus's own emoji scenes under nine corruptions in three severities, nothing to fetch: what accuracy is left"
SOURCE = "Hendrycks & Dietterich, 2019, arXiv:1903.12261, for pictures of 112 pixels; isthmus.data.sets.emoji_scenes"
PREDICTIONS = {
    "rows with the truth inside, of clean pictures too": (
        '{"id": "fog/3/0/1", "question_of": "0/1", "sample": "0", "corruption": "fog", "severity": 3, "kind": "yes/no",'
        ' "truth": "yes", "prediction": "Yes."}'
    ),
}
REFERENCES: dict[str, str] = {}
DATA: dict[str, str] = {}
GET = "nothing: the pictures are drawn and made worse when they are asked about"
HEADLINE = "corrupted/accuracy"
CLEAN = "clean"
SEVERITIES = (1, 3, 5)
COUNT = 30  # pictures, each of which is asked about once clean and in `SEVERITIES` of every kind


class Read(NamedTuple):
    """One answer: of which question, about which picture, under what corruption, and whether it is right."""

    question: str
    sample: str
    corruption: str
    severity: int
    right: bool


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Accuracy of clean and of corrupted pictures, of each corruption, and of each of its severities.

    corrupted/accuracy is the mean over corruptions and severities. relative_accuracy is what share of the clean
    accuracy is left, over the questions that were answered in every way.
    """
    del references
    found = Scored()
    read = []
    for number, own in enumerate(pairs(predictions, None, found, truth=("truth",)), 1):
        column([own.own], ["corruption"], predictions, f"the corruption in row {number}")
        kind = text(own.own.get("kind", ""))
        hit = scenes.judged(own.said, own.told(["truth"])[0], kind, mode)
        if hit is None:
            found.unscored[own.id] = f"names none or several of {', '.join(scenes.CLOSED[kind])}"
            continue
        found.marks[own.id] = float(hit)
        name, sample = text(first(own.own, ("question_of",)) or own.id), text(own.own.get("sample", own.id))
        read.append(Read(name, sample, text(own.own["corruption"]), _severity(own.own, predictions, number), hit))
    _add(found, read)
    return found


def _severity(row: dict[str, object], path: Path, number: int) -> int:
    try:
        return int(text(row.get("severity", 0)))
    except ValueError as error:
        raise BadData(f"{path}, row {number}: the severity is a whole number, not {row['severity']!r}") from error


def _add(found: Scored, read: Sequence[Read]) -> None:
    ways = list(dict.fromkeys((one.corruption, one.severity) for one in read))
    worse = [way for way in ways if way[0] != CLEAN]
    for name, some in ((CLEAN, [way for way in ways if way[0] == CLEAN]), ("corrupted", worse)):
        if some:
            found.add({"accuracy": _mean(read, some)}, name)
    every = {one.question for one in read}
    for way in ways:
        every &= {one.question for one in read if (one.corruption, one.severity) == way}
    both = [one for one in read if one.question in every]
    if worse and len(worse) < len(ways) and both:
        found.add({"relative_accuracy": _relative(both)})
    if alone := len({one.question for one in read} - every):
        found.notes.append(f"{alone:,} questions were not answered in every way and are not in relative_accuracy")
    for kind in dict.fromkeys(kind for kind, _ in worse):
        own = [one for one in read if one.corruption == kind]
        found.add({"accuracy": _mean(own, [way for way in worse if way[0] == kind])}, kind)
        for severity in sorted({one.severity for one in own}):
            found.add({"accuracy": _mean(own, [(kind, severity)])}, f"{kind}_{severity}")


def _mean(read: Sequence[Read], ways: Sequence[tuple[str, int]]) -> Figure:
    """The mean over ways of their accuracies, drawn anew by picture."""
    place = {way: i for i, way in enumerate(ways)}
    own = [one for one in read if (one.corruption, one.severity) in place]
    if len(ways) == 1:
        return proportion((one.right for one in own), (one.sample for one in own))
    sums = np.zeros((len(own), 2, len(ways)))
    for row, one in zip(sums, own, strict=True):
        row[:, place[one.corruption, one.severity]] = one.right, 1
    width = len(ways)
    return of_sums(
        lambda s: (s[..., :width] / s[..., width:]).mean(-1), sums.reshape(len(own), -1), (one.sample for one in own)
    )


def _relative(read: Sequence[Read]) -> Figure:
    """Corrupted over clean accuracy of the same questions, drawn anew by picture."""
    sums = np.array(
        [[w * one.right, w, c * one.right, c] for one in read for c in [one.corruption == CLEAN] for w in [not c]]
    )
    left = of_sums(lambda s: over(s[..., 0] * s[..., 3], s[..., 1] * s[..., 2]), sums, (one.sample for one in read))
    return left if sums[:, 2].sum() else Figure(float("nan"), float("nan"), float("nan"), 0)


def questions(folder: Path) -> Sequence[Question]:
    """The scenes' questions about `COUNT` pictures in held-out layouts, clean and in every corruption and severity."""
    del folder
    found = []
    ways = [(CLEAN, 0), *((kind, severity) for kind in KINDS for severity in SEVERITIES)]
    for number, sample in enumerate(scenes.samples("layouts", COUNT)):
        for kind, severity in ways:
            found += _asked(str(number), sample, kind, severity)
    return found


def _asked(name: str, sample: Sample, kind: str, severity: int) -> list[Question]:
    """The questions about a picture in one way."""
    (image,) = sample.media
    assert isinstance(image, Image)
    shown = image if kind == CLEAN else Image(Corrupted(image, kind, severity))
    label = kind if kind == CLEAN else f"{kind}/{severity}"
    parts = (CLEAN,) if kind == CLEAN else ("corrupted", kind, f"{kind}_{severity}")
    found = []
    for place, turn in enumerate(sample.turns):
        if turn.kind in scenes.UNTOLD:
            continue
        own = scenes.asked(name, place, sample, turn, "layouts")
        row = own.row | {"id": f"{label}/{own.id}", "question_of": own.id, "corruption": kind, "severity": severity}
        found.append(replace(own, id=f"{label}/{own.id}", media=(shown,), parts=(*parts, slug(turn.kind)), row=row))
    return found
