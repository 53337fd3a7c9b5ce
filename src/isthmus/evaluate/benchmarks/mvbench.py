"""MVBench: multiple-choice questions about short videos, twenty tasks that one frame does not solve."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

from isthmus.errors import BadData, BadMedia
from isthmus.evaluate import keys
from isthmus.evaluate.benchmarks._asked import amount, have
from isthmus.evaluate.benchmarks._choices import read as read_letter
from isthmus.evaluate.benchmarks._rows import IDS, SAID, Judged, accuracies, macro, slug, table, text
from isthmus.evaluate.files import SHEETS, TABLES, Row, document, folder, matched, pick
from isthmus.evaluate.questions import Question, inside
from isthmus.evaluate.scored import Scored
from isthmus.types import Image, Video

if TYPE_CHECKING:
    from isthmus.media.forms import Clip

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
DATA = {
    "json/*.json": "action_sequence.json and so on, a file for each task; those that are there are asked",
    "video": "the folder of videos: star, clevrer and so on, as their archives unpack; for tvqa folders of frames",
}
GET = "huggingface.co/datasets/OpenGVLab/MVBench, with video/*.zip unpacked there (NTU's videos come from NTU)"
HEADLINE = "average"
SYSTEM = (
    "Carefully watch the video and pay attention to the cause and sequence of events, the detail and movement of "
    "objects, and the action and pose of persons. Based on your observations, select the best option that accurately "
    "addresses the question."
)
ENDING = "Only give the best option."  # the authors moreover begin the answer for the model: "Best option:("
SOURCES = {  # where each task's videos lie below the folder of videos
    "action_sequence": "star", "action_prediction": "star", "action_antonym": "ssv2_video",
    "fine_grained_action": "Moments_in_Time_Raw", "unexpected_action": "FunQA_test", "object_existence": "clevrer",
    "object_interaction": "star", "object_shuffle": "perception", "moving_direction": "clevrer",
    "action_localization": "sta", "scene_transition": "scene_qa", "action_count": "perception",
    "moving_count": "clevrer", "moving_attribute": "clevrer", "state_change": "perception",
    "fine_grained_pose": "nturgbd", "character_order": "perception", "egocentric_navigation": "vlnqa",
    "episodic_reasoning": "tvqa", "counterfactual_inference": "clevrer",
}  # fmt: skip
RATE = 3  # frames a second of the folders of frames
TRUTH = keys.truths("gt", "answer", "truth", "target")


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
        found.marks[name] = float(right)
        marks.append(Judged(right, (slug(_task(row)),), text(row.get("video") or row.get("video_path")) or name))
    if empty:
        found.notes.append(f"{empty:,} answers begin with no word; the official rule counts them right")
    found.add({"average": macro(marks)} if marks else {})
    found.add(accuracies(marks))
    return found


def questions(folder: Path) -> Sequence[Question]:
    """The questions of each task whose file is there, as the authors ask them, of the seconds that they name."""
    files = sorted(file for file in folder.rglob("*.json") if file.stem in SOURCES)
    if not files:
        raise BadData(f"{folder}: no action_sequence.json or another task's file in this folder")
    clips: dict[str, dict[str, list[Path]]] = {}
    found = []
    for file in files:
        source = SOURCES[file.stem]
        if source not in clips:
            clips[source] = _clips(folder / "video", source)
        for number, row in enumerate(table(file)):
            have(row, ("video", "question", "answer"), file, number + 1, ["candidates"])
            name = f"{file.stem}_{number}"
            start, end = (None if row.get(key) is None else amount(row, key, name) for key in ("start", "end"))
            path = _clip(text(row["video"]), clips[source], folder / "video" / source, name)
            options, told = tuple(map(str, row["candidates"])), str(row["answer"])
            row = {"id": name, "task_type": file.stem} | {key: row[key] for key in ("video", "question", "candidates")}
            found.append(
                Question(
                    *(name, f"{SYSTEM}\nQuestion: {row['question']}\nOptions:"),
                    (Video(Frames(path) if path.is_dir() else path, start=start, end=end),),
                    options=options, after=ENDING, truth=_letter(told, options, name), parts=(file.stem,),
                    image=text(row["video"]), row=row | {"answer": told}, form="({}) {}",
                )
            )  # fmt: skip
    return found


@dataclass(frozen=True)
class Frames:
    """A clip that is a folder of pictures in order, `RATE` a second."""

    folder: Path

    def __call__(self) -> Clip:
        """The clip. Raises `BadMedia` for an empty folder, and pictures of several sizes."""
        import numpy as np

        from isthmus.media import load
        from isthmus.media.forms import Clip

        frames = [np.asarray(load(Image(path))) for path in sorted(self.folder.glob("*.jpg"))]
        if len({frame.shape for frame in frames}) != 1:
            raise BadMedia(f"{self.folder}: {len(frames)} pictures *.jpg, not some of one size")
        return Clip(np.stack(frames), np.arange(len(frames)) / RATE)


def _clips(videos: Path, source: str) -> dict[str, list[Path]]:
    """The videos of a source by name, and its folders of frames, however its archive was unpacked."""
    found: dict[str, list[Path]] = {}
    for place in (videos / source, videos / "data0613"):
        for path in sorted(place.rglob("*")):
            found.setdefault(path.name, []).append(path)
    return found


def _clip(video: str, clips: Mapping[str, list[Path]], place: Path, name: str) -> Path:
    """The file of a video, or the folder of its frames."""
    for path in clips.get(Path(video).name, ()):
        if path.as_posix().endswith(f"/{video.strip('/')}") and (path.is_file() or any(path.glob("*.jpg"))):
            return path
    return inside(place, [video.strip("/")], f"question {name}")  # which is not there


def _letter(answer: str, options: Sequence[str], name: str) -> str:
    if answer not in options:
        raise BadData(f"question {name}: the answer {answer!r} is none of the candidates")
    return ascii_uppercase[options.index(answer)]


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
        names = [text(next((row[key] for key in IDS if key in row), i)) for i, row in enumerate(rows, 1)]
        names = names if len(set(names)) == len(names) else [str(i) for i in range(1, len(rows) + 1)]
        told = (text(pick(row, keys, path, i)) for i, row in enumerate(rows, 1))
        return list(zip(names, rows, told, strict=True))
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
