"""MMBench-Video: open questions about long videos, which a judge marks from 0 to 3."""

from __future__ import annotations

from pathlib import Path

from isthmus.errors import BadData
from isthmus.evaluate.answers import IDS, column, first, listed, records, slug, text
from isthmus.evaluate.benchmarks._parts import Value, add
from isthmus.evaluate.scored import Scored

ABOUT = "open questions about long videos, which a judge marks from 0 to 3, in 26 capabilities"
SOURCE = "Fang et al., 2024, arXiv:2406.14515; vlmeval/dataset/utils/mmbench_video.py of VLMEvalKit"
PREDICTIONS = {"VLMEvalKit's sheet with the marks": "index, video, question, answer, prediction, dimensions, score"}
REFERENCES: dict[str, str] = {}
COARSE = {
    "CP": "Video Topic, Video Emotion, Video Scene, Video Style",
    "FP-S": "OCR, Object Recognition, Attribute Recognition, Event Recognition, Human Motion, Counting",
    "FP-C": "Spatial Relationship, Human-object Interaction, Human Interaction",
    "HL": "Hallucination",
    "LR": "Structuralized Image-Text Understanding, Mathematical Calculation",
    "AR": "Physical Property, Function Reasoning, Identity Reasoning",
    "RR": "Natural Relation, Physical Relation, Social Relation",
    "CSR": "Common Sense Reasoning",
    "TR": "Counterfactual Reasoning, Causal Reasoning, Future Prediction",
}
PERCEPTION = ("CP", "FP-S", "FP-C", "HL")
OF = {fine: coarse for coarse, names in COARSE.items() for fine in names.split(", ")}


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """The mean mark of all, of perception and reasoning, and of each capability, coarse and fine.

    A failed judgement (-1) counts as 0, as in the reference's figures over all; `valid/score` leaves it out.
    """
    del references
    found = Scored()
    rows = records(predictions)
    column(rows, ["score"], predictions, "the judge's mark")
    values, valid = [], []
    for number, row in enumerate(rows, 1):
        name = text(first(row, IDS) if first(row, IDS) is not None else number)
        mark = _mark(row.get("score"), predictions, number)
        one = Value(max(mark, 0.0), text(row.get("video", name)), _parts(row.get("dimensions", row.get("dimension"))))
        if mark >= 0:
            valid.append(one)
        elif mode != "official":
            found.unscored[name] = "the judge gave no mark"
            continue
        values.append(one)
    order = ["perception", "reasoning", *map(slug, COARSE)]
    add(found, "score", values, order)
    if failed := len(values) - len(valid):
        found.notes.append(f"{failed} failed judgements count as 0, as in the reference; valid/score leaves them out")
        if valid:
            add_valid = Scored()
            add(add_valid, "score", [one._replace(parts=()) for one in valid])
            found.add(add_valid.metrics, "valid")
    return found


def _mark(value: object, path: Path, number: int) -> float:
    if value is None:
        return -1.0
    try:
        return float(str(value))
    except ValueError as error:
        raise BadData(f"{path}, row {number}: the score must be a number from 0 to 3, not {value!r}") from error


def _parts(value: object) -> tuple[str, ...]:
    """The capabilities of a question, coarse ones too, each once."""
    fine = [] if value is None else listed(value)
    coarse = [OF[name] for name in fine if name in OF]
    whole = ["perception" if name in PERCEPTION else "reasoning" for name in coarse]
    return tuple(dict.fromkeys([*whole, *map(slug, coarse), *map(slug, fine)]))
