"""What encoders made of the media of several samples: of any kinds, any number of them, none at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from isthmus.data.shards import Rows

Piece = tuple[str, int, int]  # kind, row of its features, slots in the text


@dataclass(frozen=True)
class Seen:
    """Features of media by kind, and which of them belong to which sample.

    Args:
        store: kind -> features [P, N, D] of pieces, each different one once (a piece is a medium or a part of it, such
            as a window of a long sound).
        valid: kind -> how many of a piece's own units are real [P], for kinds whose media differ in length.
        rows: of each sample, the pieces of each medium in reading order.
    """

    store: Mapping[str, Tensor | Rows] = field(default_factory=dict)
    valid: dict[str, Tensor] = field(default_factory=dict)
    rows: list[list[list[Piece]]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, samples: Iterable[int]) -> Seen:
        """The same features for these samples, in this order, repeated ones too."""
        return Seen(self.store, self.valid, [self.rows[i] for i in samples])

    def media(self, sample: int) -> list[list[tuple[str, int]]]:
        """Of each medium of a sample, for each piece its kind and how many slots it takes (see `data.packing`)."""
        return [[(kind, count) for kind, _, count in pieces] for pieces in self.rows[sample]]

    def slots(self, sample: int) -> list[tuple[str, int]]:
        """The same of all pieces of a sample."""
        return [piece for pieces in self.media(sample) for piece in pieces]

    def first(self, counts: Iterable[int]) -> Seen:
        """Of each sample only so many of its media."""
        return Seen(self.store, self.valid, [own[:count] for own, count in zip(self.rows, counts, strict=True)])

    def places(self, kind: str) -> tuple[list[int], list[int]]:
        """Of every piece of one kind in reading order: the row of its features, and the number of its sample."""
        found = [(row, i) for i, media in enumerate(self.rows) for own in media for its, row, _ in own if its == kind]
        return [row for row, _ in found], [i for _, i in found]

    def features(self, kind: str) -> tuple[Tensor, Tensor | None]:
        """Features [K, N, D] of all pieces of one kind in reading order, in float32; their `valid` [K], if it has one.

        Gradients reach what stored features were made by.
        """
        rows, _ = self.places(kind)
        store = self.store[kind]
        mine = store if rows == list(range(len(store))) else store[rows]
        return mine.float(), self.valid[kind][rows] if kind in self.valid else None

    @property
    def kinds(self) -> list[str]:
        """The kinds of media that these samples have."""
        return list(dict.fromkeys(kind for media in self.rows for pieces in media for kind, _, _ in pieces))

    def inputs(self) -> dict[str, Any]:
        """What a composed model's `forward`, `hidden` and `generate` take for these samples."""
        each = {kind: self.features(kind) for kind in self.kinds}
        valid = {kind: length for kind, (_, length) in each.items() if length is not None}
        return {"features": {kind: some for kind, (some, _) in each.items()}} | ({"valid": valid} if valid else {})

    def taken(self) -> Seen:
        """The same with no features but those that these samples show, read from where they are kept."""
        wanted = {kind: list(dict.fromkeys(self.places(kind)[0])) for kind in self.kinds if kind in self.store}
        store = {kind: self.store[kind][rows] for kind, rows in wanted.items()}
        valid = {kind: self.valid[kind][rows] for kind, rows in wanted.items() if kind in self.valid}
        new = {kind: {row: place for place, row in enumerate(rows)} for kind, rows in wanted.items()}
        moved = [
            [[(kind, new.get(kind, {}).get(row, row), n) for kind, row, n in pieces] for pieces in media]
            for media in self.rows
        ]
        return Seen(store, valid, moved)

    def filled(self, made: Seen) -> Seen:
        """With each medium of a kind that is not stored here replaced by the one of the next row of `made`.

        >>> kept = Seen({"image": torch.zeros(1, 1, 1)}, {}, [[[("audio", 0, 0)], [("image", 0, 4)]]])
        >>> kept.filled(Seen({"audio": torch.ones(2, 1, 1)}, {}, [[[("audio", 0, 9), ("audio", 1, 5)]]])).slots(0)
        [('audio', 9), ('audio', 5), ('image', 4)]
        """
        more = (pieces for media in made.rows for pieces in media)
        rows = [[pieces if pieces[0][0] in self.store else next(more) for pieces in media] for media in self.rows]
        return Seen({**self.store, **made.store}, self.valid | made.valid, rows)

    @classmethod
    def of(cls, kind: str, features_BND: Tensor, slots: int) -> Seen:
        """One piece of one kind a sample, none of them padded."""
        return cls({kind: features_BND}, {}, [[[(kind, row, slots)]] for row in range(len(features_BND))])

    @classmethod
    def joined(cls, some: Sequence[Seen]) -> Seen:
        """The samples of several, one after another."""
        if len(some) == 1:
            return some[0]
        store: dict[str, list[Tensor]] = {}
        valid: dict[str, list[Tensor]] = {}
        rows: list[list[list[Piece]]] = []
        for seen in some:
            before = {kind: sum(map(len, store.get(kind, []))) for kind in seen.store}
            rows += [
                [[(kind, before[kind] + row, count) for kind, row, count in pieces] for pieces in media]
                for media in seen.rows
            ]
            for kinds, mine in ((store, seen.store), (valid, seen.valid)):
                for kind, tensor in mine.items():
                    kinds.setdefault(kind, []).append(tensor if isinstance(tensor, Tensor) else tensor[:])
        joined = [{kind: torch.cat(parts) for kind, parts in kinds.items()} for kinds in (store, valid)]
        return cls(joined[0], joined[1], rows)


def spread(count: int, among: int) -> list[int]:
    """`count` of the numbers below `among`, evenly; all of them, if there are not as many.

    >>> spread(2, 6), spread(9, 3)
    ([0, 3], [0, 1, 2])
    """
    return [place * among // count for place in range(count)] if count < among else list(range(among))
