"""Entailment scores of answers, from what a classifier of entailment made of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isthmus.errors import BadData, PartUnavailable
from isthmus.evaluate.benchmarks._pairs import Pair, pairs
from isthmus.evaluate.benchmarks._rows import text
from isthmus.evaluate.benchmarks._tasks import loaded
from isthmus.evaluate.files import Row, held
from isthmus.evaluate.metrics.entailment import (
    CLASSES,
    Classifier,
    Likelihood,
    Probabilities,
    entailment_score,
    weighted_score,
)
from isthmus.evaluate.scored import Scored, mean, proportion

ABOUT = "does the answer follow from its references? Of a classifier's probabilities"
SOURCE = (
    "entailment_score: mean over references of P(entailment); weighted_score: mean_i w_i (P(entailment) + P(neutral))"
)
PREDICTIONS = {
    "rows with the probabilities for each reference": (
        '{"id": "1", "probabilities": [{"entailment": 0.9, "neutral": 0.08, "contradiction": 0.02}], "weights": [1]}'
    ),
    "or as lists, in this order": '{"id": "1", "probabilities": [[0.9, 0.08, 0.02], [0.4, 0.5, 0.1]]}',
    "or as a pipeline of transformers gives them": (
        '{"id": "1", "scores": [{"label": "ENTAILMENT", "score": 0.9}, {"label": "NEUTRAL", "score": 0.08}, '
        '{"label": "CONTRADICTION", "score": 0.02}]}'
    ),
    "texts, of which a model tells them (--part FOLDER)": (
        '{"id": "1", "prediction": "an animal moves", "references": ["a dog runs"]}'
    ),
    "or as logits": '{"id": "1", "logits": [{"entailment": 2.1, "neutral": -0.3, "contradiction": -1.7}]}',
}
REFERENCES = {"texts by id, where rows hold what was said alone (with --part)": '{"1": ["A dog runs."]}'}
INSIDE = True
PART = "a classifier of entailment (NLI) of transformers, or as a stand-in a causal LM"


def score(predictions: Path, references: Path | None, mode: str, part: str | None = None) -> Scored:
    """Both scores, and the share of answers that all their references entail most likely; both modes are the same.

    Of texts a model of the folder `part` tells the probabilities; a causal LM, which is asked whether it follows, has
    those of yes and no only, and its figure another name.
    """
    found = Scored()
    if part is not None:
        return _judged(pairs(predictions, references, found), part, found)
    entailed, weighted, all_of_them, clusters = [], [], [], []
    for number, row in enumerate(loaded(predictions), 1):
        where = f"{predictions}, row {number}"
        name = next((text(row[key]) for key in ("id", "question_id", "index") if text(row.get(key))), str(number - 1))
        some = _probabilities(row, where)
        if not some:
            found.unscored[name] = "no reference"
            continue
        weights = _weights(row.get("weights"), len(some), where)
        entailed.append(entailment_score(some))
        weighted.append(weighted_score(some, weights))
        all_of_them.append(all(one.entailment == max(one) for one in some))
        clusters.append(text(row.get("image") or row.get("image_id")) or name)
    found.metrics["entailment_score"] = mean(entailed, clusters)
    found.metrics["weighted_score"] = mean(weighted, clusters)
    found.metrics["entailed"] = proportion(all_of_them, clusters)
    return found


def _judged(some: Sequence[Pair], part: str, found: Scored) -> Scored:
    """The figures of texts by a model in a folder."""
    if not some:
        raise BadData("no text has a reference")
    try:
        model: Any = Classifier(part)
    except PartUnavailable:
        model = Likelihood(part)  # raises for what is neither
    names = [one.id for one in some]
    if isinstance(model, Likelihood):
        each = [[model.yes(premise, one.said) for premise in one.references] for one in some]
        found.add({"llm_likelihood": mean([sum(own) / len(own) for own in each], names)})
        found.notes.append(
            f"a stand-in: how likely the LLM {part} says that it follows, not a classifier of entailment"
        )
        return found
    told = iter(model.probabilities([(premise, one.said) for one in some for premise in one.references]))
    each_ = [[next(told) for _ in one.references] for one in some]
    found.marks = {name: entailment_score(own) for name, own in zip(names, each_, strict=True)}
    found.add({"entailment_score": mean([*found.marks.values()], names)})
    found.add({"weighted_score": mean([weighted_score(own) for own in each_], names)})
    found.add({"entailed": proportion((all(one.entailment == max(one) for one in own) for own in each_), names)})
    found.notes.append(f"by {part}")
    return found


def _probabilities(row: Row, where: str) -> list[Probabilities]:
    if "scores" in row:
        return [_one(own, False, where) for own in _scores(row, where)]
    key = next((key for key in ("probabilities", "probs", "logits") if key in row), "")
    if not key and set(CLASSES) <= row.keys():
        return [_one({name: row[name] for name in CLASSES}, False, where)]
    if not key:
        raise BadData(
            f"{where}: no probabilities. Of texts (prediction, references) a model tells them: --part FOLDER, {PART}."
            f" It has {held(row)}"
        )
    cell = row[key]
    single = isinstance(cell, dict) or (isinstance(cell, list) and cell and isinstance(cell[0], int | float))
    return [_one(one, key == "logits", where) for one in ([cell] if single else cell or [])]


def _scores(row: Row, where: str) -> list[dict[str, Any]]:
    """Each reference's scores by label: a list of `{label, score}`, several such lists, or `scores` beside `labels`."""
    scores = row["scores"]
    labels = row.get("labels")
    if isinstance(scores, list) and isinstance(labels, list) and len(labels) == len(scores):
        return [dict(zip(map(str, labels), scores, strict=True))]
    if not isinstance(scores, list) or not scores:
        raise BadData(f"{where}: scores are a list of objects with label and score, not {scores!r}")
    each = scores if isinstance(scores[0], list) else [scores]
    try:
        return [{str(one["label"]): one["score"] for one in own} for own in each]
    except (TypeError, KeyError) as error:
        raise BadData(f"{where}: scores are a list of objects with label and score, not {scores!r}") from error


def _one(cell: Any, logits: bool, where: str) -> Probabilities:
    """One reference's three numbers; logits through a softmax."""
    lower: dict[str, Any] = {}
    if isinstance(cell, dict):
        lower = {str(key).lower(): value for key, value in cell.items()}
        cell = [lower.get(name) for name in CLASSES]
    if cell == [None, None, None] and all(str(name).startswith("label_") for name in lower):
        raise BadData(f"{where}: {', '.join(lower)} do not say which is which: name them {', '.join(CLASSES)}")
    try:
        numbers = [float(one) for one in cell]
    except (TypeError, ValueError) as error:
        raise BadData(f"{where}: {', '.join(CLASSES)} are needed for each reference, not {cell!r}") from error
    if logits and len(numbers) == 3:
        powers = [math.exp(one - max(numbers)) for one in numbers]
        numbers = [power / sum(powers) for power in powers]
    if len(numbers) != 3 or not all(-1e-6 <= one <= 1 + 1e-6 for one in numbers) or abs(sum(numbers) - 1) > 1e-3:
        raise BadData(f"{where}: {numbers} are not the probabilities of {', '.join(CLASSES)}, which sum to 1")
    return Probabilities(*numbers)


def _weights(cell: Any, count: int, where: str) -> Sequence[float] | None:
    if cell is None:
        return None
    if not isinstance(cell, list) or len(cell) != count or not all(isinstance(one, int | float) for one in cell):
        raise BadData(f"{where}: as many weights as references are needed, {count}, not {cell!r}")
    return [float(one) for one in cell]
