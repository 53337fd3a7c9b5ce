"""What data sets share that take what they show from a part: which of it is held out, which is taken, yes and no."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, TypeVar

from pydantic import Field

from isthmus.types import Turn

T = TypeVar("T")
Number = Annotated[int, Field(ge=1)]


def ranked(names: Iterable[str]) -> list[str]:
    """Different names in the order of their SHA-256, which no other name changes.

    >>> ranked(["oboe", "horn", "lute", "oboe"])
    ['oboe', 'horn', 'lute']
    """
    return sorted(set(names), key=lambda name: hashlib.sha256(name.encode()).hexdigest())


def held_out(names: Iterable[str], every: int) -> frozenset[str]:
    """Every `every`-th of the names in that order, from the first on.

    >>> sorted(held_out(["oboe", "horn", "lute"], every=2))
    ['lute', 'oboe']
    """
    return frozenset(ranked(names)[::every])


def some(pool: Sequence[T], count: int | None, seed: str) -> list[T]:
    """`count` of the pool, drawn by `seed` and in the pool's order; all where there are no more, or without `count`.

    >>> some("abcdef", 3, "1/letters"), some("abc", None, "0")
    (['a', 'e', 'f'], ['a', 'b', 'c'])
    """
    if count is None or count >= len(pool):
        return list(pool)
    return [pool[index] for index in sorted(random.Random(seed).sample(range(len(pool)), count))]


def yes_no(question: str, true: str, false: str) -> tuple[Turn, Turn]:
    """A question that is answered with yes, and the same about something else, with no; {} is where the thing stands.

    >>> [(turn.question, turn.answer) for turn in yes_no("Is this {}?", "an oboe", "a horn")]
    [('Is this an oboe?', 'yes'), ('Is this a horn?', 'no')]
    """
    return Turn(question.format(true), "yes", "yes/no"), Turn(question.format(false), "no", "yes/no")


def rounds(pool: Sequence[T], count: int, order: random.Random) -> Iterator[T]:
    """`count` of them: shuffled rounds of all; of a last round that is cut short, some.

    >>> sorted(rounds("ab", 4, random.Random(0)))
    ['a', 'a', 'b', 'b']
    """
    for done in range(0, count, len(pool)):
        yield from order.sample(pool, min(len(pool), count - done))
