"""Frozen means cached: an encoder's features are computed once for each picture and kept for every later run.

The key of a medium is a hash over the encoder's weights, its preprocessing and the medium's own pixels with their
mode and shape (two pictures of equal bytes and different shape are different pictures).
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from torch import Tensor

BATCH = 32


class FeatureCache:
    """Features of media on disk, as float16, in one SQLite file for each encoder and preprocessing."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.db = sqlite3.connect(folder / f"{fingerprint[:24]}.sqlite", timeout=60)
        self.db.execute("CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, rows INT, value BLOB)")

    def get(
        self,
        pictures: Sequence[PIL.Image.Image],
        encode: Callable[[Sequence[PIL.Image.Image]], Tensor],
        seen: Callable[[int], None] = lambda count: None,
    ) -> Tensor:
        """Features [N, F, D] as float16, in the order asked; `encode` is called in batches for those not there yet.

        `seen` is told how many pictures have been done, for a progress bar. An interrupted call keeps its batches.
        """
        keys = [key(picture) for picture in pictures]
        found: dict[bytes, Tensor] = {}
        for start in range(0, len(keys), BATCH):
            some = range(start, min(start + BATCH, len(keys)))
            found |= self._read({keys[i] for i in some} - set(found))
            wanted = {keys[i]: pictures[i] for i in some if keys[i] not in found}
            if wanted:
                fresh = encode(list(wanted.values())).to(torch.float16)
                found |= dict(zip(wanted, fresh, strict=True))
                self._write(dict(zip(wanted, fresh, strict=True)))
            seen(len(some))
        return torch.stack([found[k] for k in keys])

    def _read(self, keys: Iterable[bytes]) -> dict[bytes, Tensor]:
        wanted = list(keys)
        marks = ",".join("?" * len(wanted))
        rows = self.db.execute(f"SELECT key, rows, value FROM features WHERE key IN ({marks})", wanted)
        return {k: torch.from_numpy(np.frombuffer(v, np.float16).reshape(n, -1).copy()) for k, n, v in rows}

    def _write(self, found: dict[bytes, Tensor]) -> None:
        rows = [(k, len(value), value.contiguous().numpy().tobytes()) for k, value in found.items()]
        with self.db:
            self.db.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?)", rows)


def key(picture: PIL.Image.Image) -> bytes:
    """What makes two pictures the same to an encoder."""
    facts = f"{picture.mode}/{picture.size}/".encode()
    return hashlib.sha256(facts + picture.tobytes()).digest()[:16]
