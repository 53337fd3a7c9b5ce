"""AMBER: what a description invents, and yes/no questions about what is there, how it is, and what touches what.

The positive class of the questions is "no": precision and recall are of finding what is not so. The authors' code adds
0.001 to every denominator and computes F1 from rounded percentages with a small number below; so does official mode.
Figures are fractions here, and percentages of one digit there: 0.7158 is their 71.6.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from isthmus.errors import BadData
from isthmus.evaluate import keys
from isthmus.evaluate.benchmarks._amber_nouns import Nouns, tables
from isthmus.evaluate.benchmarks._asked import Answered, have, somewhere
from isthmus.evaluate.benchmarks._asked_media import told
from isthmus.evaluate.benchmarks._rows import table
from isthmus.evaluate.files import Row, document, folder, matched, pick, rows
from isthmus.evaluate.questions import SHORT, Question, one
from isthmus.evaluate.scored import Figure, Floats, Scored, of_sums, over
from isthmus.types import Image

ABOUT = "hallucination: what descriptions invent, and yes/no questions about existence, attributes and relations"
SOURCE = "Wang et al., 2023, arXiv:2311.07397; github.com/junyangwang0410/AMBER"
PREDICTIONS = {
    "as the authors want them": '[{"id": 1, "response": "A lake before mountains."}, {"id": 1005, "response": "Yes"}]',
    "questions with the truth inside": (
        '{"index": 1005, "category": "discriminative-hallucination", "answer": "No", "prediction": "No"}'
    ),
}
REFERENCES = {
    "the folder data/ of the authors (annotations.json, relation.json, safe_words.txt)": "data/",
    "annotations.json, for the questions": '[{"id": 1005, "type": "discriminative-attribute-state", "truth": "yes"}]',
}
INSIDE = True  # rows of predictions may hold the truth of the questions
DATA = {
    "data/query/query_all.json": "descriptions and questions, or query_generative.json and query_discriminative.json",
    "data/annotations.json": "with relation.json and safe_words.txt beside it",
    "image": "the folder of pictures, AMBER_1.jpg and so on",
}
GET = "github.com/junyangwang0410/AMBER, and its pictures in the folder image"
HEADLINE = "accuracy"
LONGEST = 512  # tokens of a description
IDS = ("id", "question_id", "index")
SAID = keys.said("response", "prediction", "pred", "text", "output", "answer")
TRUTHS = keys.truths("truth", "label", "gt", "gt_ans", "ground_truth", "answer")
TYPES = ("type", "category", "cate")
GENERATIVE = "generative"
PARTS = {  # of the questions, with the small number below F1 in the authors' code
    "existence": (("existence",), 0.001),
    "attribute": (("state", "number", "action"), 0.0001),
    "state": (("state",), 0.0001),
    "number": (("number",), 0.0001),
    "action": (("action",), 0.0001),
    "relation": (("relation",), 0.0001),
}
BELOW = 0.001  # added to each denominator in the authors' metrics.txt, of attributes three times, once for each kind


class Read(NamedTuple):
    """A question: its kind, whether the truth is no, what was said (No, Yes, or nothing of these), its picture."""

    kind: str
    no: bool
    said: str
    image: str


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """The figures of the descriptions, of the questions by kind, and AMBER's score where there are both."""
    found = Scored()
    answers = _answers(predictions)
    truths = _inside(answers, predictions) if references is None else _annotations(references)
    key = next((key for key in SAID if any(key in row for _, row in answers.values())), None)
    texts = {
        name: pick(row, SAID, predictions, number) if key is None else row.get(key, "")
        for name, (number, row) in answers.items()
    }
    images = _images(answers, references)
    asked = {_part(truth["type"]) for name, truth in truths.items() if name in texts}
    wanted = {name: one for name, one in truths.items() if _part(one["type"]) in asked or not asked}
    names = matched(texts, wanted, found.unscored)
    if unknown := len(texts.keys() - truths.keys()):
        found.notes.append(f"{unknown:,} predictions have ids that the references do not have; they are left out")
    asked_names = [name for name in names if truths[name]["type"] != GENERATIVE]
    found_ones = [_read(texts[name], truths[name], mode, images.get(name, name)) for name in asked_names]
    read = [one for one in found_ones if one is not None]
    for name, asked_one in zip(asked_names, found_ones, strict=True):
        if asked_one is not None:
            found.marks[name] = float(asked_one.said == ("No" if asked_one.no else "Yes"))
    unread = [name for name, one in zip(asked_names, found_ones, strict=True) if one is None]
    found.unscored |= dict.fromkeys(unread, "neither yes nor no is said")
    if odd := sum(not one.said for one in read):
        found.notes.append(
            f"{odd:,} answers that are neither exactly Yes nor exactly No count as wrong, as in the official code"
        )
    described = {name: texts[name] for name in names if truths[name]["type"] == GENERATIVE}
    if described:
        found.add(_described(described, truths, references, mode, found))
    if read:
        found.add(_figures(read, 0.0001, mode))
    for part, (kinds, small) in PARTS.items():
        if own := [one for one in read if one.kind in kinds]:
            found.add(_figures(own, small, mode, BELOW * len(kinds)), part)
    if {"chair", "f1"} <= found.metrics.keys():
        chair, f1 = found.metrics["chair"], found.metrics["f1"]
        low, high = (1 - chair.high + f1.low) / 2, (1 - chair.low + f1.high) / 2
        found.add({"amber_score": Figure((1 - chair.value + f1.value) / 2, low, high, chair.n + f1.n)})
        found.notes.append("amber_score's interval is that of the worst of both figures to the best of both: too wide")
    return found


def questions(folder: Path) -> Sequence[Question]:
    """Descriptions and questions as the authors ask them; the latter with LLaVA-1.5's ending, as Yes or No is read."""
    place = truths(folder)
    queries = place / "query"
    files = [queries / "query_all.json"]
    if not files[0].is_file():
        files = sorted(queries.glob("query_generative.json")) + sorted(queries.glob("query_discriminative.json"))
        files = files or [one(queries, "query_all.json", "query_*.json")]
    known = _annotations(place)
    found = []
    for file in files:
        for number, row in enumerate(rows(file), 1):
            name = _name(have(row, ("id", "image", "query"), file, number)["id"])
            if name not in known:
                raise BadData(f"{file}, row {number}: {place / 'annotations.json'} has no id {name}")
            image = str(row["image"])
            media = somewhere(
                folder, [f"{own}/{image}" for own in ("image", "images", "data/image")], f"question {name}"
            )
            found.append(_question(name, str(row["query"]), image, media, known[name]))
    return found


def _question(name: str, query: str, image: str, media: Image, truth: Row) -> Question:
    kept = {"id": int(name) if name.isdecimal() else name, "image": image}
    if truth["type"] == GENERATIVE:
        return Question(name, query, (media,), parts=(GENERATIVE,), image=image, row=kept, longest=LONGEST)
    kind, true = _kind(str(truth["type"])), str(truth["truth"]).capitalize()
    parts = tuple(dict.fromkeys((_part(str(truth["type"])), kind)))
    return Question(name, query, (media,), ("Yes", "No"), False, SHORT, true, parts, image, kept)


def write(folder: Path, out: Path, answered: Answered) -> Path:
    """Responses, one a line."""
    return told(out, answered, "response")


def truths(folder: Path) -> Path:
    """The authors' folder of annotations. Raises `BadData` where these are not there."""
    return one(folder, "data/annotations.json", "annotations.json").parent


def _read(text: Any, truth: Row, mode: str, image: str) -> Read | None:
    """A question with its answer; None where lenient mode cannot read it."""
    said = str(text) if mode == "official" else _lenient(text)
    if said is None:
        return None
    return Read(_kind(truth["type"]), truth["truth"] != "yes", said if said in ("Yes", "No") else "", image)


def _lenient(text: Any) -> str | None:
    """The first word that is yes or no.

    >>> _lenient("no, there is none"), _lenient("**Yes**"), _lenient("Maybe")
    ('No', 'Yes', None)
    """
    word = re.search(r"\b(yes|no)\b", str(text).lower())
    return word[1].capitalize() if word else None


def _figures(read: Sequence[Read], small: float, mode: str, below: float = BELOW) -> dict[str, Figure]:
    """Accuracy, precision, recall and F1, with "no" as the positive class."""
    right = [one.said == ("No" if one.no else "Yes") for one in read]
    said = [one.said == "No" for one in read]
    true = [one.no for one in read]
    sums_KS = np.array(
        [[hit, 1, no and truth, no, truth] for hit, no, truth in zip(right, said, true, strict=True)], float
    )
    images = [one.image for one in read]
    if mode != "official":
        small = below = 0.0

    def share(above: int, of: int) -> Callable[[Floats], Floats]:
        return lambda sums: over(sums[..., above], sums[..., of] + below)

    def f1(sums: Floats) -> Floats:
        precision, recall = share(2, 3)(sums), share(2, 4)(sums)
        if mode == "official":
            precision, recall = np.round(precision * 100, 1) / 100, np.round(recall * 100, 1) / 100
        return over(2 * precision * recall, precision + recall + small)

    return {
        "accuracy": of_sums(share(0, 1), sums_KS, images),
        "precision": of_sums(share(2, 3), sums_KS, images, n=sum(said)),
        "recall": of_sums(share(2, 4), sums_KS, images, n=sum(true)),
        "f1": of_sums(f1, sums_KS, images),
    }


def _described(
    texts: Mapping[str, Any], truths: Mapping[str, Row], references: Path | None, mode: str, found: Scored
) -> dict[str, Figure]:
    """CHAIR, Cover, Hal and Cog of the descriptions."""
    if references is None or not references.is_dir():
        raise BadData(
            "descriptions need --references FOLDER, the folder data/ of the authors with annotations.json,"
            " relation.json and safe_words.txt"
        )
    nouns = Nouns(*tables(references))
    counts = []
    for name, text in texts.items():
        if not isinstance(text, str) or (mode == "lenient" and not text.strip()):
            found.unscored[name] = "no description"
            continue
        counts.append(nouns.counts(text, truths[name]["truth"], truths[name].get("hallu", [])))
        found.marks[name] = float(counts[-1][6])  # nothing is invented
    found.notes += nouns.notes()
    below = BELOW if mode == "official" else 0.0
    sums_KS = np.array(counts, float).reshape(-1, 8)

    def share(above: int, of: int, away: bool = False) -> Figure:
        total = int(sums_KS[:, of].sum())
        return of_sums(lambda sums: abs(away - over(sums[..., above], sums[..., of] + below)), sums_KS, n=total)

    return {"chair": share(0, 1), "cover": share(2, 3), "hal": share(6, 7, away=True), "cog": share(4, 5)}


def _kind(kind: str) -> str:
    """The short name of an annotation's type; what is neither of the others is a relation, as in the authors' code."""
    known = {"discriminative-hallucination": "existence"} | {
        f"discriminative-attribute-{one}": one for one in ("state", "number", "action")
    }
    return known.get(kind, "relation")


def _part(kind: str) -> str:
    """Which of the authors' four files of queries a type is in."""
    short = _kind(kind)
    return GENERATIVE if kind == GENERATIVE else "attribute" if short in ("state", "number", "action") else short


def _answers(path: Path) -> dict[str, tuple[int, Row]]:
    """The row of each id, with its number. Raises `BadData` for an id that stands twice."""
    found: dict[str, tuple[int, Row]] = {}
    for number, row in enumerate(folder(path, lambda file: table(file, "response")), 1):
        name = _name(pick(row, IDS, path, number))
        if name in found:
            raise BadData(f"{path}, row {number}: the id {name} stands twice, first in row {found[name][0]}")
        found[name] = (number, row)
    return found


def _images(answers: Mapping[str, tuple[int, Row]], references: Path | None) -> dict[str, str]:
    """The picture of each id, from the predictions or from the authors' queries, which lie beside the annotations."""
    found = {name: str(row["image"]) for name, (_, row) in answers.items() if "image" in row}
    queries = references / "query" if references is not None else None
    for file in sorted(queries.glob("*.json")) if queries is not None and queries.is_dir() else ():
        found |= {_name(row["id"]): str(row["image"]) for row in rows(file) if {"id", "image"} <= row.keys()}
    return found


def _name(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _annotations(path: Path) -> dict[str, Row]:
    """Type and truth of each id; the id is the place in the file, as in the authors' code."""
    file = path / "annotations.json" if path.is_dir() else path
    if not file.exists():
        raise BadData(f"{path}: no file annotations.json in this folder")
    found = document(file)
    if not isinstance(found, list):
        raise BadData(f"{file}: expected the list of AMBER's annotations, with id, type and truth")
    for number, row in enumerate(found, 1):
        if not isinstance(row, dict) or not {"type", "truth"} <= row.keys():
            raise BadData(f"{file}, row {number}: expected id, type and truth, as in AMBER's annotations.json")
    return {_name(row.get("id", number)): row for number, row in enumerate(found, 1)}


def _inside(answers: Mapping[str, tuple[int, Row]], path: Path) -> dict[str, Row]:
    """Type and truth from rows of predictions that hold them, as sheets of VLMEvalKit do."""
    found = {}
    for name, (number, row) in answers.items():
        kind = str(pick(row, TYPES, path, number))
        truth = pick(row, [key for key in TRUTHS if key != _said(row)], path, number)
        if kind == GENERATIVE or isinstance(truth, list):
            raise BadData(f"{path}, row {number}: descriptions need --references FOLDER, the authors' folder data/")
        found[name] = {"type": kind, "truth": str(truth).strip().lower()}
    return found


def _said(row: Row) -> str:
    return next((key for key in SAID if key in row), "")
