"""`masked`: an encoder learns alone, without a word: it sees a part of each medium, and what is hidden is to be said.

How media are hidden, and what the loss is, belongs to the encoder: its file offers `masked` (Point-MAE's for the point
transformer). What predicts the hidden part is trained beside the encoder, at its rate, and thrown away with the stage.
No connector and no LLM runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor

from isthmus.data.seen import Seen
from isthmus.errors import BadData, BadRecipe
from isthmus.model import encoding
from isthmus.registry import find, names
from isthmus.types import Sample

ENCODERS = "isthmus.encoders"
ABOUT = "pretraining of an encoder alone: what is hidden of a medium is predicted from the rest"
RAW = True  # what samples show are media as they are prepared for encoders


def problems(stage: Any, senses: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with a stage of this objective, as (part that it trains, what); no part is loaded."""
    for where in stage.train:
        kind, _, part = where.partition(".")
        if part == "encoder" and kind in senses:
            for name in senses[kind].encoders:
                if name in names(ENCODERS) and not hasattr(find(ENCODERS, name), "masked"):
                    yield where, lacking(name)


def lacking(name: str) -> str:
    """That an encoder offers no masked pretraining, and which ones do."""
    known = [other for other in names(ENCODERS) if hasattr(find(ENCODERS, other), "masked")]
    return f"masked: the encoder {name} has no masked pretraining. Those with: {', '.join(known)}"


class Objective:
    """loss = objective(samples, seen): the mean over the media of every encoder that is trained.

    `own` are the weights that are trained beside a part, by its name in the recipe.

    Raises `BadRecipe` for an encoder that offers no masked pretraining, or when none is trained.
    """

    def __init__(self, model: Any, processor: Any, samples: Sequence[Sample], some: Callable[[int], Seen]) -> None:
        self.device = model.device
        self.pretraining: dict[str, Any] = {}
        self.own: dict[str, list[Tensor]] = {}
        for kind in dict.fromkeys(medium.kind for sample in samples for medium in sample.media):
            weights = list(model.encoders[kind].parameters())
            if not any(weight.requires_grad for weight in weights):
                continue
            file = encoding.module(model.config, kind)
            if not hasattr(file, "masked"):
                raise BadRecipe(lacking(model.config.encoders[kind]["name"]))
            self.pretraining[kind] = whole = file.masked(model.encoders[kind]).to(self.device)
            inside = {id(weight) for weight in weights}
            self.own[f"{kind}.encoder"] = [weight for weight in whole.parameters() if id(weight) not in inside]
        if not self.pretraining:
            raise BadRecipe("masked: the stage trains no encoder of the media that it has")

    def __call__(self, samples: Sequence[Sample], seen: Seen) -> tuple[Tensor, int]:
        """The loss, and the number of media."""
        losses: list[Tensor] = []
        counts: list[int] = []
        for kind in (kind for kind in seen.kinds if kind in self.pretraining):
            media, valid = send_to_device(seen.features(kind), self.device)
            losses.append(self.pretraining[kind](media, valid) * len(media))
            counts.append(len(media))
        if not losses:
            raise BadData(f"sample {samples[0].id}: masked: no medium of an encoder that this stage trains")
        return torch.stack(losses).sum() / sum(counts), sum(counts)

    def weigh(self, samples: Sequence[Sample]) -> int:
        """How many media are in the mean."""
        return sum(medium.kind in self.pretraining for sample in samples for medium in sample.media)

    def finish(self) -> None:
        """Nothing is left to do after the last step."""
