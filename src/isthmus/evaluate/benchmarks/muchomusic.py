"""MuChoMusic: multiple-choice questions about pieces of music, of knowledge and of reasoning."""

from __future__ import annotations

import ast
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isthmus.errors import BadData
from isthmus.evaluate import keys
from isthmus.evaluate.benchmarks._asked import Answered, have
from isthmus.evaluate.benchmarks._asked_media import told
from isthmus.evaluate.benchmarks._choices import read as read_letter
from isthmus.evaluate.benchmarks._rows import IDS, Judged, accuracies, slug, table, text
from isthmus.evaluate.files import Row, pick
from isthmus.evaluate.questions import Question
from isthmus.evaluate.scored import Scored, proportion
from isthmus.types import Audio

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
DATA = {
    "*.json": "what the authors' prepare_prompts.py writes, whose audio_path names the sounds",
    "data/muchomusic.csv": "or the questions, whose options are then shuffled with a fixed seed",
    "data/sdd/audio": "the sounds: 00/415600.2min.mp3; and data/musiccaps/audio: [ytid]-[30-40].wav",
}
GET = "zenodo.org/records/12709974 (muchomusic.csv), and the sounds of Song Describer and MusicCaps"
HEADLINE = "accuracy"
DISTRACTORS = ("distractor_1_answer", "distractor_2_answer", "distractor_3_answer")
KEPT = ("id", "prompt", "answers", "answer_orders", "dataset", "genre", "reasoning", "knowledge", "audio_path")
LETTERS = "ABCD"
PREFIX = "The correct answer is:"
SAID = keys.said("model_output", "prediction", "response", "text", "output")


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
        found.marks[name] = float(choice == order.index(0))
        marks.append(Judged(choice == order.index(0), _parts(row), text(row.get("audio_path")) or name))
    found.add(accuracies(marks))
    if mode == "official":
        found.metrics = {"accuracy": found.metrics["accuracy"], "ifr": proportion(answered)} | found.metrics
        if unread := answered.count(False):
            found.notes.append(
                f"{unread:,} answers choose no option that can be read; the official rule counts them wrong"
            )
    return found


def questions(folder: Path) -> Sequence[Question]:
    """The questions as the authors' script words them, options within the prompt."""
    files = sorted(folder.glob("*.json")) + sorted(folder.glob("data/*.json"))
    held = next((own for file in files if (own := _prepared(file))), None)
    if held is None:
        tables = sorted(folder.glob("data/muchomusic.csv")) + sorted(folder.glob("muchomusic.csv"))
        if not tables:
            raise BadData(f"{folder}: no data/muchomusic.csv, and no JSON with prompt and answer_orders in this folder")
        held = _shuffled(tables[0])
    sounds = {_track(path.name): path for path in sorted(folder.rglob("*")) if path.suffix in (".mp3", ".wav", ".flac")}
    found, seen = [], dict[str, int]()
    for row in held:
        track = text(row["id"])
        seen[track] = seen.get(track, -1) + 1  # a piece has several questions, and the authors' id is the piece's
        name = f"{track}/{seen[track]}"
        path = folder / text(row.get("audio_path") or ".")
        path = path if path.is_file() else sounds.get(track, path if "audio_path" in row else folder / f"{track}.mp3")
        found.append(
            Question(
                *(name, text(row["prompt"]), (Audio(path),), tuple(LETTERS), False), parts=_parts(row), image=track,
                truth=LETTERS[_listed(row["answer_orders"]).index(0)],
                row={key: row[key] for key in KEPT if key in row} | {"id": name},
            )
        )  # fmt: skip
    return found


def write(folder: Path, out: Path, answered: Answered) -> Path:
    """Rows as the authors' evaluation reads them."""
    return told(out, answered, "model_output")


def _prepared(file: Path) -> list[Row]:
    """The rows of a file that the authors' script wrote; of another, none."""
    rows = table(file)
    if not {"prompt", "answer_orders"} <= rows[0].keys():
        return []
    for number, row in enumerate(rows, 1):
        have(row, ("id", "prompt"), file, number)
        if 0 not in _listed(pick(row, ["answer_orders"], file, number)):
            raise BadData(f"{file}, row {number}: answer_orders has no 0, which marks the true option")
        pick(row, ["answers"], file, number)
    return rows


def _shuffled(file: Path) -> list[Row]:
    """The rows of the authors' table with options in an order that depends on their number alone."""
    found = []
    for number, row in enumerate(table(file), 1):
        have(row, ("question", "correct_answer", *DISTRACTORS, "dataset", "dataset_identifier"), file, number)
        order = random.Random(number).sample(range(4), 4)
        answers = [text(row[("correct_answer", *DISTRACTORS)[place]]) for place in order]
        shown = "".join(f"({letter}) {answer} " for letter, answer in zip(LETTERS, answers, strict=True))
        prompt = f"Question: {row['question']}\n Options: {shown}\n {PREFIX} "
        kinds = {key: _listed(row.get(f"music_{key}") or "[]") for key in ("reasoning", "knowledge")}
        name = text(row["dataset_identifier"]).removesuffix(".json")
        name = name if row["dataset"] == "sdd" else name.rpartition("_")[0]
        found.append(
            {"id": name, "prompt": prompt, "answers": answers, "answer_orders": order, "dataset": row["dataset"]}
            | {"genre": text(row.get("genre"))}
            | kinds
        )
    return found


def _track(file: str) -> str:
    """A piece's id in the name of its file.

    >>> _track("415600.2min.mp3"), _track("[-0Gj8-vB1q4]-[30-40].wav")
    ('415600', '-0Gj8-vB1q4')
    """
    return file[1:].split("]")[0] if file.startswith("[") else file.split(".")[0]


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
