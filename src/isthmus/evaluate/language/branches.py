"""Many texts in one pass: what several begin with is read once.

Texts are sorted, so those that begin alike stand together, and written into rows as branches of a tree. A token looks
at itself and at the tokens before it in its own text, and has the position that it has there, so each text is what it
would be alone:

    the sky is | blue              row     the  sky  is  blue  green  sea  is
    the sky is | green             before    -  the sky    is     is  the sea
    the sea is | blue                        0    1   2     3      3    1   2   position

Options of one question share the question, and questions behind the same examples share these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

WIDTH = 512  # tokens of a row, unless a text is long
TIMES = 4  # so often its first text's length may a row be: the longer what is shared, the more is worth its mask
LONGEST = 4096  # tokens of such a row: a mask takes the square of it


@dataclass
class Row:
    """Texts in a tree: its tokens and their positions, and of each text its number and where its tokens stand."""

    limit: int
    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    texts: list[tuple[int, list[int]]] = field(default_factory=list)

    def add(self, number: int, text: Sequence[int], known: int) -> None:
        """Put a text behind those that are there, of which the last begins with the same `known` tokens."""
        start = len(self.ids)
        before = self.texts[-1][1][:known] if self.texts else []
        self.ids += text[known:]
        self.positions += range(known, len(text))
        self.texts.append((number, [*before, *range(start, len(self.ids))]))

    def mask(self) -> Tensor | None:
        """Scores to add, [1, 1, T, T], as `data.packing.block_mask`; None where there is only one text."""
        length = len(self.ids)
        if all(places[-1] == len(places) - 1 for _, places in self.texts):
            return None
        sees = torch.ones(length, length, dtype=torch.bool).tril_()
        start = 0
        for _, places in self.texts:
            if (end := places[-1] + 1) > start:  # else all its tokens were there
                sees[start:end, :start] = False
                sees[start:end, [place for place in places if place < start]] = True
                start = end
        return torch.zeros(1, 1, length, length).masked_fill_(~sees, torch.finfo(torch.float32).min)


def rows(texts: Sequence[Sequence[int]], share: bool = True, width: int = WIDTH) -> Iterator[Row]:
    """All texts, none of them empty, in rows; without `share` each distinct one has its own.

    >>> (row,) = rows([[5, 6, 7], [5, 6, 8], [5, 6, 7]])
    >>> row.ids, row.positions, row.texts
    ([5, 6, 7, 8], [0, 1, 2, 2], [(0, [0, 1, 2]), (2, [0, 1, 2]), (1, [0, 1, 3])])
    """
    row: Row | None = None
    last: Sequence[int] = []
    for number in sorted(range(len(texts)), key=lambda number: list(texts[number])):
        text = texts[number]
        known = common(last, text)
        full = row is not None and len(row.ids) + len(text) - known > row.limit
        if row is None or (known < len(text) and (full or not share)):
            if row is not None:
                yield row
            known = 0
            row = Row(max(width, min(TIMES * len(text), LONGEST)) if share else len(text))
        row.add(number, text, known)
        last = text
    if row is not None:
        yield row


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with.

    >>> common([1, 2, 3], [1, 2, 4, 5])
    2
    """
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
