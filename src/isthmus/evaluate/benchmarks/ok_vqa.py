"""OK-VQA: questions about photographs that need knowledge from outside of them."""

from __future__ import annotations

from pathlib import Path

from isthmus.evaluate.answers import pairs, slug, text
from isthmus.evaluate.benchmarks._parts import add
from isthmus.evaluate.benchmarks.vqav2 import accuracies, with_people
from isthmus.evaluate.metrics import vqa
from isthmus.evaluate.scored import Scored

ABOUT = "questions about photographs that need knowledge from outside of them, in eleven categories"
SOURCE = "Marino et al., 2019, arXiv:1906.00067; okvqa.allenai.org, scored by github.com/GT-Vision-Lab/VQA"
PREDICTIONS = {
    "the official results, a JSON list": '{"question_id": 2971475, "answer": "race"}',
    "JSON lines as LLaVA writes them": '{"question_id": 2971475, "text": "race"}',
}
REFERENCES = {
    "mscoco_val2014_annotations.json of OK-VQA, or its folder": (
        '{"annotations": [{"question_id": 2971475, "image_id": 297147, "question_type": "four", "answer_type": "other",'
        ' "answers": [{"answer_id": 1, "raw_answer": "racing", "answer": "race"}]}]}'
    ),
}
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
    assert references is not None
    truths = with_people(references)
    for row in truths:
        kind = text(row.get("question_type", "other"))
        row["question_type"] = CATEGORIES.get(kind, kind)
    rule = vqa.vqa if mode == "official" else vqa.textvqa
    order = [slug(name) for name in CATEGORIES.values()]
    add(found, "accuracy", accuracies(pairs(predictions, truths, found), rule, ("question_type",)), order)
    return found
