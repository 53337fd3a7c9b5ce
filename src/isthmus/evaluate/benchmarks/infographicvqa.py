"""InfographicVQA: questions about infographics, scored as DocVQA's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from isthmus.evaluate.benchmarks._asked import hubs, objects
from isthmus.evaluate.benchmarks.docvqa import of_rows, score, write
from isthmus.evaluate.questions import Question, one

__all__ = ["questions", "score", "write"]

ABOUT = "questions about infographics; ANLS of the answer and the nearest truth"
SOURCE = "Mathew et al., 2022, arXiv:2104.12756; rrc.cvc.uab.es, challenge 17"
PREDICTIONS = {
    "the official results, a JSON list": '{"questionId": 98313, "answer": "86%"}',
    "JSON lines as LLaVA writes them": '{"question_id": 98313, "text": "86%"}',
    "a sheet with the truth inside": "index, question, answer, prediction",
}
REFERENCES = {
    "infographicVQA_val_v1.0_withQT.json": (
        '{"data": [{"questionId": 98313, "question": "What share is male?", "answers": ["86%"], "answer_type": ["image'
        ' span"], "evidence": ["Figure"], "operation/reasoning": []}]}'
    ),
}
INSIDE = True  # rows of predictions may hold the truth
DATA = {
    "infographicVQA_*_v1.0*.json": "infographicVQA_val_v1.0_withQT.json, or, for the server, that of test",
    "infographicsvqa_images": "the folder of pictures",
    "InfographicVQA/*.parquet": "or, in place of both, rows with questionId, question, answers and image",
}
GET = "rrc.cvc.uab.es, challenge 17, task 3 (on registration)"
HUB = "lmms-lab/DocVQA"
HEADLINE = "anls"
FOLDERS = ("infographicsvqa_images", "infographicVQA_images", "images", "")


def questions(folder: Path) -> Sequence[Question]:
    """The questions of the validation set, or else of the one for the server, as LLaVA-1.5 asks for a short answer."""
    if sorted(folder.glob("infographicVQA_*_v1.0*.json")):
        file = one(folder, "infographicVQA_val*.json", "infographicVQA_test*.json", "infographicVQA_*.json")
        return of_rows(objects(file, "data"), folder, file, FOLDERS)
    return of_rows(hubs(folder, "validation", "test", under="InfographicVQA"), folder, folder, ())
