"""Average normalised Levenshtein similarity, the measure of answers that are read off a document.

A. F. Biten et al., "Scene Text Visual Question Answering", ICCV 2019, arXiv:1905.13648, equation 1
"""

from __future__ import annotations

from collections.abc import Sequence

THRESHOLD = 0.5  # what is less alike than this is another answer, not a misread one


def distance(one: str, other: str) -> int:
    """Levenshtein's: how many letters must be put in, left out or changed to make one text the other.

    >>> distance("kitten", "sitting"), distance("", "abc")
    (3, 3)
    """
    row = list(range(len(one) + 1))
    for j, letter in enumerate(other, 1):
        above, row = row, [j]
        for i, own in enumerate(one, 1):
            row.append(min(above[i - 1] + (own != letter), above[i] + 1, row[-1] + 1))
    return row[-1]


def anls(answer: str, truths: Sequence[str], threshold: float = THRESHOLD) -> float:
    """1 - distance / length for the nearest of the truths; 0 where that is below the threshold.

    Case and white space do not count in the distance, but the length is that of the longer text as it was written:
    this is what the reference does, and superfluous spaces therefore make a wrong letter cheaper.

    >>> round(anls("coca cola co", ["Coca Cola", "coca-cola company"]), 3), anls("pepsi", ["coca cola"])
    (0.75, 0.0)
    """
    said = " ".join(answer.lower().split())
    shares = []
    for truth in truths:
        length = max(len(truth.upper()), len(answer.upper()))
        shares.append(distance(said, " ".join(truth.lower().split())) / length if length else 0.0)
    found = 1 - min(shares)
    return found if found >= threshold else 0.0
