"""GQA: compositional questions about real scenes; an answer is right if it is the true word exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.errors import BadData
from isthmus.evaluate.benchmarks._asked import have, hubs, shown, somewhere
from isthmus.evaluate.benchmarks._rows import IDS, SAID, Judged, accuracies, slug, table, text
from isthmus.evaluate.files import Row, document, matched, pick, rows
from isthmus.evaluate.questions import SHORT, Question, one
from isthmus.evaluate.scored import Figure, Floats, Scored, mean, of_sums, proportion

ABOUT = "compositional questions about scenes: accuracy, consistency, validity, plausibility, distribution"
SOURCE = "Hudson and Manning, 2019, arXiv:1902.09506; the authors' eval.py, answers as LLaVA's convert_gqa_for_eval.py"
PREDICTIONS = {
    "LLaVA's answers": '{"question_id": "201307251", "prompt": "Is it overcast?", "text": "No"}',
    "as the authors' code takes them": '[{"questionId": "201307251", "prediction": "no"}]',
    "with the question inside": '{"question_id": "201307251", "prediction": "No", "answer": "no", "types": {}}',
}
REFERENCES = {
    "testdev_balanced_questions.json, or its folder, in which testdev_choices.json may lie as well": (
        '{"201307251": {"imageId": "n161313", "question": "Is it overcast?", "answer": "no", "entailed": [], '
        '"types": {"structural": "verify", "semantic": "global"}, "groups": {"global": null}}}'
    ),
}
INSIDE = True  # rows of predictions may hold the question
DATA = {
    "testdev_balanced_questions.json": "the questions, or val_balanced_questions.json",
    "images": "the folder of pictures",
    "testdev_balanced_instructions": "or, in place of both, a folder of Parquet files, and",
    "testdev_balanced_images": "a folder of those with the pictures",
}
GET = "cs.stanford.edu/people/dorarad/gqa/download.html (questions1.2.zip, images.zip)"
HUB = "lmms-lab/GQA"
HEADLINE = "accuracy"
NAME = "*_questions.json"
NAMED = {"valid": "validity", "plausible": "plausibility"}
NO_STEP = ("exist", "query: name", "choose name")  # what the authors do not count as steps of reasoning


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Accuracy, binary and open, by type of question and length; consistency and distribution where they are told."""
    found = Scored()
    truths = _questions(references or predictions)
    answers = _answers(predictions, mode, references is None)
    names = matched(answers, truths, found.unscored)
    if more := len(answers) - len(names):
        found.notes.append(f"{more:,} answers are to no question of {references} and were left out")
    right = {name: answers[name] == text(truths[name]["answer"]) for name in names}
    found.marks |= {name: float(hit) for name, hit in right.items()}
    # unbalanced questions are only there to be entailed
    some = {name: truths[name] for name in names if truths[name].get("isBalanced", True)}
    found.add(accuracies([Judged(right[name], _parts(row), _image(row, name)) for name, row in some.items()]))
    consistent = [_consistent(row, name, right) for name, row in some.items() if right[name]]
    if told := [share for share in consistent if share is not None]:
        found.add({"consistency": mean(told)})
    if choices := _choices(references):
        for measure in ("valid", "plausible"):
            held = [(name, row) for name, row in some.items() if name in choices]
            hits = [answers[name] in _able(row, choices[name], measure) for name, row in held]
            found.add({NAMED[measure]: proportion(hits, (_image(row, name) for name, row in held))})
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
    told = question.get("entailed")
    others = map(str, told if isinstance(told, list) else ())
    entailed = [right[other] for other in others if other != name and other in right]
    return sum(entailed) / len(entailed) if entailed else None


def _choices(references: Path | None) -> dict[str, Row]:
    """By question the answers that make sense (`valid`) and that the world has (`plausible`), of the folder's file."""
    files = sorted(references.glob("*choices*.json")) if references is not None and references.is_dir() else []
    held = document(files[0]) if files else {}
    if not isinstance(held, Mapping) or not all(isinstance(own, Mapping) for own in held.values()):
        raise BadData(f'{files[0]}: expected choices by question, {{"201307251": {{"valid": [], "plausible": []}}}}')
    return {str(name): dict(own) for name, own in held.items()}


def _able(question: Row, choices: Row, measure: str) -> list[str]:
    """The answers of a kind; to what things have in common there are three, as in the authors' code."""
    types = question.get("types")
    if isinstance(types, Mapping) and "Common" in str(types.get("detailed", "")):
        return ["color", "material", "shape"]
    return [str(own) for own in choices.get(measure, [])]


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


def _answers(path: Path, mode: str, inside: bool) -> dict[str, str]:
    """What was said to each question, in lower case without full stops at the end but in the authors' own form."""
    found: dict[str, str] = {}
    for number, row in enumerate(table(path), 1):
        name = text(pick(row, IDS, path, number))
        if name in found:
            raise BadData(f"{path}, row {number}: the id {name} stands twice")
        said = text(pick(row, (*SAID, "answer"), path, number))
        plain = "text" in row or inside or mode == "lenient"
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


def questions(folder: Path) -> Sequence[Question]:
    """The balanced questions of testdev as LLaVA-1.5 asks them."""
    found = []
    names = ("testdev_balanced_questions.json", "val_balanced_questions.json", NAME)
    official = any(folder.glob(NAME))
    held = _questions(one(folder, *names)) if official else _of_hub(folder)
    for number, (name, row) in enumerate(held.items(), 1):
        have(row, ("imageId", "question", "answer"), folder, number)
        if not row.get("isBalanced", True):
            continue
        where, image = f"question {name}", text(row["imageId"])
        media = somewhere(folder, [f"images/{image}.jpg"], where) if official else shown(row["_image"], folder, where)
        keys = ("imageId", "question", "answer", "isBalanced", "types", "semantic", "entailed", "groups")
        kept = {"question_id": name} | {key: row[key] for key in keys if row.get(key) is not None}
        found.append(
            Question(
                *(name, text(row["question"]), (media,)), after=SHORT, truth=text(row["answer"]),
                parts=_parts(row)[:3], image=image, row=kept,
            )
        )  # fmt: skip
    return found


def _of_hub(folder: Path) -> dict[str, Row]:
    """The questions of the hub's files by id, each with its picture, which another file holds, under `_image`."""
    shown_ = enumerate(hubs(folder, "testdev", under="balanced_images"), 1)
    images = {text(have(row, ("id", "image"), folder, i)["id"]): row["image"] for i, row in shown_}
    found = {}
    for number, row in enumerate(hubs(folder, "testdev", under="balanced_instructions"), 1):
        have(row, ("id", "imageId", "question", "answer"), folder, number)
        image = images.get(text(row["imageId"]))
        if image is None:
            raise BadData(f"question {row['id']}: no picture {row['imageId']} in {folder}")
        found[text(row["id"])] = {key: cell for key, cell in row.items() if key != "_under"} | {"_image": image}
    return found
