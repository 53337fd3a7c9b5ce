"""VizWiz: questions that blind people asked about their own photographs, and whether these can be answered at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from isthmus.errors import BadData
from isthmus.evaluate.answers import IDS, IMAGES, SAID, Pair, by, pairs, records, text
from isthmus.evaluate.benchmarks._asked import Answered, have, objects, somewhere, upload
from isthmus.evaluate.benchmarks._parts import add
from isthmus.evaluate.benchmarks.vqav2 import Held, accuracies, asked, hub, with_people
from isthmus.evaluate.files import Row
from isthmus.evaluate.metrics import vqa
from isthmus.evaluate.questions import SHORT, Question
from isthmus.evaluate.scored import Figure, Floats, Scored, of_sums, over
from isthmus.evaluate.scoring import DRAWS

ABOUT = "questions that blind people asked about their own photographs; some cannot be answered"
SOURCE = "Gurari et al., 2018, arXiv:1802.08218; vizwiz.org, the evaluation code of its VQA challenge"
PREDICTIONS = {
    "the official results, a JSON list": '{"image": "VizWiz_val_00000000.jpg", "answer": "basil leaves"}',
    "with how sure the model is that there is an answer": '{"image": "VizWiz_val_00000000.jpg", "answerable": 0.9}',
    "JSON lines as LLaVA writes them": '{"question_id": "VizWiz_val_00000000.jpg", "text": "basil leaves"}',
    "with people's answers inside": (
        '{"image": "VizWiz_val_00000000.jpg", "prediction": "basil", "answers": ["basil", "..."]}'
    ),
}
REFERENCES = {
    "val.json, or the folder of Annotations": (
        '{"image": "VizWiz_val_00000000.jpg", "question": "What is this?", "answers": [{"answer": "basil",'
        ' "answer_confidence": "yes"}], "answer_type": "other", "answerable": 1}'
    ),
}
INSIDE = True  # rows of predictions may hold what people answered
DATA = {
    "val.json": "the questions with people's answers, or, for the server, test.json; or both in Annotations/",
    "val": "the folder of pictures, or test",
    "data/*.parquet": "or, in place of both, rows with question_id, question, answers, category and image",
}
GET = "vizwiz.org/tasks-and-datasets/vqa (Annotations.zip, val.zip or test.zip)"
HUB = "lmms-lab/VizWiz-VQA"
HEADLINE = "accuracy"
ENDING = f"When the provided information is insufficient, respond with 'Unanswerable'.\n{SHORT}"  # LLaVA-1.5's
JOINS = (by(IMAGES), by(IDS), by((*IMAGES, *IDS)))


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Accuracy and that of each type of answer; average precision and F1 of what cannot be answered."""
    found = Scored()
    own = records(predictions)
    truths = None
    if references is not None:
        truths = with_people(references / "val.json" if (references / "val.json").exists() else references)
    answered, sure = (
        any(key in row for row in own for key in SAID),
        truths is not None and any("answerable" in row for row in own),
    )
    if not answered and not sure:
        raise BadData(f"{predictions}: rows have neither an answer nor the key answerable")
    if answered:
        rule = vqa.vizwiz if mode == "official" else vqa.textvqa
        add(
            found, "accuracy", accuracies(pairs(predictions, truths, found, joins=JOINS), rule, ("answer_type",), found)
        )
    if sure:
        found.add(_answerable(pairs(predictions, truths, found, said=("answerable",), joins=JOINS), predictions))
    return found


def _answerable(some: Sequence[Pair], path: Path) -> dict[str, Figure]:
    """How well a model tells which questions cannot be answered (the positive class)."""
    if not some:
        return {}
    try:
        truth_K = np.array([1 - float(one.truth["answerable"]) for one in some])
        said_K = np.array([1 - float(one.said) for one in some])
    except (KeyError, ValueError) as error:
        raise BadData(f"{path}: `answerable` must be a number in both files, 1 for what can be answered") from error
    said = said_K > 0.5
    counts = np.stack([truth_K * said, (1 - truth_K) * said, truth_K * ~said], 1)
    rng = np.random.default_rng(0)
    drawn = [rng.integers(len(some), size=len(some)) for _ in range(DRAWS)]
    found = [value for at in drawn if (value := _precision(truth_K[at], said_K[at])) == value]
    low, high = np.quantile(found, [0.025, 0.975]) if found else (float("nan"), float("nan"))
    return {
        "average_precision": Figure(_precision(truth_K, said_K), float(low), float(high), len(some)),
        "f1": of_sums(lambda c: over(2 * c[..., 0], 2 * c[..., 0] + c[..., 1] + c[..., 2]), counts),
    }


def _precision(truth_K: Floats, said_K: Floats) -> float:
    """The sum over thresholds of precision times the recall gained; NaN without a positive.

    >>> round(_precision(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])), 4)
    0.8333
    """
    order = np.argsort(-said_K, kind="stable")
    last = np.r_[np.flatnonzero(np.diff(said_K[order])), len(order) - 1]  # of those that are equally sure
    hits = np.cumsum(truth_K[order])[last]
    if not hits[-1]:
        return float("nan")
    return float(np.sum(np.diff(np.r_[0, hits]) / hits[-1] * hits / (last + 1)))


def questions(folder: Path) -> Sequence[Question]:
    """The questions of the validation set, or else of the one for the server, as LLaVA-1.5 asks them."""
    files = [folder / own / f"{split}.json" for split in ("val", "test") for own in ("", "Annotations")]
    file = next((file for file in files if file.is_file()), None)
    held = _held(folder, file) if file else _of_hub(folder)
    found = []
    for one in held:
        own = asked(one, ("answer_type",), ENDING)
        name = own.row.pop("question_id")
        found.append(replace(own, image=text(name), row={"image": name} | own.row))
    return found


def write(folder: Path, out: Path, answered: Answered) -> Path | None:
    """The rows, and `answers_upload.json`, the official results; None where people's answers are not public."""
    public = all("answers" in own.row for own, _ in answered)
    return upload(out, answered, "answers_upload.json", _result, public)


def _result(question: Question, answer: str) -> Row:
    return {"image": question.row["image"], "answer": answer}


def _of_hub(folder: Path) -> list[Held]:
    held = hub(folder, "val", "test")
    return [replace(one, row=one.row | {"answer_type": one.row.get("category")}) for one in held]


def _held(folder: Path, file: Path) -> list[Held]:
    """The questions of an official file, whose ids are their pictures' names."""
    found = []
    for number, row in enumerate(objects(file, "questions"), 1):
        have(row, ("image", "question"), file, number)
        names = [f"{own}/{row['image']}" for own in (file.stem, f"images/{file.stem}", "images")]
        found.append(Held({"question_id": row["image"]} | row, somewhere(folder, names, f"question {row['image']}")))
    return found
