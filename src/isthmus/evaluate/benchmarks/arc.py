"""ARC: multiple-choice questions of school science, an easy set and a challenge set."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from isthmus.errors import BadData
from isthmus.evaluate import keys
from isthmus.evaluate.benchmarks._letters import choose, labels
from isthmus.evaluate.benchmarks._rows import text
from isthmus.evaluate.benchmarks._tasks import loaded, tasks, truth_of
from isthmus.evaluate.files import matched
from isthmus.evaluate.scored import Figure, Scored, mean, proportion

ABOUT = "multiple-choice questions of school science"
SOURCE = (
    "Clark et al., 2018, arXiv:1803.05457; of k answers that are tied each counts 1/k "
    "(github.com/allenai/aristo-leaderboard);"
    " acc and acc_norm of log-likelihoods as lm-evaluation-harness"
)
PREDICTIONS = {
    "the leaderboard's CSV, ties behind semicolons": "Mercury_7175875,C",
    "rows": '{"id": "Mercury_7175875", "prediction": "Answer: C"}',
    "samples logged by lm-evaluation-harness": (
        '{"doc_id": 0, "doc": {"id": "...", "choices": {"text": ["..."], "label": ["A"]}, "answerKey": "A"}, '
        '"filtered_resps": [["-1.2", "False"]]}'
    ),
}
REFERENCES = {
    "ARC-Challenge-Test.jsonl of the authors": (
        '{"id": "Mercury_7175875", "question": {"stem": "...", "choices": [{"text": "...", "label": "A"}]}, '
        '"answerKey": "C"}'
    ),
    "rows": (
        '{"id": "Mercury_7175875", "question": "...", "choices": {"text": ["..."], "label": ["A"]}, "answerKey": "C"}'
    ),
}
INSIDE = True  # rows of predictions may hold the truth
TRUTHS = keys.truths("answerkey", "answer_key", "gold", "ground_truth", "truth", "target", "label", "answer")
SAID = keys.said(
    "prediction", "pred", "predicted_answer", "response", "output", "completion", "text", "resps", "filtered_resps"
)
NUMBERED = dict(zip("12345", "ABCDE", strict=True))


class Read(NamedTuple):
    """One question's points, and by likelihood for each character; the set that it is of."""

    points: float
    by_character: float | None
    part: str


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Accuracy, of each set where there are both; of log-likelihoods `acc_norm` as well."""
    found = Scored()
    if _tied(predictions) and references is not None:
        some = _leaderboard(predictions, references, found)
    else:
        some = _rows(predictions, references, mode, found)
    found.add(_figures(some))
    parts = dict.fromkeys(one.part for one in some)
    if len(parts) > 1:
        for part in parts:
            found.add(_figures([one for one in some if one.part == part]), part)
    return found


def _figures(some: Sequence[Read]) -> dict[str, Figure]:
    ties = any(one.points not in (0, 1) for one in some)
    points = [one.points for one in some]
    figures = {"accuracy": mean(points) if ties else proportion(one == 1 for one in points)}
    if some and all(one.by_character is not None for one in some):
        figures["acc_norm"] = proportion(one.by_character == 1 for one in some)
    return figures


def _rows(predictions: Path, references: Path | None, mode: str, found: Scored) -> list[Read]:
    some = []
    unread = 0
    for task in tasks(predictions, references, TRUTHS, found, SAID):
        names = [NUMBERED.get(name, name) for name in labels(task.row)]
        key = truth_of(task, TRUTHS).strip()
        truth = NUMBERED.get(key, key.upper())
        if not set(map(text, labels(task.row))) & set(NUMBERED) and key == "0":
            truth = "A"  # the number of a choice, from 0, as the harness's `target`
        if truth not in names:
            raise BadData(f"question {task.id}: its answer is {key!r}, none of {', '.join(names)}")
        said = NUMBERED.get((task.said or "").strip(), task.said or "")
        choice = choose(said, task.row, mode)
        unread += choice.said is None
        if choice.said is None and mode == "lenient":
            found.unscored[task.id] = "no letter can be read"
            continue
        place = names.index(truth)
        norm = None if choice.by_character is None else float(choice.by_character == place)
        some.append(Read(float(choice.said == place), norm, _part(task.row)))
    if unread and mode == "official":
        found.notes.append(f"{unread:,} answers hold no letter behind 'Answer:' and are none; they count as wrong")
    return some


def _part(row: dict[str, object]) -> str:
    """Which set a row is of, as far as its file's name says so."""
    name = str(row.get("_file", "")).lower()
    return next((part for part in ("challenge", "easy") if part in name), "")


def _tied(path: Path) -> bool:
    """Whether this is the leaderboard's table: two cells a line, without names above."""
    if not path.is_file() or path.suffix != ".csv":
        return False
    with path.open(encoding="utf-8-sig", newline="") as lines:
        first = next(csv.reader(lines), [])
    return len(first) == 2 and not {cell.strip().lower() for cell in first} & {"id", "prediction", *SAID}


def _leaderboard(predictions: Path, references: Path, found: Scored) -> list[Read]:
    truths = {text(row.get("id")): row for row in loaded(references)}
    said: dict[str, list[str]] = {}
    with predictions.open(encoding="utf-8-sig", newline="") as lines:
        for number, cells in enumerate(csv.reader(lines), 1):
            if len(cells) != 2 or cells[0] in said:
                raise BadData(
                    f"{predictions}, line {number}: an id that stands once and its answers are needed, as q1,A;B"
                )
            said[cells[0]] = [answer.strip() for answer in cells[1].split(";")]
    some = []
    for name in matched(said, truths, found.unscored):
        right = text(truths[name].get("answerkey")) in said[name]
        some.append(Read(right / len(said[name]), None, _part(truths[name])))
    return some
