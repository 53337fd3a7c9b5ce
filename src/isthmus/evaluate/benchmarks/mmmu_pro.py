"""MMMU-Pro: MMMU's harder half with up to ten options, the question in text (standard) or in the picture (vision)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from isthmus.errors import BadData
from isthmus.evaluate.benchmarks._asked import have, hubs, shown
from isthmus.evaluate.benchmarks._choices import noted
from isthmus.evaluate.benchmarks._choices import read as read_letter
from isthmus.evaluate.benchmarks._mmmu import choice_pro
from isthmus.evaluate.benchmarks._rows import Judged, accuracies, slug, text
from isthmus.evaluate.benchmarks.mmmu import SAID, _options, parts
from isthmus.evaluate.files import Row, pick, rows
from isthmus.evaluate.questions import Question
from isthmus.evaluate.scored import Scored

ABOUT = "MMMU with up to ten options; in the picture as well (vision)"
SOURCE = "Yue et al., 2024, arXiv:2409.02813; mmmu-pro/evaluate.py of github.com/MMMU-Benchmark/MMMU"
PREDICTIONS = {
    "JSON lines, or a folder of several such files": (
        '{"id": "test_History_1", "options": "[\'yes\', \'no\']", "answer": "B", "subject": "History", '
        '"response": "Answer: B", "pred_indexs": "B"}'
    ),
}
REFERENCES: dict[str, str] = {}
INSIDE = True
DATA = {
    "standard (10 options)": "a folder of Parquet files: id, question, options, answer, subject, image_1, ...",
    "vision": "likewise, with the question in its picture: id, options, answer, subject, image",
}
GET = "huggingface.co/datasets/MMMU/MMMU_Pro"
HUB = "MMMU/MMMU_Pro"
HEADLINE = "accuracy"
LETTERS = "Answer with the option letter from the given choices directly."  # the authors' `direct` prompts
FORMAT = (
    " The last line of your response should be of the following format: 'Answer: $LETTER' (without quotes) where LETTER"
    " is one of options."
)


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Accuracy over all questions, in each domain and subject; of several files, for each under its name."""
    found = Scored()
    files = sorted(predictions.glob("*.jsonl")) if predictions.is_dir() else [predictions]
    if not files:
        raise BadData(f"{predictions}: no file .jsonl in this folder")
    for file in files:
        marks = _judged(file, mode, found, len(files) == 1)
        for name, figure in accuracies(marks).items():
            found.add({name: figure}, slug(file.stem) if len(files) > 1 else "")
    return found


def questions(folder: Path) -> Sequence[Question]:
    """Both settings as the authors ask them; pictures of the standard one in the order in which its text has them."""
    found: list[Question] = []
    for setting, name in {"standard": "standard (10 options)", "vision": "vision"}.items():
        held = hubs(folder / name, "test") if (folder / name).is_dir() else []
        for number, row in enumerate(held, 1):
            have(row, ("id", "answer", "subject"), folder / name, number)
            row.setdefault("options", "")
            found.append(_asked(setting, row, folder / name))
    if not found:
        raise BadData(f"{folder}: neither a folder {' nor '.join(DATA)} with Parquet files in it")
    return found


def _asked(setting: str, row: Row, folder: Path) -> Question:
    own, options = f"{setting}/{row['id']}", _options(row)
    if not options:
        raise BadData(f"{folder}, question {own}: its options {row['options']!r} cannot be read")
    if setting == "vision":
        cells, listed, asked, ending = [row.get("image")], False, "", LETTERS + FORMAT
    else:
        told = "\n".join([text(row.get("question")), *options.values()])
        cells = [row.get(f"image_{i}") for i in re.findall(r"<image\s+(\d+)>", told)]
        listed, asked, ending = True, _marked(text(row.get("question"))), LETTERS
    if None in cells:
        raise BadData(f"question {own}: no picture, which its text names, in {folder}")
    media = tuple(shown(cell, folder, f"question {own}") for cell in cells)
    choices = tuple(_marked(option) for option in options.values()) if listed else tuple(options)
    kept = {"id": own, "options": list(options.values()), "answer": row["answer"], "subject": row["subject"]}
    names = (setting, *parts(text(row["id"]), {"category": row["subject"]}))
    truth = text(row["answer"])
    return Question(own, asked, media, choices, listed, ending, truth, names, row=kept | {"setting": setting})


def _marked(told: str) -> str:
    """A text with the authors' mark of a picture."""
    return re.sub(r"<image\s+\d+>", "[image]", told)


def _judged(file: Path, mode: str, found: Scored, alone: bool) -> list[Judged]:
    marks, drawn, unread, seen = [], 0, 0, set()
    for number, row in enumerate(rows(file), 1):
        name = str(pick(row, ["id"], file, number))
        if name in seen:
            raise BadData(f"{file}, row {number}: the id {name} stands twice")
        seen.add(name)
        letter = _letter(row, file, number, mode)
        if letter is None and mode == "lenient":
            found.unscored[name if alone else f"{file.stem}/{name}"] = "no choice can be read"
            continue
        if letter is None and (letter := text(row.get("pred_indexs"))):
            drawn += 1
        unread += not letter
        own = parts(name.split("/")[-1], {"category": row.get("subject", "")})
        own = (text(row["setting"]), *own) if "setting" in row else own
        right = letter == text(pick(row, ["answer"], file, number))
        found.marks[name if alone else f"{file.stem}/{name}"] = float(right)
        marks.append(Judged(right, own, name))
    if drawn:
        found.notes.append(
            f"{file.name}: {drawn:,} letters were drawn by the authors' code; its draws stand in the file"
        )
    noted(
        unread, found, f"{file.name}: as one draw more, whose seed is not known; here they are wrong" if unread else ""
    )
    return marks


def _letter(row: Row, file: Path, number: int, mode: str) -> str | None:
    said = pick(row, SAID, file, number)
    answer, options = "" if isinstance(said, Mapping) else text(said), _options(row)
    return choice_pro(answer, options) if mode == "official" else read_letter(answer, options)
