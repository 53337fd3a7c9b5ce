"""Perplexity: how many equally likely continuations a model's surprise amounts to, by token, word or byte.

exp(-sum of log-likelihoods / number of units) (Jelinek et al., JASA 62, S63, 1977). Figures by token depend on the
tokeniser and cannot be compared between models that have another; by word and by byte they can, if the same text is
counted. Bits per byte is -sum / (bytes ln 2). Log-likelihoods are natural logarithms, summed over the whole corpus.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple


class Counted(NamedTuple):
    """A text's log-likelihood, and its words and bytes; `tokens` where they are known."""

    loglikelihood: float
    words: int
    bytes: int
    tokens: int | None = None


def counted(text: str, loglikelihood: float, tokens: int | None = None) -> Counted:
    r"""Count a text: words are what white space parts, bytes those of UTF-8, of the text as it was given.

    >>> counted("Ein Käfer.", -12.5, tokens=4)
    Counted(loglikelihood=-12.5, words=2, bytes=11, tokens=4)
    """
    return Counted(loglikelihood, len(re.split(r"\s+", text)), len(text.encode()), tokens)


def perplexity(loglikelihood: float, units: float) -> float:
    """exp(-loglikelihood / units), units being tokens, words or bytes.

    >>> round(perplexity(-8 * math.log(2), 4), 6)  # 8 bits over 4 tokens
    4.0
    """
    try:
        return math.exp(-loglikelihood / units)
    except OverflowError:
        return math.inf


def bits_per_byte(loglikelihood: float, count: float) -> float:
    """The bits that the model needs for each of `count` bytes.

    >>> round(bits_per_byte(-8 * math.log(2), 16), 6)
    0.5
    """
    return -loglikelihood / (count * math.log(2))
