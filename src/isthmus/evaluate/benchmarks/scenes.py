"""Isthmus's own pictures: scenes of emoji in layouts and by a hand that are never trained on. No files are needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from isthmus.data.scenes import COLOURS, NUMBERS
from isthmus.data.sets import emoji_scenes
from isthmus.evaluate.answers import first, pairs, slug, text
from isthmus.evaluate.benchmarks._parts import Value, add
from isthmus.evaluate.benchmarks.dynamic_superb import named
from isthmus.evaluate.questions import Question
from isthmus.evaluate.scored import Scored
from isthmus.evaluate.scoring import right
from isthmus.types import Sample, Turn

ABOUT = "Isthmus's own emoji scenes, nothing to fetch: names, counts, relations, background, yes or no; held-out halves"
SOURCE = "isthmus.data.sets.emoji_scenes; drawings of Noto Emoji, Twemoji, Fluent Emoji and OpenMoji; exact match"
PREDICTIONS = {
    "rows with the truth inside": (
        '{"id": "layouts/0/1", "sample": "layouts/0", "kind": "yes/no", "truth": "yes", "prediction": "Yes."}'
    ),
}
REFERENCES: dict[str, str] = {}
DATA: dict[str, str] = {}
GET = "nothing: the pictures are drawn when they are asked about"
HEADLINE = "accuracy"
SPLITS = ("layouts", "vendor")  # cells that scenes never fill in training; a vendor whose drawings are never trained on
EACH = 60  # pictures of each
CONCEPTS = 221  # as many as the default model knows in scenes
ORDER = ("yes/no", "background", "name", "count", "objects", "relation")
UNTOLD = ("caption",)  # kinds with more than one right answer
CLOSED = {"yes/no": ("yes", "no"), "background": tuple(COLOURS), "count": NUMBERS}


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """accuracy of all questions, then of each kind: equal to the truth but for case, an article and a full stop.

    In lenient mode of yes or no, colours and numbers the one that an answer names; where it names none or several, it
    is unscored.
    """
    del references
    found = Scored()
    values = []
    for own in pairs(predictions, None, found, truth=("truth",)):
        kind, truth = text(own.own.get("kind", "")), own.told(["truth"])[0]
        hit = judged(own.said, truth, kind, mode)
        if hit is None:
            found.unscored[own.id] = f"names none or several of {', '.join(CLOSED[kind])}"
            continue
        parts = [slug(kind), *([slug(own.own["split"])] if "split" in own.own else [])]
        values.append(Value(float(hit), text(first(own.own, ("sample",)) or own.id), tuple(parts), own.id))
    add(found, "accuracy", values, [*map(slug, ORDER), *SPLITS])
    return found


def judged(said: str, truth: str, kind: str, mode: str) -> bool | None:
    """Whether an answer is right; None where lenient mode cannot tell.

    >>> judged("It is red.", "red", "background", "official"), judged("It is red.", "red", "background", "lenient")
    (False, True)
    >>> judged("2", "two", "count", "lenient"), judged("Red or blue", "red", "background", "lenient")
    (True, None)
    """
    if mode == "official" or kind not in CLOSED:
        return right(said, truth, kind)
    words = "".join(NUMBERS[int(sign)] if sign in "01234" and kind == "count" else sign for sign in said)
    told = named(words, set(CLOSED[kind]))
    return None if len(told) != 1 else truth in told


def samples(split: str, count: int) -> list[Sample]:
    """The pictures of a split, with their questions. Raises `UnknownName` or `PartUnavailable` without the drawings."""
    return emoji_scenes.load(split, count, concepts=CONCEPTS)


def questions(folder: Path) -> Sequence[Question]:
    """Every question with one right answer about `EACH` pictures of each split."""
    del folder
    return [
        asked(f"{split}/{number}", place, sample, turn, split)
        for split in SPLITS
        for number, sample in enumerate(samples(split, EACH))
        for place, turn in enumerate(sample.turns)
        if turn.kind not in UNTOLD
    ]


def asked(name: str, place: int, sample: Sample, turn: Turn, split: str) -> Question:
    """A picture's question, worded as in the data set."""
    row = {"id": f"{name}/{place}", "sample": name, "split": split, "kind": turn.kind}
    return Question(
        *(f"{name}/{place}", turn.question, sample.media, CLOSED.get(turn.kind, ()), False), truth=turn.answer,
        parts=(slug(turn.kind), split), image=name, row=row | {"question": turn.question, "truth": turn.answer},
    )  # fmt: skip
