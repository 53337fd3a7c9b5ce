"""ChartQA: questions about charts, where a number may be five per cent off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from isthmus.evaluate.answers import IDS, IMAGES, TRUTHS, by, column, first, pairs, records, text
from isthmus.evaluate.benchmarks._asked import have, hubs, objects, shown, somewhere
from isthmus.evaluate.benchmarks._parts import Value, add
from isthmus.evaluate.benchmarks.docvqa import bare
from isthmus.evaluate.files import Row
from isthmus.evaluate.questions import SHORT, Question
from isthmus.evaluate.scored import Scored
from isthmus.types import Image

ABOUT = "questions about charts, written by people (human) or by machine (augmented); numbers may be 5 % off"
SOURCE = (
    "Masry et al., 2022, arXiv:2203.10244; relaxed accuracy as in github.com/google-research/pix2struct and VLMEvalKit:"
    " a per cent sign divides by 100, a target of 0 and what is no number must be equal in lower case"
)
PREDICTIONS = {
    "JSON with the truth inside, as Qwen-VL's": '{"answer": "14", "annotation": "14"}',
    "a sheet with the truth inside": "index, question, answer, prediction, split",
    "matched by picture and question, by an id, or by order": (
        '{"imgname": "41699051005347.png", "query": "How many food items are shown?", "prediction": "14"}'
    ),
}
REFERENCES = {
    "test_human.json, test_augmented.json, or their folder": (
        '{"imgname": "41699051005347.png", "query": "How many food items are shown?", "label": "14"}'
    ),
}
INSIDE = True  # rows of predictions may hold the truth
DATA = {
    "test_*.json": "test_human.json and test_augmented.json; or both in test/ or `ChartQA Dataset/test/`",
    "png": "the folder of charts beside them",
    "test": "as the authors' archive has both",
    "ChartQA Dataset": "likewise",
    "data/*.parquet": "or, in place of both, rows with type, question, answer and image",
}
GET = "github.com/vis-nlp/ChartQA (ChartQA Dataset.zip)"
HUB = "lmms-lab/ChartQA"
HEADLINE = "relaxed_accuracy"
PLACES = ("", "test", "ChartQA Dataset/test")
SPLITS = ("human", "augmented")
LABELS = ("label", *TRUTHS)


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Relaxed accuracy over all questions, and of the human and the augmented ones.

    The lenient mode also reads past what models put around an answer, thousands' commas and a sign of currency.
    """
    found = Scored()
    truths = None if references is None else records(references, "test_*.json" if _official(references) else "*")
    if references is not None and truths is not None:
        column(truths, LABELS, references, "the true answer")
    joins = (by(IDS), by(IMAGES, ["query", "question"]))
    values = []
    for one in pairs(predictions, truths, found, joins=joins):
        said = one.said.strip() if mode == "official" else _plain(bare(one.said))
        right = any(relaxed(truth if mode == "official" else _plain(truth), said) for truth in one.told(["label"]))
        split = _split(one.truth) or _split(one.own)
        cluster = text(first(one.truth, IMAGES) or one.id)
        values.append(Value(float(right), cluster, (split,) if split else (), one.id))
    add(found, "relaxed_accuracy", values, SPLITS)
    return found


def questions(folder: Path) -> Sequence[Question]:
    """The questions of both halves of the test set, as LLaVA-1.5 asks for a short answer."""
    found = []
    for row, media in _held(folder):
        name, split, truth = text(row["question_id"]), row["split"], text(row["label"])
        told = (name, text(row["query"]), (media,))
        image = text(row.get("imgname", name))
        found.append(Question(*told, after=SHORT, truth=truth, parts=(split,), image=image, row=row, longest=32))
    return found


def _held(folder: Path) -> Iterator[tuple[Row, Image]]:
    """A row for each question, with its chart."""
    place = next((folder / own for own in PLACES if any((folder / own).glob("test_*.json"))), None)
    for split in SPLITS if place else ():
        file = place / f"test_{split}.json" if place else folder
        for number, row in enumerate(objects(file, "data") if file.is_file() else (), 1):
            have(row, ("imgname", "query", "label"), file, number)
            kept = {key: row[key] for key in ("imgname", "query", "label")}
            names = [f"{own}/{row['imgname']}" for own in (f"{file.parent.name}/png", "png")]
            media = somewhere(file.parent.parent, names, f"{file.name}, row {number}")
            yield {"question_id": f"{split}/{number}", **kept, "split": split}, media
    for number, row in enumerate(() if place else hubs(folder, "test"), 1):
        have(row, ("question", "answer", "image"), folder, number)
        kept = {"question_id": number, "query": row["question"], "label": text(row["answer"]), "split": _split(row)}
        yield kept, shown(row["image"], folder, f"question {number}")


def relaxed(truth: str, answer: str, tolerance: float = 0.05) -> bool:
    """Whether an answer is right: a number within the tolerance of a truth other than 0, else the same text.

    >>> relaxed("14", "14.6"), relaxed("14", "15"), relaxed("50%", "0.5"), relaxed("0", "0.0"), relaxed("Yes", "yes")
    (True, False, True, False, True)
    """
    number, target = _number(answer), _number(truth)
    if number is not None and target:
        return abs(number - target) / abs(target) <= tolerance
    return answer.lower() == truth.lower()


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def _plain(answer: str) -> str:
    """Without what stands around a number."""
    found = answer.strip().lstrip("$€£").replace(",", "")
    return found if _number(found) is not None else answer.strip()


def _split(row: Row) -> str:
    """human or augmented, as a row's own key or its file's name says."""
    told = [str(row[key]).lower() for key in ("split", "type", "human_or_machine", "_file") if key in row]
    return next((split for split in SPLITS if any(split in one for one in told)), "")


def _official(references: Path) -> bool:
    return references.is_dir() and any(references.glob("test_*.json"))
