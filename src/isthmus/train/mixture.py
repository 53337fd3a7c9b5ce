"""A stage's data: samples of several sets, their features, and the turns that a step shows."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from isthmus.data.sources import load_split
from isthmus.train.recipe import Mix, Stage
from isthmus.types import Sample

__all__ = ["Mixture", "load_split", "pick", "stage_samples"]


@dataclass
class Mixture:
    """Samples with their features [n, F, D], and for each sample its `Mix`."""

    samples: list[Sample]
    mixes: list[Mix]
    features: Tensor

    @property
    def lengths(self) -> list[int]:
        """What a sample costs, roughly: its turns. Samples of like length share a batch."""
        return [min(len(s.turns), m.turns or len(s.turns)) for s, m in zip(self.samples, self.mixes, strict=True)]

    @property
    def digest(self) -> str:
        """Stands for the samples and their order: a resumed stage must find the same."""
        facts = [(sample.id, sample.turns) for sample in self.samples]
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    def batch(self, indices: Sequence[int], rng: random.Random) -> tuple[list[Sample], Tensor]:
        """The samples with the turns of this step, and their features in float32."""
        return self.pick(indices, rng), self.features[list(indices)].float()

    def pick(self, indices: Sequence[int], rng: random.Random) -> list[Sample]:
        """The samples with the turns of this step."""
        return [pick(self.samples[i], self.mixes[i].turns, self.mixes[i].first, rng) for i in indices]


def pick(sample: Sample, turns: int, first: bool, rng: random.Random) -> Sample:
    """The sample with `turns` of its turns (0: all), drawn anew for every step; `first` always keeps the first one."""
    chosen = list(sample.turns)
    if turns and turns < len(chosen):
        kept = chosen[:1] if first else []
        chosen = kept + rng.sample(chosen[len(kept) :], turns - len(kept))
    return Sample(sample.id, sample.media, tuple(chosen))


def stage_samples(stage: Stage, seed: int) -> tuple[list[Sample], list[Mix]]:
    """The samples of every data set of a stage, and the `Mix` that each belongs to."""
    samples: list[Sample] = []
    mixes: list[Mix] = []
    for name, mix in stage.data.items():
        some = load_split(name, "train", mix.count, mix.options, seed)
        samples += some
        mixes += [mix] * len(some)
    return samples, mixes
