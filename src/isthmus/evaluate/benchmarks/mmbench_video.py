"""MMBench-Video: open questions about long videos, which a judge marks from 0 to 3."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from isthmus.errors import BadData
from isthmus.evaluate.answers import IDS, column, first, judged, listed, records, slug, text
from isthmus.evaluate.benchmarks._asked import have
from isthmus.evaluate.benchmarks._parts import Value, add
from isthmus.evaluate.questions import Question, inside, one
from isthmus.evaluate.scored import Scored
from isthmus.types import Video

ABOUT = "open questions about long videos, which a judge marks from 0 to 3, in 26 capabilities"
SOURCE = "Fang et al., 2024, arXiv:2406.14515; vlmeval/dataset/utils/mmbench_video.py of VLMEvalKit"
PREDICTIONS = {"VLMEvalKit's sheet with the marks": "index, video, question, answer, prediction, dimensions, score"}
REFERENCES: dict[str, str] = {}
DATA = {
    "MMBench-Video.tsv": "the questions (index, video, question, answer, dimensions, video_path)",
    "video": "the folder of videos that its video_path names",
}
GET = "huggingface.co/datasets/opencompass/MMBench-Video, with its videos unpacked as told there"
HEADLINE = "score"
JUDGE = "mmbench-video"
LONGEST = 512  # tokens of an answer
KEPT = ("index", "video", "video_type", "question", "answer", "dimensions")
MOST = 3  # the best mark
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
    rows = judged(records(predictions), found)
    column(rows, ["score"], predictions, "the judge's mark")
    values, valid = [], []
    for number, row in enumerate(rows, 1):
        name = text(first(row, IDS) if first(row, IDS) is not None else number)
        mark = _mark(row.get("score"), predictions, number)
        value = Value(max(mark, 0.0), text(row.get("video", name)), _parts(row.get("dimensions", row.get("dimension"))))
        if mark >= 0:
            valid.append(value)
            found.marks[name] = min(mark / MOST, 1.0)
        elif mode != "official":
            found.unscored[name] = "the judge gave no mark"
            continue
        values.append(value)
    order = ["perception", "reasoning", *map(slug, COARSE)]
    add(found, "score", values, order)
    if failed := len(values) - len(valid):
        found.notes.append(f"{failed} failed judgements count as 0, as in the reference; valid/score leaves them out")
        if valid:
            add_valid = Scored()
            add(add_valid, "score", [one._replace(parts=()) for one in valid])
            found.add(add_valid.metrics, "valid")
    return found


def questions(folder: Path) -> Sequence[Question]:
    """Each question by itself, as models that take videos are asked by VLMEvalKit."""
    file = one(folder, "MMBench-Video.tsv", "*MMBench-Video*.tsv", "*.tsv")
    found = []
    for number, row in enumerate(records(file), 1):
        have(row, ("index", "video", "question", "answer", "dimensions"), file, number)
        name, video = text(row["index"]), text(row["video"])
        tried = [text(row["video_path"]).removeprefix("./")] if row.get("video_path") else []
        path = inside(folder, [*tried, f"video/{video}.mp4", f"{video}.mp4"], f"question {name}")
        found.append(
            Question(
                *(name, text(row["question"]), (Video(path),)), truth=text(row["answer"]), image=video,
                parts=_parts(row["dimensions"]), row={key: row[key] for key in KEPT if key in row}, longest=LONGEST,
            )
        )  # fmt: skip
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
