"""A stage's data: samples of several sets, their features, and the turns that a step shows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from isthmus.errors import BadData, BadRecipe
from isthmus.registry import find, names
from isthmus.train.objectives.next_token import pick
from isthmus.train.recipe import Mix
from isthmus.types import Sample


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

    def batch(self, indices: Sequence[int], rng: random.Random) -> tuple[list[Sample], Tensor]:
        """The samples with the turns of this step, and their features in float32."""
        samples = [pick(self.samples[i], self.mixes[i].turns, self.mixes[i].first, rng) for i in indices]
        return samples, self.features[list(indices)].float()


def load_split(name: str, split: str, count: int | None, options: dict[str, Any], seed: int = 0) -> list[Sample]:
    """A split of a data set by name, or of a folder of captioned images by path."""
    if Path(name).is_dir():
        from isthmus.data import folder

        return folder.load(Path(name), split, count, seed=seed)
    module = find("isthmus.data.sets", name) if name in names("isthmus.data.sets") else None
    if module is None:
        known = ", ".join(names("isthmus.data.sets"))
        raise BadRecipe(f"no data set or folder {name!r}. Known: {known}, or a folder of captioned images")
    if split not in module.SPLITS:
        raise BadRecipe(f"{name} has no split {split!r}. Known: {', '.join(module.SPLITS)}")
    try:
        samples: list[Sample] = module.load(split, count=count, seed=seed, **options)
    except TypeError as error:
        raise BadRecipe(f"{name}: {error}. Options are those of {module.__name__}.load") from error
    if not samples:
        raise BadData(f"{name}, split {split}: no samples")
    return samples
