"""ROUGE-L of captions: the longest common subsequence with a reference, as COCO's server counts it.

Lin, ACL 2004; Chen et al., 2015, arXiv:1504.00325. Recall counts beta^2 = 1.44 times as much as precision, and the best
precision and the best recall may be those of two references.
"""

from __future__ import annotations

from collections.abc import Sequence

BETA = 1.2


def common(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest common subsequence, by bits: a bit of `row` falls where a longer one begins.

    Hyyrö, 2004, "Bit-parallel LCS-length computation revisited".

    >>> common("the cat sat on a mat".split(), "a cat on the mat".split())
    3
    """
    places: dict[str, int] = {}
    for i, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << i
    whole = row = (1 << len(one)) - 1
    for word in other:
        here = row & places.get(word, 0)
        row = (row + here | row - here) & whole
    return len(one) - row.bit_count()


def rouge_l(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """ROUGE-L of each caption, between 0 and 1; captions are words with blanks between them (`ptb.tokenise`).

    >>> [round(x, 4) for x in rouge_l(["a cat sat"], [["the cat sat down", "a cat"]])]  # P 2/3, R 1
    [0.8299]
    """
    scores = []
    for candidate, several in zip(candidates, references, strict=True):
        words = candidate.split(" ")  # nothing said is one word, the empty one: so do the reference's figures
        others = [reference.split(" ") for reference in several]
        found = [common(words, other) for other in others]
        precision = max(found) / len(words)
        recall = max(n / len(other) for n, other in zip(found, others, strict=True))
        both = recall + BETA**2 * precision
        scores.append((1 + BETA**2) * precision * recall / both if precision and recall else 0.0)
    return scores
