"""Which samples each step sees: a function of (seed, stage, step), so that a resumed run repeats nothing."""

from __future__ import annotations

import random
from collections.abc import Sequence

WINDOW = 16  # batches; samples of like length are grouped within a window only, so that the order stays random


class Order:
    """Batches of indices, epoch after epoch; every sample comes once an epoch.

    >>> order = Order([3, 1, 2, 5], batch=2, seed="0")
    >>> sorted(order[0] + order[1])
    [0, 1, 2, 3]
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: str) -> None:
        self.lengths, self.batch, self.seed = lengths, batch, seed
        self._epoch, self._batches = -1, self._plan(0)

    def __getitem__(self, step: int) -> list[int]:
        epoch, place = divmod(step, len(self._batches))
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._plan(epoch)
        return self._batches[place]

    def _plan(self, epoch: int) -> list[list[int]]:
        rng = random.Random(f"{self.seed}/{epoch}")
        shuffled = rng.sample(range(len(self.lengths)), len(self.lengths))
        batches = []
        for start in range(0, len(shuffled), WINDOW * self.batch):
            near = sorted(shuffled[start : start + WINDOW * self.batch], key=lambda index: self.lengths[index])
            window = [near[i : i + self.batch] for i in range(0, len(near), self.batch)]
            batches += rng.sample(window, len(window))
        return batches
