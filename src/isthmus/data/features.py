"""Frozen means cached: an encoder's features are computed once for each picture and kept for every later run.

The key of a medium is a hash over the encoder's weights, its preprocessing and the medium's own pixels with their
mode and shape (two pictures of equal bytes and different shape are different pictures).
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from isthmus.errors import IsthmusError
from isthmus.media.forms import key

BATCH = 32


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
        except IsthmusError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self.db.close()

    def get(
        self, pictures: Iterable[PIL.Image.Image], count: int, encode: Callable[[list[PIL.Image.Image]], Tensor]
    ) -> Tensor:
        """Features [N, F, D] of N = `count` pictures as float16, in the order asked.

        `encode` is called in batches for those not there yet. Pictures are drawn from the iterable as they are needed.
        An interrupted call keeps the batches it had.
        """
        first: dict[bytes, int] = {}  # picture -> the row where its features stand first
        out, row = torch.empty(0), 0
        more = iter(pictures)
        while some := list(itertools.islice(more, BATCH)):
            batch = dict(zip(named := [key(picture) for picture in some], some, strict=True))
            with self._readable():
                found = self._read(batch.keys() - first.keys())
            if wanted := {k: picture for k, picture in batch.items() if k not in found and k not in first}:
                fresh = encode(list(wanted.values())).to(torch.float16)
                if not bool(fresh.isfinite().all()):
                    raise IsthmusError("the encoder's features are not finite in float16. Is its checkpoint damaged?")
                made = dict(zip(wanted, fresh, strict=True))
                found |= made
                with self._readable():
                    self._write(made)
            if row == 0:
                out = torch.empty(count, *found[named[0]].shape, dtype=torch.float16)
            for k in named:
                out[row] = found[k] if k in found else out[first[k]]
                first.setdefault(k, row)
                row += 1
        return out

    def _read(self, keys: Iterable[bytes]) -> dict[bytes, Tensor]:
        wanted = list(keys)
        marks = ",".join("?" * len(wanted))
        rows = self.db.execute(f"SELECT key, rows, value FROM features WHERE key IN ({marks})", wanted)
        return {k: torch.from_numpy(np.frombuffer(v, np.float16).reshape(n, -1).copy()) for k, n, v in rows}

    def _write(self, found: dict[bytes, Tensor]) -> None:
        rows = [(k, len(value), value.contiguous().numpy().tobytes()) for k, value in found.items()]
        with self.db:
            self.db.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?)", rows)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise IsthmusError(
                f"the feature cache {self.path} cannot be used: {error}. Free some space; if it is damaged, delete it."
            ) from error
