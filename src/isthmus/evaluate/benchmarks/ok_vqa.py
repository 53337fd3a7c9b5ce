"""OK-VQA: questions about photographs that need knowledge from outside of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from isthmus.evaluate.answers import pairs, slug, text
from isthmus.evaluate.benchmarks._parts import add
from isthmus.evaluate.benchmarks.vqav2 import accuracies, asked, hub, official, with_people
from isthmus.evaluate.metrics import vqa
from isthmus.evaluate.questions import Question
from isthmus.evaluate.scored import Scored

ABOUT = "questions about photographs that need knowledge from outside of them, in eleven categories"
SOURCE = "Marino et al., 2019, arXiv:1906.00067; okvqa.allenai.org, scored by github.com/GT-Vision-Lab/VQA"
PREDICTIONS = {
    "the official results, a JSON list": '{"question_id": 2971475, "answer": "race"}',
    "JSON lines as LLaVA writes them": '{"question_id": 2971475, "text": "race"}',
    "with people's answers inside": '{"question_id": 2971475, "prediction": "race", "answers": ["race", "..."]}',
}
REFERENCES = {
    "mscoco_val2014_annotations.json of OK-VQA, or its folder": (
        '{"annotations": [{"question_id": 2971475, "image_id": 297147, "question_type": "four", "answer_type": "other",'
        ' "answers": [{"answer_id": 1, "raw_answer": "racing", "answer": "race"}]}]}'
    ),
}
INSIDE = True  # rows of predictions may hold what people answered
DATA = {
    "OpenEnded_mscoco_val2014_questions.json": "the questions",
    "mscoco_val2014_annotations.json": "people's answers",
    "val2014": "the folder of COCO's pictures",
    "data/*.parquet": "or, in place of all, rows with question, answers and image",
}
GET = "okvqa.allenai.org/download.html, and val2014.zip of cocodataset.org"
HUB = "lmms-lab/OK-VQA"
HEADLINE = "accuracy"
CATEGORIES = {
    "one": "vehicles and transportation",
    "two": "brands, companies and products",
    "three": "objects, material and clothing",
    "four": "sports and recreation",
    "five": "cooking and food",
    "six": "geography, history, language and culture",
    "seven": "people and everyday life",
    "eight": "plants and animals",
    "nine": "science and technology",
    "ten": "weather and climate",
    "other": "other",
}


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Accuracy over all questions and by category."""
    found = Scored()
    some = pairs(predictions, None if references is None else with_people(references), found)
    for one in some:
        kind = text(one.truth.get("question_type", "other"))
        one.truth["question_type"] = CATEGORIES.get(kind, kind)
    rule = vqa.vqa if mode == "official" else vqa.textvqa
    order = [slug(name) for name in CATEGORIES.values()]
    add(found, "accuracy", accuracies(some, rule, ("question_type",), found), order)
    return found


def questions(folder: Path) -> Sequence[Question]:
    """The questions of the test set, which are about COCO's val2014, as LLaVA-1.5 asks for a word or a phrase."""
    file = folder / "OpenEnded_mscoco_val2014_questions.json"
    held = official(folder, file, "mscoco_{}_annotations.json") if file.is_file() else hub(folder, "val2014")
    for one in held:
        kind = text(one.row.get("question_type", "other"))
        one.row["question_type"] = CATEGORIES.get(kind, kind)
    return [asked(one, ("question_type",)) for one in held]
