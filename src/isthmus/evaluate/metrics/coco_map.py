"""COCO's mean average precision of detections: ten IoU thresholds, 101 points of recall, at most 100 boxes a picture.

Lin et al., 2014, arXiv:1405.0312. A detection takes the free truth of its class that it overlaps most, best detection
first; truths that are crowds, or of another size than asked for, are neither found nor missed. The figures equal those
of the authors' `pycocotools`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
SIZES = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
MOST = 100  # detections of a class in a picture
NEVER = 2.0  # an IoU that no two boxes have


class Truth(NamedTuple):
    """An object: its box x, y, width, height in pixels; `area` is its mask's, or by default its box's."""

    image: Hashable
    category: Hashable
    box: Sequence[float]
    crowd: bool = False
    area: float | None = None


class Detection(NamedTuple):
    """A box x, y, width, height that was found, and how sure of it the model is."""

    image: Hashable
    category: Hashable
    box: Sequence[float]
    score: float


def coco_map(truths: Sequence[Truth], detections: Sequence[Detection]) -> dict[str, float]:
    """COCO's twelve figures: `map`, `map_50`, `map_75`, the mean recall of 1, 10 and 100 detections a picture, by size.

    NaN where no object of a size is there.

    >>> truths = [Truth(1, "dog", (0, 0, 10, 10)), Truth(1, "dog", (50, 50, 10, 10))]
    >>> found = coco_map(truths, [Detection(1, "dog", (0, 0, 10, 8), 0.9), Detection(1, "dog", (90, 90, 5, 5), 0.8)])
    >>> {name: round(found[name], 3) for name in ("map", "map_50", "map_75", "mar_100")}
    {'map': 0.353, 'map_50': 0.505, 'map_75': 0.505, 'mar_100': 0.35}
    """
    cells = _cells(truths, detections)
    found: dict[str, float] = {}
    for size, bounds in SIZES.items():
        curves = [curve for pictures in cells if (curve := _curve(pictures, bounds)) is not None]
        precision_KTR = np.array([precision for precision, _ in curves]).reshape(-1, len(THRESHOLDS), len(RECALLS))
        recall_KT = np.array([recall for _, recall in curves]).reshape(-1, len(THRESHOLDS))
        if size == "all":
            found |= {"map": _mean(precision_KTR), "map_50": _mean(precision_KTR[:, 0])}
            found |= {"map_75": _mean(precision_KTR[:, 5])}
            found |= {f"mar_{most}": _mean(_recalls(cells, bounds, most)) for most in (1, 10)}
            found |= {"mar_100": _mean(recall_KT)}
        else:
            found |= {f"map_{size}": _mean(precision_KTR), f"mar_{size}": _mean(recall_KT)}
    return found


class _Picture(NamedTuple):
    """What one picture holds of one class, and what was found, surest first."""

    truths: list[Truth]
    detections: list[Detection]


def _cells(truths: Sequence[Truth], detections: Sequence[Detection]) -> list[list[_Picture]]:
    """For each class its pictures, ordered by their ids: what each holds and the surest `MOST` detections."""
    cells: dict[Hashable, dict[Hashable, _Picture]] = defaultdict(lambda: defaultdict(lambda: _Picture([], [])))
    for truth in truths:
        cells[truth.category][truth.image].truths.append(truth)
    for one in detections:
        if one.category in cells:  # of a class that is nowhere, precision is not defined
            cells[one.category][one.image].detections.append(one)
    for picture in (picture for cell in cells.values() for picture in cell.values()):
        picture.detections.sort(key=lambda one: -one.score)  # stable, as the reference's merge sort
        del picture.detections[MOST:]
    # Detections of equal scores count in the order of their pictures.
    return [
        [cell[name] for name in sorted(cell, key=lambda name: (isinstance(name, str), name))] for cell in cells.values()
    ]


def _curve(pictures: Sequence[_Picture], bounds: tuple[float, float]) -> tuple[Floats, Floats] | None:
    """Precision [T, R] and the last recall [T] of one class; None without an object that counts."""
    parts = [_matched(picture, bounds) for picture in pictures]
    count = sum(part[3] for part in parts)
    if not count:
        return None
    scores_D = np.concatenate([part[0] for part in parts])
    order_D = np.argsort(-scores_D, kind="mergesort")
    hit_TD, ignored_TD = (np.concatenate([part[i] for part in parts], 1)[:, order_D] for i in (1, 2))
    precision_TR, recall_T = np.zeros((len(THRESHOLDS), len(RECALLS))), np.zeros(len(THRESHOLDS))
    for t, (hit_D, ignored_D) in enumerate(zip(hit_TD, ignored_TD, strict=True)):
        right_D = np.cumsum(hit_D & ~ignored_D).astype(float)
        wrong_D = np.cumsum(~hit_D & ~ignored_D).astype(float)
        recall_D = right_D / count
        envelope_D = np.maximum.accumulate((right_D / (right_D + wrong_D + np.spacing(1)))[::-1])[::-1]
        places_R = np.searchsorted(recall_D, RECALLS, side="left")
        reached = places_R < len(recall_D)
        precision_TR[t, reached] = envelope_D[places_R[reached]]
        recall_T[t] = recall_D[-1] if len(recall_D) else 0.0
    return precision_TR, recall_T


def _recalls(cells: Sequence[Sequence[_Picture]], bounds: tuple[float, float], most: int) -> Floats:
    """The recall [K, T] of each class with an object, by the `most` surest detections of each picture."""
    found = []
    for pictures in cells:
        parts = [_matched(_Picture(own.truths, own.detections[:most]), bounds) for own in pictures]
        if count := sum(part[3] for part in parts):
            found.append(sum((part[1] & ~part[2]).sum(1) for part in parts) / count)
    return np.array(found, float).reshape(-1, len(THRESHOLDS))


def _matched(picture: _Picture, bounds: tuple[float, float]) -> tuple[Floats, Flags, Flags, int]:
    """The scores [D], which detections hit [T, D] and which do not count [T, D], and how many truths do."""
    truths = sorted(picture.truths, key=lambda truth: _left_out(truth, bounds))  # those that count come first
    left_G = np.array([_left_out(truth, bounds) for truth in truths], bool)
    crowd_G = np.array([truth.crowd for truth in truths], bool)
    iou_DG = _overlap(picture.detections, truths)
    hit_TD = np.zeros((len(THRESHOLDS), len(picture.detections)), bool)
    ignored_TD = np.zeros_like(hit_TD)
    outside_D = np.array([not bounds[0] <= one.box[2] * one.box[3] <= bounds[1] for one in picture.detections], bool)
    for t, threshold in enumerate(THRESHOLDS):
        taken_G = np.zeros(len(truths), bool)
        for d in range(len(picture.detections)):
            free_G = np.where(taken_G & ~crowd_G, -1.0, iou_DG[d])
            place = _best(free_G, left_G, min(float(threshold), 1 - 1e-10))
            if place is not None:
                taken_G[place] = hit_TD[t, d] = True
                ignored_TD[t, d] = left_G[place]
        ignored_TD[t] |= ~hit_TD[t] & outside_D
    return np.array([one.score for one in picture.detections], float), hit_TD, ignored_TD, int((~left_G).sum())


def _left_out(truth: Truth, bounds: tuple[float, float]) -> bool:
    area = truth.box[2] * truth.box[3] if truth.area is None else truth.area
    return truth.crowd or not bounds[0] <= area <= bounds[1]


def _best(iou_G: Floats, left_G: Flags, threshold: float) -> int | None:
    """The truth overlapped most, the last of equals; one that counts before any that does not."""
    for group_G in (~left_G, left_G):
        able_G = np.where(group_G & (iou_G >= threshold), iou_G, -NEVER)
        if len(able_G) and able_G.max() >= threshold:
            return len(able_G) - 1 - int(able_G[::-1].argmax())
    return None


def _overlap(detections: Sequence[Detection], truths: Sequence[Truth]) -> Floats:
    """IoU [D, G]; with a crowd, the share of the detection that lies in it."""
    a = np.array([one.box for one in detections], float).reshape(-1, 1, 4)
    b = np.array([truth.box for truth in truths], float).reshape(1, -1, 4)
    sides = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    inter = np.where((sides > 0).all(-1), sides.prod(-1), 0.0)
    crowd_G = np.array([truth.crowd for truth in truths], bool)
    whole_D, whole_G = a[..., 2] * a[..., 3], b[..., 2] * b[..., 3]
    union = np.where(crowd_G, whole_D + 0 * whole_G, whole_D + whole_G - inter)
    found: Floats = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    return found


def _mean(values: Floats) -> float:
    return float(values.mean()) if values.size else float("nan")
