"""SEED-Bench: four-way questions about pictures (types 1 to 9) and videos (10 to 12)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from isthmus.errors import BadData
from isthmus.evaluate.benchmarks._asked import amount, have, hubs, objects, shown, somewhere
from isthmus.evaluate.benchmarks._choices import noted, options
from isthmus.evaluate.benchmarks._choices import read as read_letter
from isthmus.evaluate.benchmarks._rows import Asked, Judged, accuracies, asked, slug, text
from isthmus.evaluate.benchmarks.mmbench import judged, marked
from isthmus.evaluate.files import SHEETS, TABLES, Row, document
from isthmus.evaluate.questions import LETTER, Question
from isthmus.evaluate.scored import Scored
from isthmus.types import Image, Medium, Video

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
DATA = {
    "SEED-Bench.json": "the questions",
    "SEED-Bench-image": "the folder of its pictures (types 1 to 9)",
    "v1_video": "the frames of its videos (types 10 to 12), task10/ssv2_8_frame/QUESTION/*.png and so on, or `videos`, "
    "the videos under their `data_id`; without any, the questions about videos are left out",
    "data/*.parquet": "or, in place of all, rows with the pictures (lmms-lab/SEED-Bench)",
}
GET = "huggingface.co/datasets/AILab-CVC/SEED-Bench (SEED-Bench.json, SEED-Bench-image.zip, v1_video.zip)"
HUB = "lmms-lab/SEED-Bench"
HEADLINE = "accuracy"
IMAGES = ("SEED-Bench-image", "seed_bench_image", "images")
FRAMES = {10: "task10/ssv2_8_frame", 11: "task11/kitchen_8_frame", 12: "task12/breakfast_8_frame"}
FRAME_FOLDERS = ("v1_video", "SEED-Bench-video-image")
SHOWN = 8  # frames of a video, as the authors take
RATE = 15  # frames a second of Breakfast's videos, whose segments are in frames
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


def questions(folder: Path) -> Sequence[Question]:
    """The questions as LLaVA-1.5 asks them; the authors rank the options by likelihood."""
    file = folder / "SEED-Bench.json"
    held = objects(file, "questions") if file.is_file() else hubs(folder, "test")
    names = TYPES | (_types(file) if file.is_file() else {})
    watched = any((folder / name).is_dir() for name in (*FRAME_FOLDERS, "videos"))
    found = []
    for number, row in enumerate(held, 1):
        have(row, ("question_id", "question", "answer", "choice_a", "data_type"), file, number)
        kept = {key: value for key, value in row.items() if key not in ("image", "_under")}
        name, kind = text(row["question_id"]), text(row["data_type"])
        if kind == "video" and not watched and "image" not in row:
            continue
        choices = tuple(text(row.get(f"choice_{letter}")) for letter in "abcd" if text(row.get(f"choice_{letter}")))
        own = _parts(Asked(name, "", "", row, ""), names)
        found.append(
            Question(
                *(name, text(row["question"]), _media(row, folder, name, kind), choices, True, LETTER),
                *(text(row["answer"]), own), image=text(row.get("data_id")) or name, row=kept,
            )
        )  # fmt: skip
    return found


def _media(row: Row, folder: Path, name: str, kind: str) -> tuple[Medium, ...]:
    """A picture, or a video or its frames."""
    where, data = f"question {name}", text(row.get("data_id"))
    if cells := row.get("image"):
        return tuple(shown(cell, folder, where) for cell in (cells if isinstance(cells, list) else [cells]))
    if kind != "video":
        return (somewhere(folder, [f"{own}/{data}{end}" for own in IMAGES for end in ("", ".png", ".jpg")], where),)
    number = int(amount(row, "question_type_id", where))
    if (path := folder / "videos" / data).is_file():
        told = row.get("segment")
        ends = [float(at) for at in told if isinstance(at, int | float)] if isinstance(told, list) else []
        if told is not None and len(ends) != 2:
            raise BadData(f"{where}: its segment is {told!r}, not where it begins and ends")
        start, end = (at / (RATE if number == 12 else 1) for at in ends or (0.0, 0.0))
        return (Video(path, frames=SHOWN, start=start, end=end) if end else Video(path, frames=SHOWN),)
    for own in FRAME_FOLDERS:
        if frames := sorted(
            (folder / own / FRAMES.get(number, "") / name).glob("*.png"), key=lambda f: _number(f.stem)
        ):
            return tuple(Image(frame) for frame in frames)
    return (Video(path, frames=SHOWN),)  # which is not there, and no frames of it are


def _number(name: str) -> tuple[int, str]:
    return (int(name) if name.isdecimal() else 0, name)


def _hits(some: Sequence[Asked], mode: str, found: Scored) -> dict[str, bool]:
    """Whether each answer is right: exactly the letter, with nothing around it, in official mode."""
    letters = {one.id: one.said if mode == "official" else read_letter(one.said, _options(one)) for one in some}
    for one in some:
        if letters[one.id] is None:
            found.unscored[one.id] = "no option can be read" if one.said.strip() else "no prediction"
    noted(sum(letter not in (*"ABCD", None) for letter in letters.values()), found)
    return marked({one.id: letters[one.id] == one.truth for one in some if letters[one.id] is not None}, found)


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
