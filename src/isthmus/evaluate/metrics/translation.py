"""BLEU and chrF of a corpus, as sacreBLEU counts them, with the signature that makes a figure comparable.

    BLEU    Papineni et al., ACL 2002
    chrF    Popović, WMT 2015; chrF++ adds pairs of words, WMT 2017
    sacreBLEU, signatures  Post, 2018, arXiv:1804.08771
    intervals  Koehn, EMNLP 2004: sentences drawn anew

Figures are between 0 and 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

METRICS = ("bleu", "chrf", "chrf++")


class Translated(NamedTuple):
    """A corpus's figure, the sums per sentence behind it [N, S], how to score sums of them, and its signature."""

    score: float
    sums: npt.NDArray[np.float64]
    metric: Any
    signature: str
    precisions: tuple[float, ...]  # BLEU's, for n = 1 to 4
    brevity_penalty: float

    def of(self, some: npt.NDArray[np.float64]) -> float:
        """The figure of a sum of sentences, as a bootstrap draws them."""
        return float(self.metric._compute_score_from_stats([int(one) for one in some]).score)


def translated(said: Sequence[str], references: Sequence[Sequence[str]], metric: str = "bleu") -> Translated:
    """Score sentences against one or several references each; not each sentence needs the same number of them.

    >>> found = translated(["the cat sat on the mat"], [["the cat is on the mat", "the cat sat on a mat"]])
    >>> round(found.score, 2), [round(one, 1) for one in found.precisions]
    (70.71, [100.0, 100.0, 75.0, 33.3])
    >>> round(translated(["the cat sat"], [["the cat sat down"]], "chrf").score, 2)
    66.02
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    scorer: Any = BLEU() if metric == "bleu" else CHRF(word_order=2 if metric == "chrf++" else 0)
    most = max(len(some) for some in references)
    streams = [[some[place] if place < len(some) else None for some in references] for place in range(most)]
    found = scorer.corpus_score(list(said), streams)
    # The sums that sacreBLEU itself draws from for its intervals; it has no public name for them.
    stats = scorer._extract_corpus_statistics(list(said), streams)
    precisions = tuple(float(one) for one in found.precisions) if metric == "bleu" else ()
    penalty = float(found.bp) if metric == "bleu" else float("nan")
    return Translated(
        float(found.score), np.array(stats, float), scorer, str(scorer.get_signature()), precisions, penalty
    )  # fmt: skip
