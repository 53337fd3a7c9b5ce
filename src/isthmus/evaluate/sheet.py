"""The questions of one run of a benchmark, in shards; and what several askings of one question come to."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from isthmus.bulk.corpus import described
from isthmus.evaluate.benchmarks._choices import read as read_letter
from isthmus.evaluate.models import Said
from isthmus.evaluate.questions import LETTERS, Question
from isthmus.types import Medium

SHARD = 64  # questions, or a few more: those about one medium are together


@dataclass
class Sheet:
    """Questions, those about the same media one after another; a shard is never divided between two of these.

    `sources` and `rejected` are what a bulk run tells of files of samples; here there are none.
    """

    questions: list[Question]
    size: int = SHARD
    sources: tuple[Any, ...] = ()
    rejected: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.questions = [own for group in groups(self.questions) for own in group]

    @property
    def samples(self) -> int:
        """How many questions there are."""
        return len(self.questions)

    @property
    def shards(self) -> int:
        """How many there are."""
        return len(self.bounds)

    @cached_property
    def bounds(self) -> list[tuple[int, int]]:
        """Where each shard begins and ends."""
        found, start, place = [], 0, 0
        for group in groups(self.questions):
            place += len(group)
            if place - start >= self.size or place == len(self.questions):
                found.append((start, place))
                start = place
        return found

    @cached_property
    def digest(self) -> str:
        """Stands for all that is asked and shown, in order."""
        told = hashlib.sha256()
        for own in self.questions:
            media = [(described(medium), _size(medium)) for medium in own.media]
            told.update(repr((own.id, own.text, own.answers, own.longest, media)).encode())
        return told.hexdigest()

    def shard(self, number: int) -> list[Question]:
        """The questions of a shard."""
        return self.questions[slice(*self.bounds[number])]


def _size(medium: Medium) -> int:
    """Bytes of a medium's file, so that others under its name are others; 0 of what is no file."""
    return medium.source.stat().st_size if isinstance(medium.source, Path) and medium.source.is_file() else 0


def groups(questions: Sequence[Question]) -> list[list[Question]]:
    """The questions about the same media together, in order of first appearance; one without media is alone.

    >>> [[own.id for own in some] for some in groups([Question("1", "?"), Question("2", "?")])]
    [['1'], ['2']]
    """
    found: dict[Hashable, list[Question]] = {}
    for own in questions:
        found.setdefault(own.media or own.id, []).append(own)
    return list(found.values())


def some(questions: Sequence[Question], limit: int | None, seed: int) -> list[Question]:
    """At most `limit` of the questions, those of randomly drawn media, in their order.

    >>> len(some([Question(str(i), "?") for i in range(9)], 4, 0))
    4
    """
    if limit is None or limit >= len(questions):
        return list(questions)
    each = groups(questions)
    random.Random(seed).shuffle(each)
    kept = {own.id for own in [own for group in each for own in group][:limit]}
    return [own for own in questions if own.id in kept]


def rotations(questions: Sequence[Question]) -> list[Question]:
    """Each question with listed options in every rotation of these; others as they are.

    >>> [own.id for own in rotations([Question("1", "?", options=("x", "y"))])]
    ['1', '1 rotated by 1']
    """
    return [
        own.rotated(by) if by else own
        for own in questions
        for by in range(len(own.options) if own.listed and own.options else 1)
    ]


def circular(question: Question, said: Sequence[Said]) -> Said:
    """One answer of those to a question's rotations (CircularEval: Liu et al., 2023, arXiv:2307.06281, section 4.1).

    The question counts as right only if every rotation was. So what is written down is its letter where all agree, and
    else the first answer that is not the truth.

    >>> own = Question("1", "?", options=("x", "y"), truth="A")
    >>> circular(own, [Said("A"), Said("B")]).answer, circular(own, [Said("A"), Said("A")]).answer
    ('A', 'B')
    """
    if failed := next((own for own in said if own.answer is None), None):
        return failed
    count = len(question.options)
    found = []
    for by, own in enumerate(said):
        moved = question.options[by:] + question.options[:by]
        letter = read_letter(str(own.answer), dict(zip(LETTERS, moved, strict=False)))
        place = LETTERS.find(letter) if letter else -1
        found.append(LETTERS[(place + by) % count] if 0 <= place < count else str(own.answer))
    truth = question.truth or found[0]
    return Said(next((letter for letter in found if letter != truth), truth))


def merged(questions: Sequence[Question], said: Mapping[str, Said]) -> list[Said]:
    """For each question what was said to it, or what its rotations come to."""
    found = []
    for own in questions:
        rotated = [f"{own.id} rotated by {by}" for by in range(1, len(own.options))]
        if rotated and rotated[0] in said:
            found.append(circular(own, [said[own.id], *(said[name] for name in rotated)]))
        else:
            found.append(said[own.id])
    return found


def line(question: Question, said: Said) -> dict[str, Any]:
    """A line of a shard's file."""
    own: dict[str, Any] = {"id": question.id, "answer": said.answer}
    if said.confidence is not None:
        own["confidence"] = round(said.confidence, 6)
    if said.answer is None:
        own["left" if said.left else "failed"] = said.failed
    return own | ({"again": True} if said.again else {}) | ({"cut": True} if said.cut else {})


def said(line: Mapping[str, Any]) -> Said:
    """What a line of a shard's file tells.

    >>> said(line(Question("1", "?"), Said(None, "the server hung", again=True)))
    Said(answer=None, failed='the server hung', confidence=None, again=True, left=False, cut=False)
    """
    why = line.get("left", line.get("failed", ""))
    more = (line.get("again", False), "left" in line, line.get("cut", False))
    return Said(line["answer"], why, line.get("confidence"), *more)
