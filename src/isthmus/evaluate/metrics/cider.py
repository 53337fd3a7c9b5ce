"""CIDEr-D and CIDEr: n-grams that few pictures' references share count more.

Vedantam et al., 2015, arXiv:1411.5726. What COCO's server prints as CIDEr is CIDEr-D: its cosine counts no n-gram more
often than the reference has it, and exp(-d^2 / 72) punishes a difference d in length. Both are ten times a mean cosine
over n = 1 to 4 and over references. The weights come from the references at hand, so a figure depends on which other
pictures are scored with it: of a single picture it is 0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from isthmus.evaluate.metrics.bleu import ORDERS, ngrams

SIGMA = 6.0
Grams = list[Counter[tuple[str, ...]]]


class Weighted(NamedTuple):
    """A caption's weight of each n-gram and the norm of these, by n; and its length in pairs of words."""

    weights: list[dict[tuple[str, ...], float]]
    norms: list[float]
    length: int


def cider_d(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """CIDEr-D of each caption, from 0 to 10; captions are words with blanks between them (`ptb.tokenise`).

    >>> [round(x, 4) for x in cider_d(["a cat", "a dog"], [["a cat"], ["the dog"]])]  # (1 + 1) / 4 and 1/2 / 4, x 10
    [5.0, 1.25]
    >>> round(cider_d(["a cat", "a dog dog"], [["a cat"], ["the dog"]])[1], 4)  # 1 / sqrt(5 x 2) exp(-1/72) / 4, x 10
    0.7797
    """
    return _scores(candidates, references, plain=False)


def cider(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """CIDEr of each caption, from 0 to 10: neither clipped nor punished for its length.

    >>> round(cider(["a cat", "a dog dog"], [["a cat"], ["the dog"]])[1], 4)  # 2 / sqrt(5 x 2) / 4, x 10
    1.5811
    """
    return _scores(candidates, references, plain=True)


def _scores(candidates: Sequence[str], references: Sequence[Sequence[str]], plain: bool) -> list[float]:
    others = [[_grams(reference) for reference in several] for several in references]
    pictures: Counter[tuple[str, ...]] = Counter()  # with how many pictures an n-gram goes
    for several in others:
        pictures.update({gram for one in several for grams in one for gram in grams})
    whole = math.log(len(references)) if references else 0.0
    rarity = {gram: whole - math.log(count) for gram, count in pictures.items()}
    scores = []
    for candidate, several in zip(candidates, others, strict=True):
        own = _weighted(_grams(candidate), rarity, whole)
        total = sum(_cosines(own, _weighted(grams, rarity, whole), plain) for grams in several)
        scores.append(10 * total / ORDERS / len(several))
    return scores


def _grams(text: str) -> Grams:
    words = text.split()
    return [ngrams(words, n) for n in range(1, ORDERS + 1)]


def _weighted(grams: Grams, rarity: dict[tuple[str, ...], float], whole: float) -> Weighted:
    """An n-gram that no reference has is as rare as one that a single picture's have: its logarithm counts from 1."""
    weights = [{gram: count * rarity.get(gram, whole) for gram, count in some.items()} for some in grams]
    norms = [math.sqrt(sum(value * value for value in some.values())) for some in weights]
    return Weighted(weights, norms, grams[1].total())


def _cosines(own: Weighted, other: Weighted, plain: bool) -> float:
    """The sum over n of the cosines of two captions."""
    total = 0.0
    for mine, yours, norm, norm_other in zip(own.weights, other.weights, own.norms, other.norms, strict=True):
        shared = mine.keys() & yours.keys()
        product = sum((mine[gram] if plain else min(mine[gram], yours[gram])) * yours[gram] for gram in shared)
        total += product / (norm * norm_other) if norm and norm_other else product
    return total if plain else total * math.exp(-((own.length - other.length) ** 2) / (2 * SIGMA**2))
