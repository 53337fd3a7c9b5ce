"""METEOR 1.5 for English as COCO's server counts it: words aligned by equality, stem, synonym and paraphrase.

Denkowski and Lavie, WMT 2014. With P and R the weighted shares of the caption's and of the reference's words that are
aligned (content words .75, function words .25; by module 1, .6, .8, .6):

    METEOR = P R / (.85 P + .15 R) (1 - .6 (chunks / aligned words)^.2)

The reference with the highest score counts. A corpus's METEOR is that of the summed counts, not a mean over captions.
The figures equal those of METEOR 1.5's own program, caption by caption.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from isthmus.evaluate.metrics._meteor_align import align
from isthmus.evaluate.metrics._meteor_data import Lexicon, lexicon, tables
from isthmus.evaluate.metrics._meteor_normal import normal

Floats = npt.NDArray[np.float64]
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
WEIGHTS = (1.0, 0.6, 0.8, 0.6)  # exact, stem, synonym, paraphrase
COLUMNS = 4 + 4 * len(WEIGHTS) + 1


def statistics(candidates: Sequence[str], references: Sequence[Sequence[str]], known: Lexicon | None = None) -> Floats:
    """What each caption adds to a corpus's METEOR [K, 21], of its best reference.

    Words of the caption and of the reference; function words of both; for each module the aligned content words of
    both, and function words of both; chunks. A caption that equals its reference adds no chunk.

    Args:
        candidates: captions, as `ptb.tokenise` gives them.
        references: those of each caption.
        known: what is known of words; by default the part `meteor-data`.

    Raises:
        PartUnavailable: where that part is neither there nor can be fetched.
    """
    base = known or tables()
    said = [normal(text, base.prefixes) for text in candidates]
    others = [[normal(text, base.prefixes) for text in several] for several in references]
    known = known or lexicon([*said, *(words for several in others for words in several)])
    rows = np.zeros((len(said), COLUMNS))
    for row, words, several in zip(rows, said, others, strict=True):
        counted = np.array([_counts(words, other, known) for other in several])
        row[:] = counted[meteor_of(counted).argmax()]  # of equals the first
    return rows


def meteor(candidates: Sequence[str], references: Sequence[Sequence[str]], known: Lexicon | None = None) -> list[float]:
    """METEOR of each caption, between 0 and 1; arguments and errors as of `statistics`.

    >>> words = Lexicon(functions=frozenset({"a", "the"}))
    >>> [round(x, 4) for x in meteor(["a cat sat"], [["the cat sat"]], words)]  # 1.5 / 1.75 (1 - .6 (1/2)^.2)
    [0.4094]
    """
    found: list[float] = meteor_of(statistics(candidates, references, known)).tolist()
    return found


def meteor_of(sums: Floats) -> Floats:
    """METEOR of sums [..., 21] of `statistics`.

    >>> row = np.array([3, 3, 1, 1, 2, 2] + [0] * 14 + [1.0])  # a/the cat sat: two content words of three, one chunk
    >>> float(meteor_of(row).round(4))
    0.4094
    """
    length, function, matches = sums[..., 0:2], sums[..., 2:4], sums[..., 4:-1]
    whole = DELTA * (length - function) + (1 - DELTA) * function
    aligned = np.zeros_like(whole)
    for share, first in ((DELTA, 0), (1 - DELTA, 2)):
        for module, weight in enumerate(WEIGHTS):
            place = 4 * module + first
            aligned = aligned + matches[..., place : place + 2] * weight * share
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = np.moveaxis(aligned / whole, -1, 0)
        mean = 1 / ((1 - ALPHA) / precision + ALPHA / recall)
        score = mean * (1 - GAMMA * (sums[..., -1] / (matches.sum(-1) / 2)) ** BETA)
    found: Floats = np.where(np.isnan(score), 0.0, np.maximum(score, 0.0))
    return found


def _counts(said: Sequence[str], reference: Sequence[str], known: Lexicon) -> list[float]:
    matches, chunks = align(said, reference, known)
    of_said = [word in known.functions for word in said]
    of_reference = [word in known.functions for word in reference]
    counts = [0.0] * (4 * len(WEIGHTS))
    for match in matches:
        for function in of_said[match.said : match.said + match.length_said]:
            counts[4 * match.module + 2 * function] += 1
        for function in of_reference[match.start : match.start + match.length]:
            counts[4 * match.module + 1 + 2 * function] += 1
    if chunks == 1 and sum(counts[::2]) == len(said) and sum(counts[1::2]) == len(reference):
        chunks = 0
    return [len(said), len(reference), sum(of_said), sum(of_reference), *counts, chunks]
