"""MMLU: multiple-choice questions in 57 subjects."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np

from isthmus.errors import BadData
from isthmus.evaluate import keys
from isthmus.evaluate.benchmarks._letters import LETTERS, Choice, choose
from isthmus.evaluate.benchmarks._rows import Judged, accuracies, slug, text
from isthmus.evaluate.benchmarks._subjects import SUBJECTS, subject_in
from isthmus.evaluate.benchmarks._tasks import IDS, Task, loaded, tasks, truth_of
from isthmus.evaluate.files import Row
from isthmus.evaluate.scored import Figure, Scored, mean

ABOUT = "multiple-choice questions in 57 subjects"
SOURCE = (
    "Hendrycks et al., 2021, arXiv:2009.03300; github.com/hendrycks/test (the likeliest letter); texts are read as"
    " github.com/openai/simple-evals does: the letter behind 'Answer:', or a letter alone"
)
PREDICTIONS = {
    "rows with the truth inside": (
        '{"subject": "anatomy", "question": "...", "choices": ["...", "..."], "answer": 1, "prediction": "Answer: B"}'
    ),
    "rows beside references": '{"id": "anatomy/0", "prediction": "B"}',
    "samples logged by lm-evaluation-harness": (
        '{"doc_id": 0, "doc": {"subject": "anatomy", "answer": 1}, "filtered_resps": [["-1.2", "False"], '
        '["-0.7", "False"]]}'
    ),
    "results_MODEL/SUBJECT.csv of the authors": "question,A,B,C,D,answer,MODEL_correct,MODEL_choiceA_probs,...",
}
REFERENCES = {
    "the authors' folder of SUBJECT_test.csv": "A lesion of ...,paralysis,pain,...,B",
    "rows": '{"subject": "anatomy", "question": "...", "choices": ["...", "..."], "answer": 1}',
}
INSIDE = True  # rows of predictions may hold the truth
TRUTHS = keys.truths("gold", "ground_truth", "truth", "correct_answer", "answer", "target", "label", "answerkey")
SAID = keys.said(
    "prediction", "pred", "predicted_answer", "response", "output", "completion", "model_answer", "text", "resps"
)


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Accuracy over all questions, the mean over subjects, and accuracy in each category and subject."""
    found = Scored()
    judged: list[Judged] = []
    unread = 0
    for name, row, choice in _choices(predictions, references, mode, found):
        if choice.said is None:
            unread += 1
            if mode == "lenient":
                found.unscored[name] = "no letter can be read"
                continue
        subject = slug(text(row.get("subject") or row.get("task"))) or subject_in(str(row.get("_file", "")))
        parts = [part for part in (SUBJECTS.get(subject, ""), subject) if part]
        judged.append(Judged(choice.said == _truth(name, row), tuple(parts), name))
    if unread and mode == "official":
        found.notes.append(f"{unread:,} answers hold no letter behind 'Answer:' and are none; they count as wrong")
    figures = accuracies(judged)
    found.metrics["accuracy"] = figures.pop("accuracy")
    if subjects := {part for one in judged for part in one.parts[-1:]}:
        found.metrics["macro_accuracy"] = _macro(judged)
        order = sorted(figures, key=lambda key: (key.split("/")[0] in subjects, key.split("/")[0]))
        found.metrics |= {key: figures[key] for key in order}
    return found


def _macro(judged: list[Judged]) -> Figure:
    """The mean of the subjects' accuracies, with an interval over subjects."""
    subjects: dict[str, list[bool]] = defaultdict(list)
    for one in judged:
        subjects[one.parts[-1] if one.parts else ""].append(one.right)
    return mean([float(np.mean(some)) for some in subjects.values()])


def _choices(predictions: Path, references: Path | None, mode: str, found: Scored) -> list[tuple[str, Row, Choice]]:
    """Each question's id, its row and what was chosen."""
    if references is None and (rows := _results(predictions)):
        return rows
    if references is not None and _headless(references):
        done = _beside(predictions, references, found)
    else:
        done = tasks(predictions, references, TRUTHS, found, (*SAID, "filtered_resps", "probabilities", "probs"))
    return [(task.id, task.row, choose(task.said or "", task.row, mode)) for task in done]


def _truth(name: str, row: Row) -> int:
    """The place of the right choice: of a letter, or of the number of a choice, from 0."""
    key = truth_of(Task(name, None, row), TRUTHS).strip()
    place = LETTERS.find(key.upper()) if len(key) == 1 and key.isalpha() else int(key) if key.isdigit() else -1
    if place < 0:
        raise BadData(
            f"question {name}: its answer is {key!r}; a letter from A, or the number of a choice from 0, is needed"
        )
    return place


def _results(path: Path) -> list[tuple[str, Row, Choice]]:
    """What the authors' script writes: tables with the letters' probabilities; empty of other files."""
    files = [path] if path.is_file() else sorted(path.rglob("*.csv"))
    found = []
    for file in files:
        if file.suffix != ".csv":
            return []
        for number, row in enumerate(_table(file)):
            chances = [float(cell) for key, cell in row.items() if "_choice" in key and key.endswith("_probs")]
            if not chances:
                return []
            place = next((i for i, key in enumerate(row) if key.endswith("_correct")), 0)
            own: Row = {"answer": list(row.values())[place - 1], "_file": file.name}
            found.append((f"{file.stem}/{number}", own, Choice(int(np.argmax(chances)))))
    return found


def _table(file: Path) -> list[dict[str, str]]:
    csv.field_size_limit(2**31 - 1)
    with file.open(encoding="utf-8-sig", newline="") as lines:
        return list(csv.DictReader(lines))


def _headless(references: Path) -> bool:
    """Whether these are the authors' tables, which have no line with names."""
    files = [references] if references.is_file() else sorted(references.rglob("*.csv"))
    return (
        bool(files)
        and files[0].suffix == ".csv"
        and subject_in(files[0].name) != ""
        and "answer" not in _first(files[0])
    )


def _first(file: Path) -> list[str]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        return [cell.strip().lower() for cell in next(csv.reader(lines), [])]


def _beside(predictions: Path, references: Path, found: Scored) -> list[Task]:
    """The authors' questions with the answers of the same id (`anatomy/0`), or of the same subject in their order."""
    known: dict[str, Row] = {}
    for file in [references] if references.is_file() else sorted(references.rglob("*.csv")):
        subject = subject_in(file.name)
        with file.open(encoding="utf-8-sig", newline="") as lines:
            for number, cells in enumerate(csv.reader(lines)):
                named = dict(zip(LETTERS, cells[1:-1], strict=False))
                known[f"{subject}/{number}"] = {"question": cells[0], "subject": subject, "answer": cells[-1], **named}
    answers = loaded(predictions)
    places: dict[str, int] = defaultdict(int)
    said: dict[str, Row] = {}
    for number, row in enumerate(answers, 1):
        own = next((text(row[key]) for key in IDS if text(row.get(key)) in known), "")
        subject = slug(text(row.get("subject"))) or subject_in(str(row["_file"]))
        name = own or f"{subject}/{places[subject]}"
        places[subject] += 1
        if name not in known or name in said:
            what = "stands twice" if name in said else "is no question of the references"
            raise BadData(
                f"{predictions}, row {number}: {name} {what}; rows say an id like anatomy/0, or their subject"
            )
        said[name] = row
    found.unscored |= dict.fromkeys((name for name in known if name not in said), "no prediction")
    done = []
    for name, row in said.items():
        cell = next((text(row[key]) for key in (*SAID, "answer", "filtered_resps") if text(row.get(key))), None)
        if cell is None:
            found.unscored[name] = "no prediction"
        else:
            done.append(Task(name, cell, {**row, **known[name]}))
    return done
