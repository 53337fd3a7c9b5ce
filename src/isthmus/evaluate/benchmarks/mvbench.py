"""MVBench: multiple-choice questions about short videos, twenty tasks that one frame does not solve."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from isthmus.errors import BadData
from isthmus.evaluate.benchmarks._choices import read as read_letter
from isthmus.evaluate.benchmarks._rows import IDS, SAID, Judged, accuracies, macro, slug, table, text
from isthmus.evaluate.files import SHEETS, TABLES, Row, document, folder, matched, pick
from isthmus.evaluate.scored import Scored

ABOUT = "twenty tasks of temporal understanding; the average over tasks is what is reported"
SOURCE = "Li et al., 2023, arXiv:2311.17005; mvbench.ipynb of github.com/OpenGVLab/Ask-Anything"
PREDICTIONS = {
    "the authors' results": '{"acc_dict": {"Action Count": [1, 1]}, "res_list": [{"pred": "(A)", "gt": "(A) he."}]}',
    "rows with the truth": '{"task_type": "Action Sequence", "pred": "(A)", "gt": "(A) he ran."}',
    "answers with references": '{"question_id": "action_sequence_0", "prediction": "(A)"}',
}
REFERENCES = {
    "rows, or the folder of the tasks' JSON files, whose ids are their names and numbers": (
        'action_sequence.json: [{"video": "ZS9XR.mp4", "question": "...", "candidates": ["he ran", "he sat"], '
        '"answer": "he ran"}]'
    ),
}
INSIDE = True
TRUTH = ("gt", "answer", "truth", "target")


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """The average over tasks, the accuracy over questions, and each task's."""
    found = Scored()
    marks, empty = [], 0
    for name, row, said in _pairs(predictions, references, found):
        truth = _truth(row)
        if mode == "official":
            empty += not _first(said)
            right: bool | None = said_right(said, truth)
        else:
            letter = read_letter(said, _options(row) or dict.fromkeys("ABCDEFGH", ""))
            right = None if letter is None else letter == truth.strip("( ")[:1]
        if right is None:
            found.unscored[name] = "no option can be read" if said.strip() else "no prediction"
            continue
        marks.append(Judged(right, (slug(_task(row)),), text(row.get("video") or row.get("video_path")) or name))
    if empty:
        found.notes.append(f"{empty:,} answers begin with no word; the official rule counts them right")
    found.add({"average": macro(marks)} if marks else {})
    found.add(accuracies(marks))
    return found


def said_right(said: str, truth: str) -> bool:
    """The official reading: the first word is part of the true option's `(a)`, or the other way round.

    >>> said_right("(A) he ran", "(A) he ran."), said_right("A.", "(A) he ran."), said_right("", "(A) he ran.")
    (True, True, True)
    >>> said_right("The answer is (A)", "(A) he ran.")
    False
    """
    option = truth.lower().split(" ")[0]
    return _first(said) in option or option in said.lower().split(" ")[0]


def _first(said: str) -> str:
    return said.lower().split(" ")[0].replace(".", "")


def _truth(row: Row) -> str:
    """The true option, `(A) he ran`; one that is given as text has the letter of its place among the candidates."""
    told = text(next((row[key] for key in TRUTH if key in row), ""))
    options = {option: letter for letter, option in _options(row).items()}
    if told in options:
        return f"({options[told]}) {told}"
    return f"({told.strip('().')})" if len(told.strip("().")) == 1 else told


def _options(row: Row) -> dict[str, str]:
    listed: Any = row.get("candidates") or []
    if isinstance(listed, str):
        try:
            listed = ast.literal_eval(listed)
        except (ValueError, SyntaxError):
            listed = []
    return dict(zip(ascii_uppercase, map(str, listed), strict=False))


def _task(row: Row) -> str:
    return text(next((row[key] for key in ("task_type", "task", "category", "_file") if row.get(key)), "all"))


def _pairs(path: Path, references: Path | None, found: Scored) -> list[tuple[str, Row, str]]:
    """For each question its id, a row with the truth and the task, and what was said."""
    rows = _rows(path)
    keys = SAID if references is None else (*SAID, "answer")
    if references is None:
        for number, row in enumerate(rows, 1):
            pick(row, TRUTH, path, number)
        return [(str(i), row, text(pick(row, keys, path, i))) for i, row in enumerate(rows, 1)]
    answers: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        name = text(pick(row, IDS, path, number))
        if name in answers:
            raise BadData(f"{path}, row {number}: the id {name} stands twice")
        answers[name] = text(pick(row, keys, path, number))
    truths = {_id(row, number): row for number, row in enumerate(_numbered(folder(references)))}
    for number, row in enumerate(truths.values(), 1):
        pick(row, TRUTH, references, number)
    return [(name, truths[name], answers[name]) for name in matched(answers, truths, found.unscored)]


def _rows(path: Path) -> list[Row]:
    """The rows of a file; in the authors' results tasks follow one another, and their counts say where each ends."""
    if path.suffix.lower() in (*SHEETS, *TABLES):
        return table(path)
    held = document(path)
    listed = (
        next((held[key] for key in ("res_list", "result_list") if key in held), None)
        if isinstance(held, Mapping)
        else None
    )
    if listed is None:
        return table(path)
    if not isinstance(listed, list) or not all(isinstance(row, Mapping) for row in listed):
        raise BadData(f"{path}: its list of results does not hold objects with pred and gt")
    if all("task_type" in row or "task" in row for row in listed):
        return [dict(row) for row in listed]
    counts = held.get("acc_dict")
    if not isinstance(counts, Mapping) or not all(isinstance(own, list) and len(own) == 2 for own in counts.values()):
        raise BadData(f"{path}: results name no task_type, and no acc_dict counts them: {{task: [right, all]}}")
    tasks = [task for task, (_, total) in counts.items() for _ in range(int(total))]
    if len(tasks) != len(listed):
        raise BadData(f"{path}: {len(listed):,} results, and acc_dict counts {len(tasks):,}")
    return [dict(row) | {"task_type": task} for row, task in zip(listed, tasks, strict=True)]


def _numbered(rows: Sequence[Row]) -> list[Row]:
    """The rows, each with its number in its file."""
    counts: dict[str, int] = {}
    found = []
    for row in rows:
        number = counts[row["_file"]] = counts.get(row["_file"], -1) + 1
        found.append(row | {"_number": number})
    return found


def _id(row: Row, number: int) -> str:
    told = next((row[key] for key in IDS if key in row), None)
    return text(told) if told is not None else f"{row['_file']}_{row['_number']}"
