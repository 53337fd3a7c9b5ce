"""MMMU-Pro: MMMU's harder half with up to ten options, the question in text (standard) or in the picture (vision)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from isthmus.errors import BadData
from isthmus.evaluate.benchmarks._choices import noted
from isthmus.evaluate.benchmarks._choices import read as read_letter
from isthmus.evaluate.benchmarks._mmmu import choice_pro
from isthmus.evaluate.benchmarks._rows import Judged, accuracies, slug, text
from isthmus.evaluate.benchmarks.mmmu import SAID, _options, parts
from isthmus.evaluate.files import Row, pick, rows
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


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Accuracy over all questions, in each domain and subject; of several files, for each under its name."""
    found = Scored()
    files = sorted(predictions.glob("*.jsonl")) if predictions.is_dir() else [predictions]
    if not files:
        raise BadData(f"{predictions}: no file .jsonl in this folder")
    for file in files:
        marks = _judged(file, mode, found)
        for name, figure in accuracies(marks).items():
            found.add({name: figure}, slug(file.stem) if len(files) > 1 else "")
    return found


def _judged(file: Path, mode: str, found: Scored) -> list[Judged]:
    marks, drawn, unread, seen = [], 0, 0, set()
    for number, row in enumerate(rows(file), 1):
        name = str(pick(row, ["id"], file, number))
        if name in seen:
            raise BadData(f"{file}, row {number}: the id {name} stands twice")
        seen.add(name)
        letter = _letter(row, file, number, mode)
        if letter is None and mode == "lenient":
            found.unscored[f"{file.stem}/{name}"] = "no choice can be read"
            continue
        if letter is None and (letter := text(row.get("pred_indexs"))):
            drawn += 1
        unread += not letter
        own = parts(name, {"category": row.get("subject", "")})
        marks.append(Judged(letter == text(pick(row, ["answer"], file, number)), own, name))
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
