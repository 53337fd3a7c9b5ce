"""VQAv2: open questions about COCO's photographs, each with the answers of ten people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from isthmus.errors import BadData
from isthmus.evaluate.answers import IMAGES, TRUTHS, Pair, column, first, pairs, records, slug, text
from isthmus.evaluate.benchmarks._parts import Value, add
from isthmus.evaluate.files import Row
from isthmus.evaluate.metrics import vqa
from isthmus.evaluate.scored import Scored

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
ORDER = ("yes_no", "number", "other")


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Accuracy over all questions, by type of answer and by type of question."""
    found = Scored()
    rule = vqa.vqa if mode == "official" else vqa.textvqa
    some = pairs(predictions, None if references is None else with_people(references), found)
    if "id in common" in " ".join(found.notes):
        raise BadData(f"{predictions}: no question_id of it is in {references}: are these files of the same split?")
    add(found, "accuracy", accuracies(some, rule, ("answer_type", "question_type")), ORDER)
    return found


def with_people(references: Path) -> list[Row]:
    """The rows with people's answers, of a file or of the one of a folder that is named annotations."""
    truths = records(references, "*annotation*" if references.is_dir() else "*")
    column(truths, ("answers", *TRUTHS), references, "the answers that people gave")
    return truths


def accuracies(some: Sequence[Pair], rule: Callable[[str, Sequence[str]], float], kinds: Sequence[str]) -> list[Value]:
    """Each question's accuracy, with the parts that the truths' keys `kinds` name."""
    found = []
    for one in some:
        people = one.told()
        parts = tuple(slug(one.truth[kind]) for kind in kinds if kind in one.truth)
        found.append(Value(rule(one.said, people), text(first(one.truth, IMAGES) or one.id), parts))
    return found
