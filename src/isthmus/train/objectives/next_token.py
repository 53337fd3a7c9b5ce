"""`next-token`: cross-entropy on the assistant's tokens, many turns behind one prefix (see `data.packing`)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from isthmus.data.packing import collate, pack
from isthmus.types import Sample, Turn

ABOUT = "the LLM's own loss on the answers"


class Objective:
    """loss = objective(samples, features): the mean over all supervised tokens of the batch."""

    def __init__(self, model: Any, processor: Any, samples: Sequence[Sample], features: Tensor) -> None:
        self.model, self.template = model, processor.template

    def __call__(self, samples: Sequence[Sample], features: Tensor) -> tuple[Tensor, int]:
        """The loss, and how many tokens the rows hold (media and text, without padding)."""
        rows = [pack(sample, self.template) for sample in samples]
        batch = collate(rows, pad=0)
        loss = self.model(features={"image": features}, use_cache=False, **batch).loss
        return loss, sum(len(row.ids) for row in rows)

    def finish(self) -> None:
        """Nothing is left to do after the last step."""


def pick(sample: Sample, turns: int, first: bool, rng: random.Random) -> Sample:
    """The sample with `turns` of its turns, drawn anew for every step; `first` always keeps the first one."""
    chosen: list[Turn] = list(sample.turns)
    if turns and turns < len(chosen):
        kept = chosen[:1] if first else []
        chosen = kept + rng.sample(chosen[len(kept) :], turns - len(kept))
    return Sample(sample.id, sample.media, tuple(chosen))
