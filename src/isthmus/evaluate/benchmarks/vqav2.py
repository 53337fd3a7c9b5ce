"""VQAv2: open questions about COCO's photographs, each with the answers of ten people."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.errors import BadData
from isthmus.evaluate.answers import IMAGES, TRUTHS, Pair, column, first, listed, pairs, records, slug, text
from isthmus.evaluate.benchmarks._asked import Answered, amount, frequent, have, hubs, objects, shown, somewhere, upload
from isthmus.evaluate.benchmarks._parts import Value, add
from isthmus.evaluate.files import Row
from isthmus.evaluate.metrics import vqa
from isthmus.evaluate.questions import SHORT, Question
from isthmus.evaluate.scored import Scored
from isthmus.types import Image

ABOUT = "open questions about photographs, scored by how many of ten people gave the answer"
SOURCE = "Goyal et al., 2017, arXiv:1612.00837; github.com/GT-Vision-Lab/VQA"
PREDICTIONS = {
    "the official results, a JSON list": '{"question_id": 262148000, "answer": "2"}',
    "JSON lines as LLaVA writes them": '{"question_id": 262148000, "prompt": "...", "text": "2", "metadata": {}}',
    "with people's answers inside": '{"question_id": 262148000, "prediction": "2", "answers": ["2", "two", "..."]}',
}
REFERENCES = {
    "v2_mscoco_val2014_annotations.json, or its folder": (
        '{"annotations": [{"question_id": 262148000, "image_id": 262148, "answer_type": "number", "question_type": "how'
        ' many", "answers": [{"answer": "2", "answer_id": 1}]}]}'
    ),
}
INSIDE = True  # rows of predictions may hold what people answered
DATA = {
    "v2_OpenEnded_mscoco_*_questions.json": "the questions, val2014 or, for the server, test-dev2015 or test2015",
    "v2_mscoco_*_annotations.json": "people's answers, of val2014",
    "val2014": "the folder of COCO's pictures, or test2015",
    "data/*.parquet": "or, in place of all, rows with question, answers and image",
}
GET = "visualqa.org/download.html, and val2014.zip or test2015.zip of cocodataset.org"
HUB = "lmms-lab/VQAv2"
HEADLINE = "accuracy"
ORDER = ("yes_no", "number", "other")


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Accuracy over all questions, by type of answer and by type of question."""
    found = Scored()
    rule = vqa.vqa if mode == "official" else vqa.textvqa
    some = pairs(predictions, None if references is None else with_people(references), found)
    add(found, "accuracy", accuracies(some, rule, ("answer_type", "question_type"), found), ORDER)
    return found


def with_people(references: Path) -> list[Row]:
    """The rows with people's answers, of a file or of the one of a folder that is named annotations."""
    truths = records(references, "*annotation*" if references.is_dir() else "*")
    column(truths, ("answers", *TRUTHS), references, "the answers that people gave")
    return truths


def accuracies(
    some: Sequence[Pair], rule: Callable[[str, Sequence[str]], float], kinds: Sequence[str], found: Scored
) -> list[Value]:
    """Each question's accuracy, with the parts that the truths' keys `kinds` name.

    The rule compares with what people say beside one another; a truth alone is compared as EvalAI compares two.
    """
    values, alone = [], 0
    for one in some:
        people = one.told()
        alone += len(people) == 1
        parts = tuple(slug(one.truth[kind]) for kind in kinds if kind in one.truth)
        value = rule(one.said, people) if len(people) > 1 else vqa.textvqa(one.said, people * 10)
        values.append(Value(value, text(first(one.truth, IMAGES) or one.id), parts, one.id))
    if alone:
        found.notes.append(
            f"{alone:,} questions have one true answer and not those of ten people; there an answer is right or wrong"
        )
    return values


def questions(folder: Path) -> Sequence[Question]:
    """The questions of the validation set, or else of the one for the server, as LLaVA-1.5 asks them."""
    files = sorted(
        folder.glob("v2_OpenEnded_mscoco_*_questions.json"), key=lambda file: ("val2014" not in file.name, file)
    )
    held = (
        official(folder, files[0], "v2_mscoco_{}_annotations.json") if files else hub(folder, "validation", "testdev")
    )
    return [asked(one, ("answer_type", "question_type")) for one in held]


def write(folder: Path, out: Path, answered: Answered) -> Path | None:
    """The rows, and `answers_upload.json`, the official results; None where people's answers are not public."""
    public = all("answers" in own.row for own, _ in answered)
    return upload(out, answered, "answers_upload.json", _result, public)


def _result(question: Question, answer: str) -> dict[str, Any]:
    return {"question_id": question.row["question_id"], "answer": answer}


@dataclass(frozen=True)
class Held:
    """A question with its picture; people's answers stand in its row where they are public."""

    row: Row
    media: Image


def official(folder: Path, file: Path, annotations: str) -> list[Held]:
    """The questions of an official file, with its annotations where they are there, and COCO's pictures."""
    split = next(iter(re.findall(r"(?:train|val|test|test-dev)20\d\d", file.name)), "val2014")
    told = folder / annotations.format(split)
    listed_ = enumerate(objects(told, "annotations") if told.is_file() else (), 1)
    truths = {have(row, ("question_id",), told, number, ("answers",))["question_id"]: row for number, row in listed_}
    if not truths and "test" not in split:
        raise BadData(f"{folder}: no {told.name} beside {file.name}: what people answered")
    images, found = split.replace("-dev", ""), []
    for number, row in enumerate(objects(file, "questions"), 1):
        have(row, ("question_id", "question"), file, number)
        name, image = row["question_id"], int(amount(row, "image_id", f"{file}, row {number}"))
        if truths and name not in truths:
            raise BadData(f"{told}: no answers to question {name} of {file.name}")
        names = [f"{images}/COCO_{images}_{image:012}.jpg", f"{images}/{image:012}.jpg"]
        found.append(Held(truths.get(name, {}) | row, somewhere(folder, names, f"question {name}")))
    return found


def hub(folder: Path, *splits: str) -> list[Held]:
    """The questions of a hub's files; those about one picture share it."""
    first_: dict[object, Image] = {}
    found = []
    for number, row in enumerate(hubs(folder, *splits), 1):
        have(row, ("question_id", "question", "image"), folder, number)
        image = shown(row["image"], folder, f"question {row['question_id']}")
        found.append(Held(row, first_.setdefault(row.get("image_id", row["question_id"]), image)))
    return found


def asked(one: Held, kinds: Sequence[str], ending: str = SHORT) -> Question:
    """A question for a word or a phrase; its truth is what most people said."""
    row = one.row
    answers = listed(row["answers"]) if row.get("answers") else []
    kept = {key: row[key] for key in ("question_id", "image_id", "question", *kinds) if row.get(key) is not None}
    return Question(
        *(text(row["question_id"]), text(row["question"]), (one.media,)), after=ending, truth=frequent(answers),
        parts=tuple(slug(row[kind]) for kind in kinds if row.get(kind)), image=text(row.get("image_id", "")),
        row=kept | ({"answers": answers} if answers else {}),
    )  # fmt: skip
