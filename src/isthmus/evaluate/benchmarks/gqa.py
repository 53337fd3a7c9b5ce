"""GQA: compositional questions about real scenes; an answer is right if it is the true word exactly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.errors import BadData
from isthmus.evaluate.benchmarks._rows import IDS, SAID, Judged, accuracies, slug, table, text
from isthmus.evaluate.files import Row, document, matched, pick, rows
from isthmus.evaluate.scored import Figure, Floats, Scored, mean, of_sums

ABOUT = "compositional questions about scenes, by exact match, with consistency and distribution"
SOURCE = "Hudson and Manning, 2019, arXiv:1902.09506; the authors' eval.py, answers as LLaVA's convert_gqa_for_eval.py"
PREDICTIONS = {
    "LLaVA's answers": '{"question_id": "201307251", "prompt": "Is it overcast?", "text": "No"}',
    "as the authors' code takes them": '[{"questionId": "201307251", "prediction": "no"}]',
}
REFERENCES = {
    "testdev_balanced_questions.json, or its folder": (
        '{"201307251": {"imageId": "n161313", "question": "Is it overcast?", "answer": "no", "entailed": [], '
        '"types": {"structural": "verify", "semantic": "global"}, "groups": {"global": null}}}'
    ),
}
NAME = "*_questions.json"
NO_STEP = ("exist", "query: name", "choose name")  # what the authors do not count as steps of reasoning


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Accuracy, binary and open, by type of question and length; consistency and distribution where they are told."""
    if references is None:
        raise BadData(f"gqa needs --references: {next(iter(REFERENCES))}")
    found = Scored()
    questions = _questions(references)
    answers = _answers(predictions, mode)
    names = matched(answers, questions, found.unscored)
    if more := len(answers) - len(names):
        found.notes.append(f"{more:,} answers are to no question of {references} and were left out")
    right = {name: answers[name] == text(questions[name]["answer"]) for name in names}
    # unbalanced questions are only there to be entailed
    some = {name: questions[name] for name in names if questions[name].get("isBalanced", True)}
    found.add(accuracies([Judged(right[name], _parts(row), _image(row, name)) for name, row in some.items()]))
    consistent = [_consistent(row, name, right) for name, row in some.items() if right[name]]
    if told := [share for share in consistent if share is not None]:
        found.add({"consistency": mean(told)})
    groups = [(_group(row), text(row["answer"]), answers[name]) for name, row in some.items()]
    if grouped := [one for one in groups if one[0]]:
        found.add({"distribution": _distribution(grouped)})
    return found


def _parts(question: Row) -> tuple[str, ...]:
    """Binary or open, and the kinds of a question: structural, semantic, how many steps and words it has."""
    types = told if isinstance(told := question.get("types"), Mapping) else {}
    structural = str(types.get("structural", ""))
    kinds = ["open" if structural == "query" else "binary"] if structural else []
    kinds += [f"{kind}/{slug(types[kind])}" for kind in ("structural", "semantic") if types.get(kind)]
    if isinstance(steps := question.get("semantic"), list):
        names = [f"{step.get('operation')}: {step.get('argument')}" for step in steps if isinstance(step, Mapping)]
        kinds.append(f"steps/{sum(not any(one in name for one in NO_STEP) for name in names)}")
    if question.get("question"):
        kinds.append(f"words/{len(str(question['question']).split())}")
    return tuple(kinds)


def _image(question: Row, name: str) -> str:
    return text(question.get("imageId")) or name


def _consistent(question: Row, name: str, right: Mapping[str, bool]) -> float | None:
    """The share of right answers to what the question entails; None where that is nothing that was answered."""
    entailed = [
        right[str(other)] for other in question.get("entailed") or () if str(other) != name and str(other) in right
    ]
    return sum(entailed) / len(entailed) if entailed else None


def _group(question: Row) -> str:
    groups = question.get("groups")
    return text(groups.get("global")) if isinstance(groups, Mapping) else ""


def _distribution(some: list[tuple[str, str, str]]) -> Figure:
    """How far answers are from the truth's distribution: chi-square of each group, weighted by its size; 0 is best."""
    pairs = {pair: i for i, pair in enumerate(dict.fromkeys((group, true) for group, true, _ in some))}
    counts_K2P = np.zeros((len(some), 2, len(pairs)))
    for row_2P, (group, true, said) in zip(counts_K2P, some, strict=True):
        row_2P[0, pairs[group, true]] = 1
        if (group, said) in pairs:
            row_2P[1, pairs[group, said]] = 1
    member = np.array([[group == other for other in dict.fromkeys(g for g, _ in pairs)] for group, _ in pairs], float)

    def statistic(sums: Floats) -> Floats:
        each = sums.reshape(*sums.shape[:-1], 2, len(pairs))
        true, said = each[..., 0, :], each[..., 1, :]
        chi = np.divide((said - true) ** 2, true, out=np.zeros_like(true), where=true > 0)
        sizes = true @ member
        return np.asarray(((chi @ member) * sizes).sum(-1) / sizes.sum(-1))

    return of_sums(statistic, counts_K2P.reshape(len(some), -1))


def _answers(path: Path, mode: str) -> dict[str, str]:
    """What was said to each question, in lower case without full stops at the end where the answers are LLaVA's."""
    found: dict[str, str] = {}
    for number, row in enumerate(table(path), 1):
        name = text(pick(row, IDS, path, number))
        if name in found:
            raise BadData(f"{path}, row {number}: the id {name} stands twice")
        said = text(pick(row, (*SAID, "answer"), path, number))
        plain = "text" in row or mode == "lenient"
        found[name] = said.rstrip(".").lower() if plain else said
        found[name] = found[name].strip() if mode == "lenient" else found[name]
    return found


def _questions(path: Path) -> dict[str, Row]:
    file = path
    if path.is_dir():
        files = sorted(path.glob(NAME))
        file = next((one for one in files if "balanced" in one.name), files[0] if files else path / NAME)
        if not files:
            raise BadData(f"{path}: no file {NAME} in this folder")
    held: Any = document(file)
    if not isinstance(held, Mapping) or not all(isinstance(row, Mapping) for row in held.values()):
        listed = enumerate(rows(file), 1)
        held = {text(pick(row, ("question_id", "questionId", "id"), file, i)): row for i, row in listed}
    for number, row in enumerate(held.values(), 1):
        pick(row, ["answer"], file, number)
    return {str(name): dict(row) for name, row in held.items()}
