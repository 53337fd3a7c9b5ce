"""COCO's detection: mean average precision of boxes."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from isthmus.errors import BadData
from isthmus.evaluate.files import Row, document, rows
from isthmus.evaluate.metrics.coco_map import Detection, Truth, coco_map
from isthmus.evaluate.scored import Figure, Scored

ABOUT = "mean average precision of detected boxes, at ten overlaps"
SOURCE = "Lin et al., 2014, arXiv:1405.0312; the figures of github.com/cocodataset/cocoapi"
PREDICTIONS = {
    "COCO's results": '[{"image_id": 42, "category_id": 18, "bbox": [258.15, 41.29, 348.26, 243.78], "score": 0.236}]'
}
REFERENCES = {
    "instances_val2017.json": (
        '{"images": [...], "annotations": [{"image_id": 42, "category_id": 18, "bbox": [1, 2, 3, 4], "area": 12, '
        '"iscrowd": 0}]}'
    ),
}


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """COCO's twelve figures; both modes are the same, and intervals are not given."""
    assert references is not None
    held = document(references)
    truths = [_truth(row, f"{references}, annotation {i}") for i, row in enumerate(_annotations(held, references), 1)]
    detections = [_detection(row, f"{predictions}, row {i}") for i, row in enumerate(rows(predictions), 1)]
    images = {one["id"] for one in held.get("images", [])} | {truth.image for truth in truths}
    if detections and not any(one.image in images for one in detections):
        raise BadData(f"{predictions}: no image_id is among those of {references}: are these files of the same split?")
    own = [one for one in detections if one.image in images]
    found = Scored()
    for name, value in coco_map(truths, own).items():
        found.metrics[name] = Figure(value, float("nan"), float("nan"), len(truths))
    if len(own) < len(detections):
        found.notes.append(
            f"{len(detections) - len(own):,} detections in pictures that the references do not have were left out"
        )
    seen: dict[Any, int] = defaultdict(int)
    for one in own:
        seen[one.image] += 1
    found.notes.append(
        f"n is the number of objects; {len(images) - len(seen):,} of {len(images):,} pictures have no detection"
    )
    return found


def _annotations(held: Any, path: Path) -> list[Row]:
    if not isinstance(held, dict) or not isinstance(held.get("annotations"), list):
        raise BadData(f"{path}: an object with a list of annotations is needed, as instances_val2017.json")
    return [row for row in held["annotations"] if not row.get("ignore")]


def _truth(row: Row, where: str) -> Truth:
    try:
        area = row.get("area")
        return Truth(
            row["image_id"],
            row["category_id"],
            _box(row),
            bool(row.get("iscrowd")),
            None if area is None else float(area),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadData(
            f"{where}: image_id, category_id and a bbox x, y, width, height are needed ({error!r})"
        ) from error


def _detection(row: Row, where: str) -> Detection:
    try:
        return Detection(row["image_id"], row["category_id"], _box(row), float(row["score"]))
    except (KeyError, TypeError, ValueError) as error:
        raise BadData(
            f"{where}: image_id, category_id, a bbox x, y, width, height and a score are needed ({error!r})"
        ) from error


def _box(row: Row) -> tuple[float, ...]:
    x, y, width, height = (float(one) for one in row["bbox"])
    return x, y, width, height
