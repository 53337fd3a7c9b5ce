"""What encoders and connectors made of media, kept while there is room: a medium seen again is not encoded again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from isthmus.connectors._soft import SoftTokens, Text

ROOM = 256_000_000  # bytes


@dataclass(frozen=True)
class Piece:
    """One piece of a medium in a conversation.

    Args:
        kind: of the medium.
        key: what makes it the same to its encoder (`media.forms.key`).
        array: what the reader is given, as `IsthmusProcessor.arrays` gave it.
        slots: how many placeholders it has in the text.
        said: the instruction beside it, where its connector reads; else empty.
    """

    kind: str
    key: bytes
    array: Any
    slots: int
    said: str = ""

    @property
    def name(self) -> Hashable:
        """What makes two pieces the same to the LLM."""
        return self.kind, self.key, self.said


@dataclass(frozen=True)
class Made:
    """Of one piece: its features [N, D_enc] (None where only the connector needs them, and has seen them), how many of
    its own units are real (None: all), and its soft tokens [M, D_llm], those alone that stand in the text."""

    features: Tensor | None
    valid: Tensor | None
    soft: Tensor

    @property
    def bytes(self) -> int:
        """What it takes."""
        return sum(own.nbytes for own in (self.features, self.valid, self.soft) if own is not None)


class Kept:
    """The most recently used of what was made, up to `room` bytes; safe to be used by several threads."""

    def __init__(self, room: int = ROOM) -> None:
        self.room, self.bytes = room, 0
        self._lock = threading.Lock()
        self._all: OrderedDict[Hashable, Made] = OrderedDict()

    def __len__(self) -> int:
        return len(self._all)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._all.clear()
            self.bytes = 0

    def get(self, name: Hashable) -> Made | None:
        """What is kept of a piece; it counts as used."""
        with self._lock:
            if name in self._all:
                self._all.move_to_end(name)
            return self._all.get(name)

    def put(self, name: Hashable, made: Made) -> None:
        """Keep it, and let go of what was not used for longest; what is larger than all the room is not kept."""
        if made.bytes > self.room:
            return
        with self._lock:
            if (old := self._all.pop(name, None)) is not None:
                self.bytes -= old.bytes
            self._all[name] = made
            self.bytes += made.bytes
            while self.bytes > self.room:
                self.bytes -= self._all.popitem(last=False)[1].bytes


def make(model: Any, processor: Any, kept: Kept, pieces: Iterable[Piece]) -> dict[Hashable, Made]:
    """By name what is made of each piece; those that are not kept, each different one once, run through the model."""
    named = {piece.name: piece for piece in pieces}
    found = {name: made for name in named if (made := kept.get(name)) is not None}
    for kind in model.connectors:
        new = [piece for name, piece in named.items() if name not in found and piece.kind == kind]
        for piece, made in zip(new, _made(model, processor, kept, kind, new) if new else (), strict=True):
            found[piece.name] = made
            kept.put(piece.name, made)
    return found


def _made(model: Any, processor: Any, kept: Kept, kind: str, pieces: Sequence[Piece]) -> list[Made]:
    """Pieces of one kind through its encoder and connector."""
    connect, known = model.connectors[kind], _encoded(model, processor, kept, kind, pieces)
    features, valid = joined(known)
    mask, keep = model.real(kind, features.shape[1], valid)
    soft = connect(features, text(model, processor, kind, pieces), mask)
    again = not isinstance(connect, SoftTokens)  # its layers in the LLM look at features whenever the text changes
    return [
        Made(own.features if again else None, own.valid, soft[i].clone() if keep is None else soft[i][keep[i]])
        for i, own in enumerate(known)
    ]


def _encoded(model: Any, processor: Any, kept: Kept, kind: str, pieces: Sequence[Piece]) -> list[Made]:
    """Their features. Those of a connector that reads are kept by themselves: another instruction needs them again."""
    reads = model.connectors[kind].reads
    known = {piece.key: kept.get((kind, piece.key)) if reads else None for piece in pieces}
    if new := {piece.key: piece.array for piece in pieces if known[piece.key] is None}:
        values, valid = processor.stack(kind, [*new.values()])
        values, valid = values.to(model.device), None if valid is None else valid.to(model.device)
        features = model.encode(kind, values, valid)
        for i, key in enumerate(new):
            made = Made(features[i].clone(), None if valid is None else valid[i].clone(), features.new_zeros(0))
            known[key] = made
            if reads:
                kept.put((kind, key), made)
    return [own for piece in pieces if (own := known[piece.key]) is not None]


def text(model: Any, processor: Any, kind: str, pieces: Sequence[Piece]) -> Text:
    """The instructions beside pieces of one kind, as its connector reads them; None where it reads none."""
    read = processor.texts((piece.kind, piece.said) for piece in pieces).get("texts", {}).get(kind)
    return None if read is None else tuple(own.to(model.device) for own in read)


def joined(made: Sequence[Made]) -> tuple[Tensor, Tensor | None]:
    """Features [K, N, D] of K pieces, and their `valid` [K]."""
    features = torch.stack([own.features for own in made if own.features is not None])
    valid = [own.valid for own in made if own.valid is not None]
    return features, torch.stack(valid) if valid else None
