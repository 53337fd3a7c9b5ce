"""BLEU of captions: one figure of a whole corpus, with the closest reference's length, as COCO's server counts it.

Papineni et al., ACL 2002; Chen et al., 2015, arXiv:1504.00325. Its two tiny constants keep a quotient of nothing by
nothing at 0 and are part of the published figures. BLEU of translations is another one: see `translation`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
ORDERS = 4
ABOVE, BELOW = 1e-15, 1e-9  # added to what is divided, and to what it is divided by


def ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each run of `n` words occurs.

    >>> ngrams("a b a b".split(), 2)
    Counter({('a', 'b'): 2, ('b', 'a'): 1})
    """
    return Counter(zip(*(words[i:] for i in range(n)), strict=False))


def statistics(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
    """What each caption adds to BLEU [K, 10]: n-grams found, n-grams said (n = 1 to 4), its length, the closest one.

    Captions are words with blanks between them (`ptb.tokenise`). An n-gram is found as often as it is in the reference
    that has it most often; of two references as close in length the shorter counts.

    >>> statistics(["a cat sat"], [["a cat is here", "the cat sat"]])[0].astype(int).tolist()
    [3, 2, 0, 0, 3, 2, 1, 0, 3, 3]
    """
    rows = np.zeros((len(candidates), 2 * ORDERS + 2))
    for row, candidate, several in zip(rows, candidates, references, strict=True):
        words, others = candidate.split(), [reference.split() for reference in several]
        for n in range(1, ORDERS + 1):
            said = ngrams(words, n)
            most: Counter[tuple[str, ...]] = Counter()
            for other in others:
                most |= ngrams(other, n)
            row[n - 1] = (said & most).total()
            row[ORDERS + n - 1] = max(0, len(words) - n + 1)
        row[-2] = len(words)
        row[-1] = min((abs(len(other) - len(words)), len(other)) for other in others)[1]
    return rows


def bleu(sums: Floats, n: int = ORDERS) -> Floats:
    """BLEU-n of sums [..., 10] of `statistics`: the geometric mean of n precisions times the brevity penalty.

    >>> sums = statistics(["a cat sat on a mat"], [["a cat sat on the mat"]]).sum(0)
    >>> [round(float(bleu(sums, n)), 4) for n in (1, 2, 3, 4)]  # 5/6; 3/5; 2/4; 1/3
    [0.8333, 0.7071, 0.63, 0.5373]
    """
    found = sums[..., :n] + ABOVE
    said = sums[..., ORDERS : ORDERS + n] + BELOW
    ratio = (sums[..., -2] + ABOVE) / (sums[..., -1] + BELOW)
    with np.errstate(over="ignore"):
        penalty = np.exp(np.minimum(1 - 1 / ratio, 0))
    score: Floats = (found / said).prod(-1) ** (1 / n) * penalty
    return score
