"""DocVQA: questions about scanned documents, scored by how alike the answer is to the nearest truth."""

from __future__ import annotations

from pathlib import Path

from isthmus.evaluate.answers import IMAGES, TRUTHS, column, first, listed, pairs, records, slug, text
from isthmus.evaluate.benchmarks._parts import Value, add
from isthmus.evaluate.metrics.anls import anls
from isthmus.evaluate.scored import Scored

ABOUT = "questions about scanned documents; ANLS of the answer and the nearest truth"
SOURCE = "Mathew et al., 2021, arXiv:2007.00398; rrc.cvc.uab.es, challenge 17"
PREDICTIONS = {
    "the official results, a JSON list": '{"questionId": 49153, "answer": "0.28"}',
    "JSON lines as LLaVA writes them": '{"question_id": 49153, "text": "0.28"}',
    "a sheet with the truth inside": "index, question, answer, prediction",
}
REFERENCES = {
    "val_v1.0_withQT.json": (
        '{"data": [{"questionId": 49153, "question": "What is the \'actual\' value per 1000?", "question_types":'
        ' ["figure/diagram"], "docId": 14465, "answers": ["0.28"]}]}'
    ),
}
INSIDE = True  # rows of predictions may hold the truth
KINDS = ("question_types", "answer_type", "evidence", "operation/reasoning")
DOCUMENTS = ("docid", "ucsf_document_id", *IMAGES, "image_local_name")


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """ANLS over all questions and by each type that the references name; a question can have several types.

    The lenient mode also reads past what models put around an answer: "The answer is", quotes, a full stop.
    """
    found = Scored()
    truths = None if references is None else records(references)
    if references is not None and truths is not None:
        column(truths, ("answers", *TRUTHS), references, "the true answers")
    values = []
    for one in pairs(predictions, truths, found):
        said = one.said if mode == "official" else bare(one.said)
        parts = tuple(slug(kind) for name in KINDS if name in one.truth for kind in listed(one.truth[name]))
        cluster = text(first(one.truth, DOCUMENTS) or one.id)
        values.append(Value(anls(said, one.told()), cluster, parts))
    add(found, "anls", values)
    return found


def bare(answer: str) -> str:
    """An answer without what is put around it.

    >>> bare('The answer is "0.28".'), bare("Answer: ITC Limited")
    ('0.28', 'ITC Limited')
    """
    found = answer.strip()
    for opening in ("the answer is", "answer:"):
        if found.lower().startswith(opening):
            found = found[len(opening) :].strip()
    return found.removesuffix(".").strip().strip("\"'")
