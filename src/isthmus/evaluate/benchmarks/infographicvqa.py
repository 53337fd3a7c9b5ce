"""InfographicVQA: questions about infographics, scored as DocVQA's."""

from __future__ import annotations

from isthmus.evaluate.benchmarks.docvqa import score

__all__ = ["score"]

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
