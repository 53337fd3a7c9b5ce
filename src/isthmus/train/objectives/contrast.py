"""`contrast`: a warm start of a token-level connector, without running the LLM.

A picture's soft tokens z_i, pooled, should pick out, among the words of all captions, the LLM's own input embeddings
e_w of the words that name it:

    score_w = log sum_i exp( cos(z_i, e_w - m) / t ),     m the mean of all e_w
    loss = - mean over its words w of log softmax_w(score_w)

which is the contrastive loss of CLIP (Radford et al., 2021, arXiv:2103.00020, section 2.3) against a fixed vocabulary.
Pooling by log-sum-exp lets each soft token be a word of its own; pooled by the mean, only their sum would be one.
Afterwards the soft tokens are scaled to the words' mean distance from m and moved there: they start where the LLM
expects words. No LLM runs, so a step costs milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from isthmus.errors import BadData, BadRecipe
from isthmus.types import Sample

ABOUT = "warm start: pooled soft tokens pick out the embeddings of the words that name the picture"
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
USUAL = 512  # samples by which features are standardised and soft tokens scaled
NAMING = ("name", "background", "shape", "colour", "objects")  # kinds of turn whose answers are words for the picture


class Objective:
    """loss = objective(samples, features); the vocabulary is that of the samples given at the start.

    Args:
        some: gives the features of about so many of the samples, to measure what is usual.
        temperature: t. A soft token of cosine c with its word outweighs V other words from c / t = log V on, so the
            larger the vocabulary, the lower it must be: 0.15 for a hundred words, 0.05 for a thousand.
        noise: deviation of Gaussian noise on the features, in their own deviations: a little of an unseen style.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        samples: Sequence[Sample],
        some: Callable[[int], Tensor],
        temperature: Positive = 0.15,  # at 0.07 a soft token may stay far from its word: see docs/experiments
        noise: Amount = 0,
    ) -> None:
        self.connector, self.some, self.temperature = model.connectors["image"].soft, some, temperature
        if self.connector is None or self.connector.reads:
            name = model.config.connectors["image"]["name"]
            raise BadRecipe(
                f"contrast: {name} makes no soft tokens of the features alone, and these are what it warms up. Leave"
                " the stage out, or choose a connector that does."
            )
        self.noise = noise
        embeddings = model.get_input_embeddings().weight.detach()
        words = sorted({word for sample in samples for word in names(sample)})
        if not words:
            raise BadData(f"contrast: no sample has a turn of the kinds {', '.join(NAMING)}, whose words name it")
        self.index = {word: place for place, word in enumerate(words)}
        means = [embeddings[processor.template.plain(f" {word}")].mean(0) for word in words]
        table = torch.stack(means)
        self.middle = table.mean(0)
        self.spread = (table - self.middle).norm(dim=-1).mean()
        self.words = F.normalize(table - self.middle, dim=-1)
        usual = some(USUAL)
        self.connector.mean.copy_(usual.mean((0, 1)))
        self.connector.std.copy_(usual.std((0, 1)).clamp(min=1e-3))

    def __call__(self, samples: Sequence[Sample], features: Tensor) -> tuple[Tensor, int]:
        """The loss, and the number of soft tokens made."""
        if self.noise:
            features = features + torch.randn_like(features) * (self.noise * self.connector.std)
        soft = self.connector.project(features)
        scores = F.log_softmax((F.normalize(soft, dim=-1) @ self.words.T / self.temperature).logsumexp(1), -1)
        wanted = torch.zeros_like(scores)
        for row, sample in enumerate(samples):
            for word in names(sample):
                wanted[row, self.index[word]] = 1
        wanted = wanted / wanted.sum(1, keepdim=True).clamp(min=1)  # a picture without words has no loss
        return -(scores * wanted).sum(1).mean(), soft.shape[0] * soft.shape[1]

    @torch.no_grad()
    def finish(self) -> None:
        """Scale the soft tokens to the words' distance from their mean, and move them to that mean."""
        soft = self.connector.project(self.some(USUAL))
        self.connector.gain.fill_(float(self.spread / soft.norm(dim=-1).mean()))
        self.connector.offset.copy_(self.middle)


def names(sample: Sample) -> set[str]:
    """The words that say what is in the picture, as far as commas part them.

    A caption of several words (a folder's, say) is one entry of the vocabulary: the mean of its tokens' embeddings.
    """
    return {word for turn in sample.turns if turn.kind in NAMING for word in turn.answer.split(", ")}
