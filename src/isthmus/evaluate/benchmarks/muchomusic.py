"""MuChoMusic: multiple-choice questions about pieces of music, of knowledge and of reasoning."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from isthmus.errors import BadData
from isthmus.evaluate.benchmarks._choices import read as read_letter
from isthmus.evaluate.benchmarks._rows import IDS, Judged, accuracies, slug, table, text
from isthmus.evaluate.files import Row, pick
from isthmus.evaluate.scored import Scored, proportion

ABOUT = "music: knowledge and reasoning in four-way questions"
SOURCE = "Weck et al., 2024, arXiv:2408.01337; evaluate.py of github.com/mulab-mir/muchomusic"
PREDICTIONS = {
    "the authors' JSON, also as JSON lines; answer_orders has 0 at the true option": (
        '[{"id": 1, "prompt": "...", "model_output": "(B)", "answers": ["fast", "slow", "calm", "loud"], '
        '"answer_orders": [2, 0, 1, 3], "genre": "Rock", "knowledge": ["tempo"], "reasoning": []}]'
    ),
}
REFERENCES = {
    "the same rows without model_output, where predictions do not repeat them": (
        '[{"id": 1, "answers": ["fast", "slow", "calm", "loud"], "answer_orders": [2, 0, 1, 3]}]'
    ),
}
INSIDE = True
LETTERS = "ABCD"
PREFIX = "The correct answer is:"
SAID = ("model_output", "prediction", "response", "text", "output")


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Accuracy, the share of answers that choose an option, and accuracy by knowledge, reasoning and genre."""
    found = Scored()
    marks, answered = [], []
    for number, row in enumerate(_rows(predictions, references, found), 1):
        name = text(next((row[key] for key in IDS if key in row), number))
        options, order = (
            _listed(pick(row, [key], references or predictions, number)) for key in ("answers", "answer_orders")
        )
        if 0 not in order:
            raise BadData(f"{predictions}, row {number}: answer_orders has no 0, which marks the true option")
        said = text(pick(row, SAID, predictions, number))
        choice = chosen(said, options) if mode == "official" else _read(said, options)
        if choice is None and mode == "lenient":
            found.unscored[name] = "no option can be read" if said.strip() else "no prediction"
            continue
        answered.append(choice is not None)
        marks.append(Judged(choice == order.index(0), _parts(row), text(row.get("audio_path")) or name))
    found.add(accuracies(marks))
    if mode == "official":
        found.metrics = {"accuracy": found.metrics["accuracy"], "ifr": proportion(answered)} | found.metrics
        if unread := answered.count(False):
            found.notes.append(
                f"{unread:,} answers choose no option that can be read; the official rule counts them wrong"
            )
    return found


def chosen(said: str, options: list[str]) -> int | None:
    """The official reading: the one of the capitals A to D that occurs anywhere, else the first option whose text does.

    >>> options = ["fast", "slow", "calm", "loud"]
    >>> chosen("(B)", options), chosen("It is SLOW", options), chosen("A or B: loud", options), chosen("?", options)
    (1, 1, 3, None)
    >>> chosen("It has a Dorian mode: (B)", options) is None
    True
    """
    told = said.split(PREFIX)[-1].strip()
    letters = [letter for letter in LETTERS if letter in told]
    if len(letters) == 1:
        return LETTERS.index(letters[0])
    return next((i for i, option in enumerate(options) if option.lower().strip() in told.lower()), None)


def _read(said: str, options: list[str]) -> int | None:
    letter = read_letter(said, dict(zip(LETTERS, options, strict=False)))
    return None if letter is None else LETTERS.index(letter)


def _parts(row: Row) -> tuple[str, ...]:
    """The kinds of a question: knowledge and reasoning, and what of each; and its genre."""
    found = []
    for kind in ("knowledge", "reasoning"):
        if own := _listed(row.get(kind) or row.get(f"music_{kind}") or []):
            found += [kind, *(f"{kind}/{slug(one)}" for one in dict.fromkeys(own))]
    return (*found, *([f"genre/{slug(row['genre'])}"] if text(row.get("genre")) else []))


def _rows(predictions: Path, references: Path | None, found: Scored) -> list[Row]:
    rows = table(predictions)
    if references is None:
        return rows
    said: dict[str, Row] = {}
    for number, row in enumerate(rows, 1):
        name = text(pick(row, IDS, predictions, number))
        if name in said:
            raise BadData(f"{predictions}, row {number}: the id {name} stands twice")
        said[name] = row
    truths = {text(pick(row, IDS, references, i)): row for i, row in enumerate(table(references), 1)}
    found.unscored |= {name: "no prediction" for name in truths if name not in said}
    both = [said[name] | row for name, row in truths.items() if name in said]
    if not both:
        raise BadData(f"no id of {predictions} is among those of {references}: are these files of the same benchmark?")
    return both


def _listed(value: Any) -> list[Any]:
    """A list, which may stand in a text, as CSV has it."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            value = [value]
    value = value if isinstance(value, list) else [value]
    return [one if isinstance(one, int) else text(one) for one in value]
