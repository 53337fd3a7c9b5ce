"""Calibration: whether a model is as often right as it is sure, and what it gains by leaving out what it is unsure of.

ECE             sum_b n_b / N |accuracy_b - confidence_b| (Naeini et al., AAAI 2015; Guo et al., 2017, arXiv:1706.04599)
equal mass      bins of the same number of samples (Nixon et al., 2019, arXiv:1904.01685)
Brier score     mean squared error of the probabilities (Brier, Monthly Weather Review 78, 1950)
risk, coverage  the error among the answers kept, and the share kept; AURC is the mean risk over all coverages
                (Geifman et al., 2019, arXiv:1805.08206)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def ece(confidence_N: npt.ArrayLike, right_N: npt.ArrayLike, bins: int = 15, mass: bool = False) -> float:
    """Expected calibration error over `bins` bins: of equal width, closed above, or of equal `mass`.

    >>> sure, right = [0.95, 0.85, 0.55, 0.45], [True, True, False, True]
    >>> round(ece(sure, right, bins=2), 4), round(ece(sure, right, bins=2, mass=True), 4)
    (0.225, 0.05)
    """
    confidence, right = np.asarray(confidence_N, float), np.asarray(right_N, float)
    if mass:
        parts = np.array_split(np.argsort(confidence, kind="stable"), bins)
    else:
        bin_N = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
        parts = [np.flatnonzero(bin_N == b) for b in range(bins)]
    gaps = [len(part) * abs(right[part].mean() - confidence[part].mean()) for part in parts if len(part)]
    return float(sum(gaps) / len(confidence))


def brier(probabilities_NC: npt.ArrayLike, labels_N: npt.ArrayLike) -> float:
    """Brier's score over all classes, from 0 to 2; of a single probability [N], that of the event, from 0 to 1.

    >>> round(brier([[0.8, 0.2], [0.4, 0.6]], [0, 0]), 4), round(brier([0.8, 0.4], [1, 0]), 4)
    (0.4, 0.1)
    """
    probabilities, labels = np.asarray(probabilities_NC, float), np.asarray(labels_N, int)
    if probabilities.ndim == 1:
        return float(((probabilities - labels) ** 2).mean())
    return float(((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(1).mean())


def selective_accuracy(confidence_N: npt.ArrayLike, right_N: npt.ArrayLike, coverage: float) -> float:
    """The share of right answers among the surest ones, as many as `coverage` of all, rounded up.

    >>> selective_accuracy([0.9, 0.8, 0.4, 0.2], [True, True, False, True], 0.5)
    1.0
    """
    right_N = _surest_first(confidence_N, right_N)
    return float(right_N[: max(1, int(np.ceil(coverage * len(right_N) - 1e-9)))].mean())


def aurc(confidence_N: npt.ArrayLike, right_N: npt.ArrayLike) -> float:
    """The area under the curve of risk over coverage, the mean over k of the error among the k surest; lower is better.

    >>> round(aurc([0.9, 0.8, 0.4, 0.2], [True, True, False, True]), 4)  # (0 + 0 + 1/3 + 1/4) / 4
    0.1458
    """
    wrong_N = 1 - _surest_first(confidence_N, right_N)
    return float((wrong_N.cumsum() / np.arange(1, len(wrong_N) + 1)).mean())


def _surest_first(confidence_N: npt.ArrayLike, right_N: npt.ArrayLike) -> Floats:
    """Right (1) or wrong (0), surest first; answers of equal confidence share their mean, whatever their order."""
    confidence, right = np.asarray(confidence_N, float), np.asarray(right_N, float)
    _, group_N, counts = np.unique(-confidence, return_inverse=True, return_counts=True)
    return np.asarray(np.repeat(np.bincount(group_N, right) / counts, counts), float)
