"""Which samples each step sees: a function of (seed, stage, step), so that a resumed run repeats nothing."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, Protocol

WINDOW = 16  # batches; samples of like length are grouped within a window only, so that the order stays random


class Batches(Protocol):
    """Which samples each step sees."""

    def __getitem__(self, step: int) -> list[int]: ...


def order(mixture: Any, stage: Any, seed: int) -> Batches:
    """The order of a stage: every sample once an epoch, or data sets by their weights or a temperature."""
    title = f"{seed}/{stage.name}"
    weights = [mix.weight for mix, _ in mixture.spans]
    sizes = [count for _, count in mixture.spans]
    if stage.temperature is not None:
        weights = [size ** (1 / stage.temperature) for size in sizes]
    if any(weight is None for weight in weights):
        return Order(mixture.lengths, stage.batch, title)
    return Weighted(mixture.lengths, stage.batch, title, sizes, weights)


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
            batches += _grouped(shuffled[start : start + WINDOW * self.batch], self.lengths, self.batch, rng)
        return batches


class Weighted:
    """Batches in which each data set has its share, whatever its size; a set that is through begins anew.

    Every window of `WINDOW` batches holds of each set what its weight says, up to the fraction of a sample, for which
    lots are drawn (systematic sampling); within a set, every sample comes once before one comes again.

    >>> order = Weighted([1] * 110, batch=8, seed="0", sizes=[10, 100], weights=[3, 1])
    >>> sum(index < 10 for step in range(16) for index in order[step])
    96
    """

    def __init__(
        self, lengths: Sequence[int], batch: int, seed: str, sizes: Sequence[int], weights: Sequence[float]
    ) -> None:
        self.lengths, self.batch, self.seed, self.sizes = lengths, batch, seed, sizes
        self.ends = [end / sum(weights) for end in accumulate(weights)]
        self.starts = [0, *accumulate(sizes)]
        self._before = [[0] * len(sizes)]  # of each window, how many of each set were drawn before it
        self._window, self._batches = -1, [[0]]
        self._shuffled: dict[int, tuple[int, list[int]]] = {}  # set -> its epoch and order now

    def __getitem__(self, step: int) -> list[int]:
        window, place = divmod(step, WINDOW)
        if window != self._window:
            self._window, self._batches = window, self._plan(window)
        return self._batches[place]

    def _plan(self, window: int) -> list[list[int]]:
        while len(self._before) <= window + 1:
            drawn = self._counts(len(self._before) - 1)
            self._before.append([old + new for old, new in zip(self._before[-1], drawn, strict=True)])
        ends = zip(self._before[window], self._before[window + 1], strict=True)
        indices = [self._sample(own, place) for own, (start, end) in enumerate(ends) for place in range(start, end)]
        rng = random.Random(f"{self.seed}/window {window}")
        return _grouped(rng.sample(indices, len(indices)), self.lengths, self.batch, rng)

    def _counts(self, window: int) -> list[int]:
        """How many of each set a window holds."""
        total = WINDOW * self.batch
        lot = random.Random(f"{self.seed}/shares {window}").random()
        ends = [0, *(min(total, int(end * total + lot)) for end in self.ends[:-1]), total]
        return [end - start for start, end in pairwise(ends)]

    def _sample(self, own: int, place: int) -> int:
        epoch, inner = divmod(place, self.sizes[own])
        if (known := self._shuffled.get(own)) is None or known[0] != epoch:
            rng = random.Random(f"{self.seed}/{own}/{epoch}")
            known = self._shuffled[own] = epoch, rng.sample(range(self.sizes[own]), self.sizes[own])
        return self.starts[own] + known[1][inner]


def _grouped(indices: Sequence[int], lengths: Sequence[int], batch: int, rng: random.Random) -> list[list[int]]:
    """Batches of like length, in a random order."""
    near = sorted(indices, key=lambda index: lengths[index])
    batches = [near[i : i + batch] for i in range(0, len(near), batch)]
    return rng.sample(batches, len(batches))
