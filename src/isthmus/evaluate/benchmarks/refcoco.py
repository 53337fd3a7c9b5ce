"""RefCOCO, RefCOCO+ and RefCOCOg: the box of what an expression refers to; the same for grounding in general."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from isthmus.errors import BadData
from isthmus.evaluate.benchmarks._asked import amount, have, somewhere
from isthmus.evaluate.benchmarks._rows import text
from isthmus.evaluate.benchmarks._tasks import tasks
from isthmus.evaluate.files import Row, rows
from isthmus.evaluate.metrics.boxes import corners, iou
from isthmus.evaluate.questions import Question
from isthmus.evaluate.scored import Figure, Scored, mean, proportion

ABOUT = "which box does an expression refer to? Right from an IoU of 0.5"
SOURCE = (
    "Yu et al., 2016, arXiv:1608.00272; texts are read as github.com/QwenLM/Qwen-VL, "
    "eval_mm/evaluate_grounding.py, does"
    " ((x1,y1),(x2,y2) of 999), and [x1, y1, x2, y2] as fractions or of 1000, as InternVL's script does"
)
PREDICTIONS = {
    "Qwen-VL's": '{"answer": "<box>(12,40),(500,999)</box>", "gt_bbox": [8.0, 19.2, 320.0, 480.0], "hw": [480, 640]}',
    "boxes in pixels, x1, y1, x2, y2": '{"id": 1, "bbox": [8.0, 19.2, 320.0, 480.0]}',
    "boxes as fractions in texts": '{"question_id": 1, "text": "[0.01, 0.04, 0.5, 1.0]"}',
}
REFERENCES = {
    "Qwen-VL's refcoco_val.jsonl, or a folder of splits": (
        '{"image": "train2014/1.jpg", "sent": "left man", "bbox": [8, 19, 320, 480], "height": 480, "width": 640}'
    ),
}
INSIDE = True  # rows of predictions may hold the truth
DATA = {
    "ref*_*.jsonl": "Qwen-VL's refcoco_testA.jsonl, refcoco+_val.jsonl, refcocog_test.jsonl, ...: all that are there",
    "train2014": "the folder of COCO's pictures, where their paths in those files are not kept",
}
GET = "github.com/QwenLM/Qwen-VL/blob/master/eval_mm/EVALUATION.md (refcoco), and train2014.zip of cocodataset.org"
HEADLINE = "accuracy"
ASK = "Please provide the bounding box coordinate of the region this sentence describes: {}."  # LLaVA-1.5's
TRUTHS = ("gt_bbox", "gt_box", "gt", "target_bbox", "target", "truth", "bbox")
SAID = (
    "answer",
    "prediction",
    "pred_bbox",
    "predicted_bbox",
    "pred_box",
    "pred",
    "box",
    "response",
    "output",
    "bbox",
    "text",
)
SPLITS = ("testA", "testB", "val", "test")
QWEN = re.compile(r"\((.*?)\),\((.*?)\)")
BRACKETS = re.compile(r"\[*\[(.*?),(.*?),(.*?),(.*?)\]\]*")
RIGHT = 0.5


class Read(NamedTuple):
    """One expression: the overlap with its truth, its picture and its split."""

    overlap: float
    image: str
    split: str


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Accuracy (Acc@0.5, precision@1) and the mean IoU, of each split where there are several."""
    found = Scored()
    some, unread = [], 0
    for task in tasks(predictions, references, TRUTHS, found, SAID):
        row = task.row
        truth = _truth(task.id, row)
        height, width = _size(row)
        box = _said(task.given or row, references is not None)
        grid = None if isinstance(box, list) else _grid(text(box))
        numbers = [float(one) for one in box] if isinstance(box, list) and len(box) == 4 else _numbers(text(box))
        if numbers is None:
            unread += 1
            if mode == "lenient":
                found.unscored[task.id] = "no box can be read"
                continue
            numbers, grid = [0.0] * 4, None
        own = _pixels(numbers, grid, (width, height), truth, task.id)
        image = text(row.get("image") or row.get("image_id") or row.get("file_name")) or task.id
        some.append(Read(float(iou(own, truth)[0, 0]), image, _split(row)))
        found.marks[task.id] = float(some[-1].overlap >= RIGHT)
    if unread and mode == "official":
        found.notes.append(f"{unread:,} answers hold no box; the official rule takes an empty one, which is wrong")
    found.add(_figures(some))
    splits = dict.fromkeys(one.split for one in some)
    if len(splits) > 1:
        for split in splits:
            found.add(_figures([one for one in some if one.split == split]), split or "other")
    return found


def _figures(some: Sequence[Read]) -> dict[str, Figure]:
    images = [one.image for one in some]
    return {
        "accuracy": proportion((one.overlap >= RIGHT for one in some), images),
        "mean_iou": mean((one.overlap for one in some), images),
    }


def _truth(name: str, row: Row) -> list[float]:
    cell = next((row[key] for key in TRUTHS if row.get(key) is not None), None)
    cell = _numbers(cell) if isinstance(cell, str) else cell
    if not isinstance(cell, list) or len(cell) != 4 or not all(isinstance(one, int | float) for one in cell):
        raise BadData(f"expression {name}: the truth is {cell!r}; a box x1, y1, x2, y2 is needed")
    if text(row.get("format")).lower() == "xywh":
        cell = corners(cell)[0].tolist()
    return [float(one) for one in cell]


def _said(row: Row, beside: bool) -> Any:
    """The cell with the answer; `bbox` is one only where another key holds the truth, or the references do."""
    keys = [key for key in SAID if row.get(key) is not None and (key != "bbox" or beside or "gt_bbox" in row)]
    return row[keys[0]] if keys else ""


def _size(row: Row) -> tuple[float, float]:
    """Height and width of the picture; 0 where the row does not say."""
    pair = row.get("hw")
    if isinstance(pair, list) and len(pair) == 2:
        return float(pair[0]), float(pair[1])
    return float(row.get("height") or 0), float(row.get("width") or 0)


def _grid(said: str) -> float | None:
    """What the numbers of a text are parts of, by its form: 999 of Qwen-VL's, 1000 or 1 of brackets."""
    if QWEN.search(said):
        return 999.0
    numbers = _numbers(said)
    return None if numbers is None else 1000.0 if sum(numbers) >= 4 else 1.0


def _numbers(said: str) -> list[float] | None:
    """The four numbers of a text's first box; None without one.

    >>> _numbers("<box>(12,40),(500,999)</box>"), _numbers("at [0.1, 0.2, 0.5, 1]"), _numbers("left")
    ([12.0, 40.0, 500.0, 999.0], [0.1, 0.2, 0.5, 1.0], None)
    """
    pairs, flat = QWEN.search(said), BRACKETS.search(said)
    parts = (
        [part for corner in pairs.groups() for part in corner.split(",")]
        if pairs
        else list(flat.groups() if flat else ())
    )
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        return None
    return numbers if len(numbers) == 4 else None


def _pixels(
    numbers: list[float], grid: float | None, size: tuple[float, float], truth: list[float], name: str
) -> list[float]:
    """A box in the truth's units."""
    whole = max(truth) > 1.5  # else the truth is in fractions, too
    if grid is None:
        grid = 1.0 if whole and 0 < max(numbers) <= 1.0 else None
    if grid is None:
        return numbers
    if whole and not all(size):
        raise BadData(
            f"expression {name}: the answer is in parts of the picture; its size is needed (hw, or height and width)"
        )
    scale = np.array([*size, *size]) if whole else np.ones(4)
    return (np.array(numbers) / grid * scale).tolist()  # type: ignore[no-any-return]


def _split(row: Row) -> str:
    own = text(row.get("split"))
    named = str(row.get("_file", ""))
    return own or next((split for split in SPLITS if re.search(rf"(?<![A-Za-z]){split}(?![A-Za-z])", named)), "")


def questions(folder: Path) -> Sequence[Question]:
    """Each expression as LLaVA-1.5 was taught it; a box is asked for as fractions, [x1, y1, x2, y2]."""
    files = sorted(folder.glob("ref*_*.jsonl"))
    if not files:
        raise BadData(f"{folder}: no file {next(iter(DATA))} in this folder")
    found = []
    for file in files:
        for number, row in enumerate(rows(file), 1):
            have(row, ("image", "sent"), file, number, ("bbox",))
            name, image = f"{file.stem}/{number}", text(row["image"])
            box, size = (
                _truth(name, {"bbox": row["bbox"]}),
                tuple(amount(row, key, f"{file}, row {number}") for key in ("height", "width")),
            )
            if not all(side > 0 for side in size):
                raise BadData(f"{file}, row {number}: a picture of {size[1]:g} x {size[0]:g} pixels")
            media = somewhere(folder, [image, f"train2014/{Path(image).name}"], f"{file.name}, row {number}")
            parts = [value / side for value, side in zip(box, (size[1], size[0]) * 2, strict=True)]
            kept = {"question_id": name, "image": image, "sent": row["sent"], "gt_bbox": box, "hw": list(size)}
            found.append(
                Question(
                    *(name, ASK.format(text(row["sent"]).removesuffix(".")), (media,)), parts=(file.stem,), image=image,
                    truth=f"[{', '.join(f'{value:.3f}' for value in parts)}]", row=kept | {"split": file.stem},
                    longest=48,
                )
            )  # fmt: skip
    return found
