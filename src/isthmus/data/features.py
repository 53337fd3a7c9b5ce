"""Frozen means cached: an encoder's features are computed once for each medium and kept for every later run.

The key of a medium is a hash over the encoder's weights, its preprocessing and what the encoder is given of the medium,
with its form and shape (two pictures of equal bytes and different shape are different pictures).
"""

from __future__ import annotations

import hashlib
import itertools
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isthmus.errors import IsthmusError
from isthmus.media.forms import key

BATCH = 32  # media
Pieces = Sequence[Any]  # what an encoder is given of one medium: pictures or arrays
Encode = Callable[[list[Any]], tuple[Tensor, Tensor | None]]
Entry = tuple[Tensor, Tensor | None]  # features [pieces x N, D] of a medium, units of each piece


class FeatureCache:
    """Features of media on disk, as float16, in one SQLite file for each encoder and preprocessing; `close` it.

    Raises `IsthmusError` when the file is damaged, cannot be written or the disk is full.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.path = folder / f"{fingerprint[:24]}.sqlite"
        with self._readable():
            folder.mkdir(parents=True, exist_ok=True)
            self.db = sqlite3.connect(self.path, timeout=60)
        try:
            with self._readable():
                self.db.execute("CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, rows INT, value BLOB)")
                self.db.execute("CREATE TABLE IF NOT EXISTS lengths (key BLOB PRIMARY KEY, value BLOB)")
        except IsthmusError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self.db.close()

    def get(self, media: Iterable[Pieces], count: int, encode: Encode) -> tuple[Tensor, Tensor | None, list[range]]:
        """Features [P, N, D] of N = `count` media's pieces as float16, their `valid` [P], and each medium's pieces.

        A medium is what its encoder is given of it: one array or picture, or several pieces. Equal media share theirs.
        `encode` is called in batches for those not there yet, and media are made as they are needed. An interrupted
        call keeps the batches it had.

        Args:
            encode: pieces of several media -> features [K, N, D], and how many units of each are real [K] or None.
        """
        first: dict[bytes, range] = {}  # medium -> its pieces
        store, valid, used = torch.empty(0), torch.empty(0, dtype=torch.long), 0
        lengths, out, more = False, [], iter(media)
        while some := list(itertools.islice(more, BATCH)):
            batch = dict(zip(named := [_key(medium) for medium in some], some, strict=True))
            with self._readable():
                found = self._read(batch.keys() - first.keys())
            if wanted := {k: medium for k, medium in batch.items() if k not in found and k not in first}:
                made = dict(zip(wanted, _encoded([*wanted.values()], encode), strict=True))
                found |= made
                with self._readable():
                    self._write(made)
            for k in dict.fromkeys(named):
                if k in first:
                    continue
                own, units = found[k]
                own = own.view(len(batch[k]), -1, own.shape[-1])
                store, valid = _grown(store, used + len(own), count, own), _grown(valid, used + len(own), count, valid)
                store[used : used + len(own)] = own
                if units is not None:
                    lengths = True
                    valid[used : used + len(own)] = units
                first[k] = range(used, used := used + len(own))
            out += [first[k] for k in named]
        return store[:used], valid[:used] if lengths else None, out

    def _read(self, keys: Iterable[bytes]) -> dict[bytes, Entry]:
        wanted = list(keys)
        marks = ",".join("?" * len(wanted))
        rows = self.db.execute(
            "SELECT key, rows, features.value, lengths.value FROM features LEFT JOIN lengths USING (key)"
            f" WHERE key IN ({marks})",
            wanted,
        )
        return {
            k: (_array(value, np.float16).reshape(n, -1), None if units is None else _array(units, np.int64))
            for k, n, value, units in rows
        }

    def _write(self, found: dict[bytes, Entry]) -> None:
        rows = [(k, len(own), own.contiguous().numpy().tobytes()) for k, (own, _) in found.items()]
        units = [(k, own.numpy().tobytes()) for k, (_, own) in found.items() if own is not None]
        with self.db:
            self.db.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?)", rows)
            self.db.executemany("INSERT OR REPLACE INTO lengths VALUES (?, ?)", units)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise IsthmusError(
                f"the feature cache {self.path} cannot be used: {error}. Free some space; if it is damaged, delete it."
            ) from error


def _key(pieces: Pieces) -> bytes:
    """What makes two media the same to their encoder."""
    keys = [key(piece) for piece in pieces]
    return keys[0] if len(keys) == 1 else hashlib.sha256(b"".join(keys)).digest()[:16]


def _encoded(media: Sequence[Pieces], encode: Encode) -> list[Entry]:
    """Features [pieces x N, D] of each medium, and how long its pieces are."""
    pieces = [piece for medium in media for piece in medium]
    made = [encode(pieces[i : i + BATCH]) for i in range(0, len(pieces), BATCH)]
    features = torch.cat([own for own, _ in made]).to(torch.float16)
    units = [own for _, own in made if own is not None]
    valid = torch.cat(units) if units else None
    if not bool(features.isfinite().all()):
        raise IsthmusError("the encoder's features are not finite in float16. Is its checkpoint damaged?")
    counts = [len(medium) for medium in media]
    lengths = [None] * len(media) if valid is None else torch.split(valid, counts)
    return [(own.flatten(0, 1), length) for own, length in zip(torch.split(features, counts), lengths, strict=True)]


def _array(value: bytes, dtype: Any) -> Tensor:
    return torch.from_numpy(np.frombuffer(value, dtype).copy())


def _grown(store: Tensor, wanted: int, count: int, like: Tensor) -> Tensor:
    """`store` with room for `wanted` rows; what is never written takes no memory."""
    if wanted <= len(store):
        return store
    larger = torch.empty(max(count, 2 * len(store), wanted), *like.shape[1:], dtype=like.dtype)
    if len(store):
        larger[: len(store)] = store
    return larger
