"""Features on disk, in shards that are mapped into memory: a batch reads its own rows, and no run reads them all.

    <folder>/<encoder>/index.sqlite      where each medium's features lie, and what was computed of them
                       <name>.f16        rows of N x D float16; each process writes shards of its own

A folder holds at most `ISTHMUS_FEATURES_GB` (20 by default): shards that were not used for the longest time go first.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

SHARD = 2**28  # bytes, about: a shard that has as many is finished
ENDING = ".f16"
CAP = 20.0  # GB


class Rows:
    """Features [P, N, D] of float16, read where they are looked at; what tensors of them are asked for, they give.

    Args:
        shards: files of rows.
        places: of each piece the number of its shard, and its row there [P, 2].
        digest: stands for what is in all of them.
    """

    dtype = torch.float16

    def __init__(self, shards: Sequence[npt.NDArray[np.float16]], places: npt.NDArray[np.int64], digest: str) -> None:
        self.shards, self.places, self.digest = list(shards), places, digest

    def __len__(self) -> int:
        return len(self.places)

    @property
    def shape(self) -> tuple[int, ...]:
        """[P, N, D]."""
        return (len(self.places), *(self.shards[0].shape[1:] if self.shards else (0, 0)))

    def numel(self) -> int:
        """Numbers in all."""
        return int(np.prod(self.shape))

    def __getitem__(self, rows: Any) -> Tensor:
        """The features of some pieces, copied out of the files; of one, without its first dimension."""
        if isinstance(rows, int | np.integer):
            shard, row = self.places[rows]
            return torch.from_numpy(np.array(self.shards[shard][row]))
        chosen = self.places[rows if isinstance(rows, slice) else np.asarray(rows, np.int64)]
        out = np.empty((len(chosen), *self.shape[1:]), np.float16)
        for shard in np.unique(chosen[:, 0]):
            mine = chosen[:, 0] == shard
            out[mine] = self.shards[shard][chosen[mine, 1]]
        return torch.from_numpy(out)

    def float(self) -> Tensor:
        """All of them as float32."""
        return self[:].float()


def cap() -> int:
    """Bytes that all shards of a folder may take together."""
    return int(float(os.environ.get("ISTHMUS_FEATURES_GB", CAP)) * 1e9)


def room(folder: Path, need: int, keep: set[Path]) -> bool:
    """Whether `need` bytes more fit under the cap, once shards that were not used for long are deleted.

    Those in `keep` stay. A process that has a deleted one mapped goes on reading it; others compute it anew.
    """
    found = sorted((_used(path) for path in folder.glob(f"*/*{ENDING}")), key=lambda facts: facts[0])
    total = sum(size for _, size, _ in found)
    for _, size, path in found:
        if total + need <= cap():
            return True
        if path not in keep:
            path.unlink(missing_ok=True)
            total -= size
    return total + need <= cap()


def _used(path: Path) -> tuple[float, int, Path]:
    """When a shard was last used, its size, its path; a process may have deleted it just now."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return 0.0, 0, path
    return facts.st_mtime, facts.st_size, path
