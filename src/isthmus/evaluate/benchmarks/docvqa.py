"""DocVQA: questions about scanned documents, scored by how alike the answer is to the nearest truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from isthmus.evaluate.answers import IMAGES, TRUTHS, column, first, listed, pairs, records, slug, text
from isthmus.evaluate.benchmarks._asked import Answered, Cell, have, hubs, objects, shown, somewhere, upload
from isthmus.evaluate.benchmarks._parts import Value, add
from isthmus.evaluate.files import Row
from isthmus.evaluate.metrics.anls import anls
from isthmus.evaluate.questions import SHORT, Question, one
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
DATA = {
    "*_v1.0*.json": "val_v1.0_withQT.json or val_v1.0.json, or, for the server, test_v1.0.json",
    "spdocvqa_images": "the folder of pages, or documents",
    "DocVQA/*.parquet": "or, in place of both, rows with questionId, question, answers and image",
}
GET = "rrc.cvc.uab.es, challenge 17, task 1 (on registration)"
HUB = "lmms-lab/DocVQA"
HEADLINE = "anls"
FOLDERS = ("spdocvqa_images", "documents", "images", "")
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
    for pair in pairs(predictions, truths, found):
        said = pair.said if mode == "official" else bare(pair.said)
        parts = tuple(slug(kind) for name in KINDS if name in pair.truth for kind in listed(pair.truth[name]))
        cluster = text(first(pair.truth, DOCUMENTS) or pair.id)
        values.append(Value(anls(said, pair.told()), cluster, parts, pair.id))
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


def questions(folder: Path) -> Sequence[Question]:
    """The questions of the validation set, or else of the one for the server, as LLaVA-1.5 asks for a short answer."""
    if sorted(folder.glob("*_v1.0*.json")):
        file = one(folder, "val_v1.0*.json", "test_v1.0*.json", "*_v1.0*.json")
        return of_rows(objects(file, "data"), folder, file, FOLDERS)
    return of_rows(hubs(folder, "validation", "test", under="DocVQA"), folder, folder, ())


def of_rows(held: Sequence[Row], folder: Path, file: Path, folders: Sequence[str]) -> list[Question]:
    """Questions of rows: of an official file, whose pictures lie in one of the folders, or of a hub's."""
    found = []
    for number, row in enumerate(held, 1):
        have(row, ("questionId", "question"), file, number)
        name = text(row["questionId"])
        if isinstance(row.get("image"), Cell):
            media = shown(row["image"], folder, f"question {name}")
        else:
            told = text(first(row, ("image_local_name", "image")) or "")
            names = [f"{own}/{Path(told).name}" if own else told for own in folders]
            media = somewhere(folder, names, f"question {name}")
        keys = ("questionId", "question", "docId", "ucsf_document_id", "image_local_name", *KINDS)
        kept = {key: row[key] for key in keys if row.get(key) is not None}
        answers = listed(row["answers"]) if row.get("answers") else []
        found.append(
            Question(
                *(name, text(row["question"]), (media,)), after=SHORT, truth=answers[0] if answers else "", longest=32,
                parts=tuple(slug(kind) for key in KINDS if key in kept for kind in listed(kept[key])),
                image=text(first({key.lower(): cell for key, cell in kept.items()}, DOCUMENTS) or name),
                row=kept | ({"answers": answers} if answers else {}),
            )
        )  # fmt: skip
    return found


def write(folder: Path, out: Path, answered: Answered) -> Path | None:
    """The rows, and `answers_upload.json`, the official results; None where the truths are not public."""
    public = all("answers" in own.row for own, _ in answered)
    return upload(out, answered, "answers_upload.json", _result, public)


def _result(question: Question, answer: str) -> Row:
    return {"questionId": question.row["questionId"], "answer": answer}
