"""Retrieval from a matrix of similarities: recall among the first k, ranks and mean average precision, both ways.

Recall at k as for captions and pictures (Hodosh et al., JAIR 47, 2013; Faghri et al., 2018, arXiv:1707.05612): the
share of queries with one of their truths among the k best. Of several truths of a query, the best placed counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
FIRST = (1, 5, 10)


def places(similarity_QN: npt.ArrayLike, relevant_QN: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """The place, from 1, of each query's best placed truth [Q].

    Whatever is as similar as the truth is placed before it: a model that finds all alike finds nothing.

    >>> places([[0.9, 0.1, 0.5], [0.3, 0.3, 0.3]], [[False, False, True], [True, False, False]]).tolist()
    [2, 3]
    """
    similarity, relevant = np.asarray(similarity_QN, float), np.asarray(relevant_QN, bool)
    best_Q1 = np.where(relevant, similarity, -np.inf).max(1, keepdims=True)
    found: npt.NDArray[np.int64] = 1 + ((similarity >= best_Q1) & ~relevant).sum(1)
    return found


def recall_at(places_Q: npt.ArrayLike, k: int) -> float:
    """The share of queries whose truth is among the first `k`.

    >>> recall_at([1, 3, 7, 2], 3)
    0.75
    """
    return float((np.asarray(places_Q) <= k).mean())


def median_rank(places_Q: npt.ArrayLike) -> float:
    """The median place, rounded down, as the field's tables have it.

    >>> median_rank([1, 2, 5, 9])
    3.0
    """
    return float(np.floor(np.median(np.asarray(places_Q))))


def average_precisions(similarity_QN: npt.ArrayLike, relevant_QN: npt.ArrayLike) -> Floats:
    """The mean of each query's precisions at its truths [Q]; their mean is mAP. What is as similar is placed before.

    >>> average_precisions([[0.9, 0.8, 0.7]], [[True, False, True]]).round(4).tolist()  # (1/1 + 2/3) / 2
    [0.8333]
    """
    similarity, relevant = np.asarray(similarity_QN, float), np.asarray(relevant_QN, bool)
    order = np.lexsort((relevant, -similarity), axis=1)  # of equals, what is not relevant first
    hits_QN = np.take_along_axis(relevant, order, 1)
    precision_QN = hits_QN.cumsum(1) / np.arange(1, similarity.shape[1] + 1)
    found: Floats = (precision_QN * hits_QN).sum(1) / hits_QN.sum(1)
    return found


def captions_of(image_of_caption: Sequence[int], images: int) -> Flags:
    """Which caption [C] belongs to which picture, as flags [images, C].

    >>> captions_of([0, 0, 1], 2).astype(int).tolist()
    [[1, 1, 0], [0, 0, 1]]
    """
    return np.asarray(np.arange(images)[:, None] == np.asarray(image_of_caption)[None])
