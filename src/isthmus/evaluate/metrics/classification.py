"""Accuracy, precision, recall, F1, average precision and the confusion matrix, as scikit-learn counts them.

Pedregosa et al., "Scikit-learn: Machine Learning in Python", JMLR 12, 2011.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

AVERAGES = ("micro", "macro", "weighted")


class Scores(NamedTuple):
    """Accuracy, precision, recall and F1, each between 0 and 1."""

    precision: float
    recall: float
    f1: float


def accuracy(truths: Sequence[Hashable], said: Sequence[Hashable]) -> float:
    """The share of samples whose predicted class is the true one; NaN of none.

    >>> accuracy(["cat", "cat", "dog", "owl"], ["cat", "dog", "dog", "dog"])
    0.5
    """
    pairs = list(zip(truths, said, strict=True))
    return sum(truth == one for truth, one in pairs) / len(pairs) if pairs else float("nan")


def precision_recall_f1(truths: Sequence[Hashable], said: Sequence[Hashable], average: str = "macro") -> Scores:
    """Precision, recall and F1 over classes; a class that was never said has a precision of 0, as in published tables.

    Args:
        truths: the class of each sample.
        said: the class that was predicted for each.
        average: `micro` pools the counts, `macro` gives each class the same weight, `weighted` its share of the truths.

    >>> truths, said = ["cat", "cat", "dog", "owl"], ["cat", "dog", "dog", "dog"]
    >>> for average in AVERAGES: print(average, *(round(one, 3) for one in precision_recall_f1(truths, said, average)))
    micro 0.5 0.5 0.5
    macro 0.444 0.5 0.389
    weighted 0.583 0.5 0.458
    """
    from sklearn.metrics import precision_recall_fscore_support

    found = precision_recall_fscore_support(list(truths), list(said), average=average, zero_division=0.0)
    return Scores(*(float(score) for score in found[:3]))


def confusion_matrix(
    truths: Sequence[str], said: Sequence[str], labels: Sequence[str] | None = None
) -> tuple[list[str], npt.NDArray[np.int64]]:
    """How often each class (row) was predicted as each (column), and the classes' names in that order.

    >>> names, counts = confusion_matrix(["yes", "yes", "no"], ["yes", "no", "no"])
    >>> names, counts.tolist()
    (['no', 'yes'], [[1, 0], [1, 1]])
    """
    from sklearn.metrics import confusion_matrix as counted

    names = sorted({*truths, *said}) if labels is None else list(labels)
    return names, np.asarray(counted(list(truths), list(said), labels=names), np.int64)


def average_precision(relevant: Sequence[bool], scores: Sequence[float]) -> float:
    """The mean of the precisions at which recall rises, AP = sum_n (R_n - R_n-1) P_n, without interpolation.

    NaN where nothing is relevant. Scores that are equal are one step, in whatever order they come.

    >>> round(average_precision([True, False, True, False], [0.9, 0.8, 0.7, 0.6]), 4)  # (1/1 + 2/3) / 2
    0.8333
    """
    from sklearn.metrics import average_precision_score

    if not any(relevant):
        return float("nan")
    return float(average_precision_score(np.asarray(relevant, int), np.asarray(scores, float)))
