"""ChartQA: questions about charts, where a number may be five per cent off."""

from __future__ import annotations

from pathlib import Path

from isthmus.evaluate.answers import IDS, IMAGES, TRUTHS, by, column, first, pairs, records, text
from isthmus.evaluate.benchmarks._parts import Value, add
from isthmus.evaluate.benchmarks.docvqa import bare
from isthmus.evaluate.files import Row
from isthmus.evaluate.scored import Scored

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
        values.append(Value(float(right), text(first(one.truth, IMAGES) or one.id), (split,) if split else ()))
    add(found, "relaxed_accuracy", values, SPLITS)
    return found


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
