"""`contrast`: a warm start of a token-level connector, without running the LLM.

A picture's soft tokens z_i, pooled, should pick out, among the words of all captions, the LLM's own input embeddings
e_w of the words that name it:

    score_w = log sum_i exp( cos(z_i, e_w - m) / t ),     m the mean of all e_w, t = 0.15
    loss = - mean over its words w of log softmax_w(score_w)

which is the contrastive loss of CLIP (Radford et al., 2021, arXiv:2103.00020, section 2.3) against a fixed vocabulary.
Pooling by log-sum-exp lets each soft token be a word of its own; pooled by the mean, only their sum would be one.
Afterwards the soft tokens are scaled to the words' mean distance from m and moved there: they start where the LLM
expects words. No LLM runs, so a step costs milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from isthmus.errors import BadData
from isthmus.types import Sample

ABOUT = "warm start: pooled soft tokens pick out the embeddings of the words that name the picture"
TEMPERATURE = 0.15  # at 0.07 a soft token may stay far from its word (cosine 0.67 against 0.85): see docs/experiments
NAMING = ("name", "background", "shape", "colour", "objects")  # kinds of turn whose answers are words for the picture


class Objective:
    """loss = objective(samples, features); the vocabulary is that of the samples given at the start."""

    def __init__(self, model: Any, processor: Any, samples: Sequence[Sample], features: Tensor) -> None:
        self.connector, self.features = model.connectors["image"], features
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
        self.connector.mean.copy_(features.float().mean((0, 1)))
        self.connector.std.copy_(features.float().std((0, 1)).clamp(min=1e-3))

    def __call__(self, samples: Sequence[Sample], features: Tensor) -> tuple[Tensor, int]:
        """The loss, and the number of soft tokens made."""
        soft = self.connector.project(features)
        scores = F.log_softmax((F.normalize(soft, dim=-1) @ self.words.T / TEMPERATURE).logsumexp(1), -1)
        wanted = torch.zeros_like(scores)
        for row, sample in enumerate(samples):
            for word in names(sample):
                wanted[row, self.index[word]] = 1
        wanted = wanted / wanted.sum(1, keepdim=True).clamp(min=1)  # a picture without words has no loss
        return -(scores * wanted).sum(1).mean(), soft.shape[0] * soft.shape[1]

    @torch.no_grad()
    def finish(self) -> None:
        """Scale the soft tokens to the words' distance from their mean, and move them to that mean."""
        soft = self.connector.project(self.features[:512])
        self.connector.gain.fill_(float(self.spread / soft.norm(dim=-1).mean()))
        self.connector.offset.copy_(self.middle)


def names(sample: Sample) -> set[str]:
    """The words that say what is in the picture, as far as commas part them.

    A caption of several words (a folder's, say) is one entry of the vocabulary: the mean of its tokens' embeddings.
    """
    return {word for turn in sample.turns if turn.kind in NAMING for word in turn.answer.split(", ")}
