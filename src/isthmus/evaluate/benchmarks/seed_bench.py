"""SEED-Bench: four-way questions about pictures (types 1 to 9) and videos (10 to 12)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from isthmus.evaluate.benchmarks._choices import noted, options
from isthmus.evaluate.benchmarks._choices import read as read_letter
from isthmus.evaluate.benchmarks._rows import Asked, Judged, accuracies, asked, slug, text
from isthmus.evaluate.benchmarks.mmbench import judged
from isthmus.evaluate.files import SHEETS, TABLES, document
from isthmus.evaluate.scored import Scored

ABOUT = "nine types of questions about pictures and three about videos"
SOURCE = "Li et al., 2023, arXiv:2307.16125; eval.py of github.com/AILab-CVC/SEED-Bench"
PREDICTIONS = {
    "LLaVA's answers, or those for the leaderboard": '{"question_id": "101669", "prediction": "A"}',
    "the authors' results, with the truth": '{"q_id": "101669", "prediction": "A", "gt": "B", "q_type_id": 1}',
    "a sheet of VLMEvalKit (XLSX, TSV, CSV)": "index\tquestion\tA\tB\tC\tD\tanswer\tcategory\tprediction",
}
REFERENCES = {
    "SEED-Bench.json": (
        '{"question_type": {"Scene Understanding": 1}, "questions": [{"question_id": "101669", "answer": "A", '
        '"data_type": "image", "question_type_id": 1, "data_id": "1454426_2591111986"}]}'
    ),
}
INSIDE = True
TYPES = {
    1: "Scene Understanding", 2: "Instance Identity", 3: "Instance Attributes", 4: "Instance Location",
    5: "Instances Counting", 6: "Spatial Relation", 7: "Instance Interaction", 8: "Visual Reasoning",
    9: "Text Understanding", 10: "Action Recognition", 11: "Action Prediction", 12: "Procedure Understanding",
}  # fmt: skip


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Accuracy over all questions, over pictures, over videos and for each type of question."""
    found = Scored()
    names = TYPES | _types(references or predictions)
    some = asked(predictions, references, found)
    kit = predictions.suffix.lower() in (*SHEETS, *TABLES) or any(options(one.row) for one in some)
    hits = (judged if kit else _hits)(some, mode, found)
    images = {one.id: text(one.row.get("data_id")) or one.image for one in some}
    found.add(accuracies([Judged(hits[one.id], _parts(one, names), images[one.id]) for one in some if one.id in hits]))
    rank = {slug(name): number for number, name in names.items()} | {"accuracy": -3, "image": -2, "video": -1}
    order = {name: rank.get(name.split("/")[0], len(rank)) for name in found.metrics}
    found.metrics = dict(sorted(found.metrics.items(), key=lambda item: order[item[0]]))
    return found


def _hits(some: Sequence[Asked], mode: str, found: Scored) -> dict[str, bool]:
    """Whether each answer is right: exactly the letter, with nothing around it, in official mode."""
    letters = {one.id: one.said if mode == "official" else read_letter(one.said, _options(one)) for one in some}
    for one in some:
        if letters[one.id] is None:
            found.unscored[one.id] = "no option can be read" if one.said.strip() else "no prediction"
    noted(sum(letter not in (*"ABCD", None) for letter in letters.values()), found)
    return {one.id: letters[one.id] == one.truth for one in some if letters[one.id] is not None}


def _types(path: Path) -> dict[int, str]:
    """The names of the types of questions, where a file has them."""
    if path.is_dir() or path.suffix.lower() in (*SHEETS, *TABLES):
        return {}
    held = document(path)
    named = held.get("question_type") if isinstance(held, dict) else None
    pairs = named.items() if isinstance(named, dict) else ()
    return {int(number): str(name) for name, number in pairs if str(number).isdecimal()}


def _parts(one: Asked, names: dict[int, str]) -> tuple[str, ...]:
    """Whether a question is about a picture or a video, and its type."""
    told = text(one.row.get("question_type_id") or one.row.get("q_type_id"))
    number = int(told) if told.isdecimal() else 0
    kind = text(one.row.get("data_type")) or ("" if not 1 <= number <= 12 else "image" if number < 10 else "video")
    name = names.get(number) or text(one.row.get("category"))
    return tuple(slug(part) for part in (kind.replace("Image", "image").lower(), name) if part)


def _options(one: Asked) -> dict[str, str]:
    own = {letter: text(one.row.get(f"choice_{letter.lower()}")) for letter in "ABCD"}
    return own if any(own.values()) else options(one.row) or own
