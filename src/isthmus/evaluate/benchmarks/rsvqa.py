"""RSVQA: questions about aerial and satellite pictures, by type of question."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from isthmus.errors import BadData
from isthmus.evaluate.answers import IDS, IMAGES, by, first, pairs, records, slug, text
from isthmus.evaluate.benchmarks._asked import have, somewhere
from isthmus.evaluate.benchmarks._parts import Value, add
from isthmus.evaluate.benchmarks.dynamic_superb import plain
from isthmus.evaluate.files import Row
from isthmus.evaluate.questions import SHORT, Question
from isthmus.evaluate.scored import Scored, macro_mean

ABOUT = "questions about aerial and satellite pictures: presence, comparison, count, area, rural or urban"
SOURCE = "Lobry et al., 2020, arXiv:2003.07333; exact match of the answer, counts and areas in the paper's classes"
PREDICTIONS = {
    "rows with the truth inside, as GeoChat's": (
        '{"question_id": 1, "type": "presence", "answer": "Yes", "ground_truth": "yes"}'
    ),
    "by the question's id": '{"question_id": 1, "answer": "yes"}',
}
REFERENCES = {
    "the folder of LR_split_test_questions.json and LR_split_test_answers.json (or HR), or one file of rows": (
        '{"questions": [{"id": 1, "img_id": 2, "type": "presence", "question": "...", "answers_ids": [7]}]}'
    ),
}
INSIDE = True  # rows of predictions may hold the truth
DATA = {
    "*_split_test_questions.json": "LR_split_test_questions.json, or those of the high-resolution set",
    "*_split_test_answers.json": "LR_split_test_answers.json beside it",
    "Images_LR": "the folder of pictures, 0.tif and so on (of the other set Images or Data)",
}
GET = "rsvqa.sylvainlobry.com, each set's archive at zenodo.org (6344334 for low resolution, 6344367 for high)"
HEADLINE = "accuracy"
FOLDERS = ("Images_LR", "Images_HR", "Images", "Data", "images", ".")
TYPES = ("type", "question_type", "category")
ORDER = ("presence", "comp", "count", "area", "rural_urban")


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """accuracy over all questions (OA), average_accuracy over the types (AA), and each type's.

    Areas are compared in the paper's classes, and counts of the low-resolution set, which has no areas, in theirs; the
    lenient mode also takes the first word of an answer for yes and no.
    """
    found = Scored()
    truths = None if references is None else _questions(references)
    values = []
    every = pairs(predictions, truths, found, joins=(by(IDS), by(IMAGES, ["question"])))
    low = not any(slug(first(one.truth | one.own, TYPES) or "") == "area" for one in every)
    for one in every:
        truth, kind = plain(one.told()[0]), slug(first(one.truth | one.own, TYPES) or "other")
        said = plain(one.said)
        if mode != "official" and truth in ("yes", "no") and said:
            said = said.replace(",", " ").split()[0]
        image = text(first(one.truth | one.own, IMAGES) or one.id)
        right = classed(said, low) == classed(truth, low) or classed(said) == truth
        values.append(Value(float(right), image, (kind,), one.id))
    add(found, "accuracy", values, ORDER)
    if len({one.parts[0] for one in values}) > 1:
        own, kinds, images = zip(*((one.value, one.parts[0], one.cluster) for one in values), strict=True)
        rest = found.metrics
        average = macro_mean(own, kinds, images)
        found.metrics = {"accuracy": rest.pop("accuracy"), "average_accuracy": average} | rest
    return found


def questions(folder: Path) -> Sequence[Question]:
    """The test questions, with the ending that GeoChat and LLaVA-1.5 ask for short answers with."""
    found = []
    for number, row in enumerate(_questions(folder), 1):
        have(row, ("id", "img_id", "type", "question"), folder, number)
        name, image, truth = text(row["id"]), text(row["img_id"]), text(row["answer"])
        tried = [f"{place}/{image}.{ending}" for place in FOLDERS for ending in ("tif", "png", "jpg")]
        kept = {"question_id": name, "image_id": image, "type": row["type"], "question": row["question"]}
        found.append(
            Question(
                *(name, text(row["question"]), (somewhere(folder, tried, f"question {name}"),)), after=SHORT,
                truth=truth, parts=(slug(row["type"]),), image=image, row=kept | {"ground_truth": truth},
            )
        )  # fmt: skip
    return found


def classed(answer: str, counts: bool = True) -> str:
    """An area, or a count, as the class that holds it, after the authors' VocabEncoder.py; anything else as it is.

    >>> classed("7"), classed("0"), classed("2500"), classed("523m2"), classed("7", counts=False), classed("yes")
    ('between 0 and 10', '0', 'more than 1000', 'between 100m2 and 1000m2', '7', 'yes')
    """
    match = re.fullmatch(r"([0-9]+)(m2)?", answer)
    if not match or not (counts or match[2]):
        return answer
    unit, number = match[2] or "", int(match[1])
    ends = (0, 10, 100, 1000)
    if number == 0:
        return f"0{unit}"
    if number > ends[-1]:
        return f"more than {ends[-1]}{unit}"
    top = next(end for end in ends if number <= end)
    return f"between {ends[ends.index(top) - 1]}{unit} and {top}{unit}"


def _questions(references: Path) -> list[Row]:
    """The questions with their answers: of a folder, those of its two files that belong together."""
    if not references.is_dir():
        rows = records(references)
        if not any(key in row for row in rows for key in ("answer", "ground_truth", "answers", "label")):
            raise BadData(f"{references}: its questions have no answers; give the folder that has the answers as well")
        return rows
    asked, told = (sorted(references.glob(f"*{what}*.json")) for what in ("question", "answer"))
    if not asked or not told:
        raise BadData(f"{references}: no files *_questions.json and *_answers.json in this folder")
    answers = {text(row.get("question_id")): row for row in records(_test(told)) if "answer" in row}
    rows = [row for row in records(_test(asked)) if row.get("active", True) and text(row.get("id")) in answers]
    if not rows:
        raise BadData(f"{references}: no answer in it has the id of one of its questions as question_id")
    return [row | {"answer": answers[text(row["id"])]["answer"]} for row in rows]


def _test(files: list[Path]) -> Path:
    """The test split's file, or the first where none is named so."""
    return next((one for one in files if "test" in one.stem), files[0])
