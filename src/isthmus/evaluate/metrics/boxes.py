"""Boxes: overlap, and how often a box or a point is where it should be.

    IoU   intersection over union (Jaccard, 1912)
    GIoU  IoU less the share of the hull that neither box fills (Rezatofighi et al., 2019, arXiv:1902.09630)
    Acc@t of referring expressions: the share with IoU >= t (Yu et al., 2016, arXiv:1608.00272)
    the pointing game (Zhang et al., 2016, arXiv:1608.00507)

Boxes are corners x1, y1, x2, y2 unless a name says otherwise. COCO's mean average precision is in `coco_map`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def corners(boxes_N4: npt.ArrayLike) -> Floats:
    """Boxes as x1, y1, x2, y2, of boxes given as x, y, width, height.

    >>> corners([[10, 20, 30, 40]]).tolist()
    [[10.0, 20.0, 40.0, 60.0]]
    """
    found = np.array(boxes_N4, float).reshape(-1, 4)
    found[:, 2:] += found[:, :2]
    return found


def iou(boxes_N4: npt.ArrayLike, others_M4: npt.ArrayLike) -> Floats:
    """Intersection over union of every box with every other, [N, M]; 0 where both are empty.

    >>> iou([[0, 0, 2, 2]], [[1, 1, 3, 3], [0, 0, 2, 2], [5, 5, 6, 6]]).round(4).tolist()
    [[0.1429, 1.0, 0.0]]
    """
    inter_NM, union_NM, _ = _areas(boxes_N4, others_M4)
    return np.divide(inter_NM, union_NM, out=np.zeros_like(inter_NM), where=union_NM > 0)


def giou(boxes_N4: npt.ArrayLike, others_M4: npt.ArrayLike) -> Floats:
    """Generalised IoU of every box with every other, [N, M], between -1 and 1.

    >>> giou([[0, 0, 2, 2]], [[1, 1, 3, 3], [0, 0, 2, 2]]).round(4).tolist()  # 1/7 - (9 - 7)/9
    [[-0.0794, 1.0]]
    """
    _, union_NM, hull_NM = _areas(boxes_N4, others_M4)
    empty_NM = np.divide(hull_NM - union_NM, hull_NM, out=np.zeros_like(hull_NM), where=hull_NM > 0)
    return iou(boxes_N4, others_M4) - empty_NM


def _areas(boxes_N4: npt.ArrayLike, others_M4: npt.ArrayLike) -> tuple[Floats, Floats, Floats]:
    """The areas [N, M] of the intersection, the union and the hull of each pair."""
    a, b = np.asarray(boxes_N4, float).reshape(-1, 1, 4), np.asarray(others_M4, float).reshape(1, -1, 4)
    sides = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None)
    hull = np.maximum(a[..., 2:], b[..., 2:]) - np.minimum(a[..., :2], b[..., :2])
    area_a, area_b = ((box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1]) for box in (a, b))
    inter: Floats = sides.prod(-1)
    return inter, area_a + area_b - inter, hull.prod(-1)


def accuracy_at(said_N4: npt.ArrayLike, truth_N4: npt.ArrayLike, threshold: float = 0.5) -> float:
    """The share of boxes whose IoU with their own truth is at least `threshold`: RefCOCO's Acc@0.5.

    >>> accuracy_at([[0, 0, 2, 2], [0, 0, 2, 2]], [[0, 0, 2, 4], [1, 1, 3, 3]])
    0.5
    """
    said, truth = (np.asarray(boxes, float).reshape(-1, 1, 4) for boxes in (said_N4, truth_N4))
    return float(np.mean([iou(a, b)[0, 0] >= threshold for a, b in zip(said, truth, strict=True)]))


def pointing_accuracy(points_N2: Sequence[Sequence[float]], regions: Sequence[npt.ArrayLike]) -> float:
    """The share of points x, y inside their region: a box x1, y1, x2, y2 with its edge, or a mask [height, width].

    A point lies in the mask's pixel that its whole numbers name; a point outside the picture misses.

    >>> pointing_accuracy([[1, 1], [2.5, 0.2], [9, 9]], [[0, 0, 2, 2], [[0, 0, 1], [0, 0, 0]], [[1, 1], [1, 1]]])
    0.6666666666666666
    """
    hits = [_inside(point, np.asarray(region, float)) for point, region in zip(points_N2, regions, strict=True)]
    return float(np.mean(hits))


def _inside(point: Sequence[float], region: Floats) -> bool:
    x, y = point
    if region.ndim == 1:
        x1, y1, x2, y2 = region
        return bool(x1 <= x <= x2 and y1 <= y <= y2)
    row, column = int(np.floor(y)), int(np.floor(x))
    height, width = region.shape
    return 0 <= row < height and 0 <= column < width and bool(region[row, column])
