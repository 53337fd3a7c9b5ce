"""`contrast`: a warm start of a token-level connector, without running the LLM.

A medium's soft tokens z_i, pooled, should pick out, among the words of all captions, the LLM's own input embeddings
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
from accelerate.utils import send_to_device
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from isthmus.data.seen import Seen
from isthmus.errors import BadData, BadRecipe
from isthmus.types import Sample

ABOUT = "warm start: pooled soft tokens pick out the embeddings of the words that name the picture"
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
USUAL = 512  # samples by which features are standardised and soft tokens scaled
NAMING = ("name", "background", "shape", "colour", "objects", "category", "activity", "direction", "first", "last")
SPOKEN = "words"  # kinds of turn whose answers are words for the medium; of this one, each word by itself


class Objective:
    """loss = objective(samples, seen); the vocabulary is that of the samples given at the start.

    Every connector that is trained and whose kind of media the samples have is warmed up; with several, the mean is
    over media of all kinds.

    Args:
        some: gives what about so many of the samples show, to measure what is usual.
        temperature: t. A soft token of cosine c with its word outweighs V other words from c / t = log V on, so the
            larger the vocabulary, the lower it must be: 0.15 for a hundred words, 0.05 for a thousand.
        noise: deviation of Gaussian noise on the features, in their own deviations: a little of an unseen style.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        samples: Sequence[Sample],
        some: Callable[[int], Seen],
        temperature: Positive = 0.15,  # at 0.07 a soft token may stay far from its word: see docs/experiments
        noise: Amount = 0,
    ) -> None:
        self.model, self.some, self.temperature, self.noise = model, some, temperature, noise
        self.connectors = {
            kind: model.connectors[kind].soft
            for kind in dict.fromkeys(medium.kind for sample in samples for medium in sample.media)
            if any(weight.requires_grad for weight in model.connectors[kind].parameters())
        }
        for kind, connector in self.connectors.items():
            if connector is None or connector.reads:
                name = model.config.connectors[kind]["name"]
                raise BadRecipe(
                    f"contrast: {name} makes no soft tokens of the features alone, and these are what it warms up."
                    " Leave the stage out, or choose a connector that does."
                )
        embeddings = model.get_input_embeddings().weight.detach()
        words = sorted({word for sample in samples for word in names(sample)})
        if not words:
            raise BadData(
                f"contrast: no sample has a turn of the kinds {', '.join((*NAMING, SPOKEN))}, whose words name it"
            )
        self.index = {word: place for place, word in enumerate(words)}
        means = [embeddings[processor.template.plain(f" {word}")].mean(0) for word in words]
        table = torch.stack(means)
        self.middle = table.mean(0)
        self.spread = (table - self.middle).norm(dim=-1).mean()
        self.words = F.normalize(table - self.middle, dim=-1)
        usual = some(USUAL)
        for kind, connector in self.connectors.items():
            features, mask, _ = self._real(kind, usual)
            features = features if mask is None else features[mask].unsqueeze(0)
            connector.mean.copy_(features.mean((0, 1)))
            connector.std.copy_(features.std((0, 1)).clamp(min=1e-3))

    def __call__(self, samples: Sequence[Sample], seen: Seen) -> tuple[Tensor, int]:
        """The loss, and the number of soft tokens made."""
        scores: list[Tensor] = []
        shown: list[int] = []
        made = 0
        for kind in (kind for kind in self.connectors if kind in seen.kinds):
            soft, keep = self._soft(kind, seen, noisy=True)
            likely = F.normalize(soft, dim=-1) @ self.words.T / self.temperature
            if keep is not None:
                likely = likely.masked_fill(~keep.unsqueeze(-1), -torch.inf)
            _, owners = seen.places(kind)
            scores.append(_pooled(likely.logsumexp(1), owners))
            shown += dict.fromkeys(owners)
            made += soft.shape[0] * soft.shape[1] if keep is None else int(keep.sum())
        if not scores:
            raise BadData(f"sample {samples[0].id}: contrast: no medium of a connector that this stage trains")
        likeliest = F.log_softmax(torch.cat(scores), -1)
        wanted = torch.zeros_like(likeliest)
        for row, place in enumerate(shown):
            for word in names(samples[place]):
                wanted[row, self.index[word]] = 1
        wanted = wanted / wanted.sum(1, keepdim=True).clamp(min=1)  # a medium without words has no loss
        return -(likeliest * wanted).sum(1).mean(), made

    def weigh(self, samples: Sequence[Sample]) -> int:
        """How many media, or several of one kind that a sample shows, are in the mean."""
        return sum(len({medium.kind for medium in sample.media} & self.connectors.keys()) for sample in samples)

    @torch.no_grad()
    def finish(self) -> None:
        """Scale the soft tokens to the words' distance from their mean, and move them to that mean."""
        usual = self.some(USUAL)
        for kind, connector in self.connectors.items():
            soft, keep = self._soft(kind, usual)
            lengths = soft.norm(dim=-1)
            connector.gain.fill_(float(self.spread / (lengths if keep is None else lengths[keep]).mean()))
            connector.offset.copy_(self.middle)

    def _real(self, kind: str, seen: Seen) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Features [K, N, D] of all pieces of one kind, and which features and soft tokens hold something."""
        features, valid = send_to_device(seen.features(kind), self.model.device)
        mask, _ = self.model.real(kind, features.shape[1], valid)
        return features, mask, None if mask is None else self.connectors[kind].keep(mask.sum(1))

    def _soft(self, kind: str, seen: Seen, noisy: bool = False) -> tuple[Tensor, Tensor | None]:
        """Soft tokens [K, M, D] of all pieces of one kind, and which of them hold something."""
        features, mask, keep = self._real(kind, seen)
        if noisy and self.noise:
            features = features + torch.randn_like(features) * (self.noise * self.connectors[kind].std)
        return self.connectors[kind].project(features, mask_BN=mask), keep


def _pooled(scores_KV: Tensor, owners: Sequence[int]) -> Tensor:
    """Scores of each sample's pieces pooled into one row a sample, [S, V].

    >>> _pooled(torch.zeros(3, 1), [0, 0, 2]).squeeze().exp().round().tolist()
    [2.0, 1.0]
    """
    counts = [owners.count(sample) for sample in dict.fromkeys(owners)]
    if len(counts) == len(owners):
        return scores_KV
    return torch.stack([own.logsumexp(0) for own in torch.split(scores_KV, counts)])


def names(sample: Sample) -> set[str]:
    """The words that say what a medium holds, as far as commas part them; of what is spoken, every word.

    A caption of several words (a folder's, say) is one entry of the vocabulary: the mean of its tokens' embeddings.
    """
    named = {word for turn in sample.turns if turn.kind in NAMING for word in turn.answer.split(", ")}
    return named | {word for turn in sample.turns if turn.kind == SPOKEN for word in turn.answer.split()}
