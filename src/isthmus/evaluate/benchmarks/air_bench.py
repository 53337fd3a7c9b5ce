"""AIR-Bench: sound and speech; chat answers that a judge marks, and choices among up to four."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from isthmus.errors import BadData
from isthmus.evaluate.answers import judged, records, slug, text
from isthmus.evaluate.benchmarks._asked import Answered, have
from isthmus.evaluate.benchmarks._asked_media import told
from isthmus.evaluate.benchmarks._parts import Value, add
from isthmus.evaluate.files import Row
from isthmus.evaluate.questions import LETTERS, Question, inside
from isthmus.evaluate.scored import Figure, Scored, macro_mean, mean, proportion
from isthmus.types import Audio

ABOUT = "speech, sound and music: open answers that a judge marks from 1 to 10 (chat), and choices (foundation)"
SOURCE = "Yang et al., 2024, arXiv:2402.07729; cal_score.py and score_foundation.py of github.com/OFA-Sys/AIR-Bench"
PREDICTIONS = {
    "chat: the judge's marks, chat_score.json; with chat_score_cir.json (answers the other way round) as a folder": (
        '{"task_name": "speech_QA", "gpt-score": "9 7"}'
    ),
    "foundation: Foundation_result_modelx.jsonl": (
        '{"task_name": "Music_Genre_Recognition", "dataset_name": "fma", "response": "A", "answer_gt": "Rock",'
        ' "choice_a": "Rock", "choice_b": "Jazz"}'
    ),
}
REFERENCES: dict[str, str] = {}
DATA = {
    "Foundation/Foundation_meta.json": "choices, beside folders of sounds: Music_Genre_Recognition_fma and so on",
    "Chat/Chat_meta.json": "open questions, likewise; what is there of both is asked",
}
GET = "huggingface.co/datasets/qyang1021/AIR-Bench-Dataset"
HUB = "qyang1021/AIR-Bench-Dataset"
HEADLINE = "accuracy"
JUDGED_FIGURES = ("reference_score",)  # those of the open answers
FOUNDATION, CHAT = "foundation", "chat"
OPEN = "chat.jsonl"  # the open answers, for a judge
CHOOSE = (
    "Choose the most suitable answer from options A, B, C, and D to respond the question in next line, you may only "
    "choose A or B or C or D."
)
LONGEST = 512  # tokens of an open answer
CHOICES = ("choice_a", "choice_b", "choice_c", "choice_d")
KEPT = ("uniq_id", "path", "task_name", "dataset_name", "question", "answer_gt", *CHOICES, "meta_info")
GROUPS = {
    "speech": ("speech_qa", "speech_dialogue_qa"),
    "sound": ("sound_qa", "sound_generation_qa"),
    "music": ("music_qa", "music_generation_analysis_qa"),
    "speech_and_sound": ("speech_and_sound_qa",),
    "speech_and_music": ("speech_and_music_qa",),
}
MIXED = ("speech_and_sound", "speech_and_music")
JUDGED = ("gpt-score", "gpt_score", "gen")


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Of chat the mean marks and the share of wins for each kind of sound; of choices the accuracy of each task."""
    del references
    marked = Scored()
    rows = judged(records(predictions), marked)
    chosen = [row for row in rows if "choice_a" in row]
    spoken = [row for row in rows if "choice_a" not in row]
    marks = any(key in row for row in spoken for key in JUDGED)
    if not chosen and not marks and not any("response" in row for row in spoken):
        raise BadData(f"{predictions}: rows have neither gpt-score (chat, judged) nor choice_a (foundation)")
    found = _choices(chosen, predictions, mode) if chosen else Scored()
    found.unscored |= {f"{CHAT}/{name}": why for name, why in marked.unscored.items()}
    if marks:
        _chat(spoken, "cir" in predictions.stem, found)
    else:
        file = predictions.with_name(OPEN)
        why = f"not judged yet: isthmus judge air-bench --answers {file if file.exists() else predictions}"
        found.unscored |= {_id(row, CHAT, number): why for number, row in enumerate(spoken, 1)}
    return found


def questions(folder: Path) -> Sequence[Question]:
    """Choices and open questions as the authors ask them; of options those that there are, where they write None."""
    found = []
    for part, name in ((FOUNDATION, "Foundation"), (CHAT, "Chat")):
        for file in [
            own for own in (folder / name / f"{name}_meta.json", folder / f"{name}_meta.json") if own.is_file()
        ]:
            for number, row in enumerate(records(file), 1):
                have(row, ("path", "task_name", "dataset_name", "question", "answer_gt", "uniq_id"), file, number)
                found.append(_question(part, row, file.parent, number))
    if not found:
        raise BadData(f"{folder}: neither Foundation/Foundation_meta.json nor Chat/Chat_meta.json in this folder")
    return found


def write(folder: Path, out: Path, answered: Answered) -> Path:
    """Rows as the authors' own scripts write them, and those of chat alone for a judge."""
    rows = told(out, answered, "response")
    if chat := [(own, answer) for own, answer in answered if not own.options]:
        told(out, chat, "response", OPEN)
    return rows


def _question(part: str, row: Row, folder: Path, number: int) -> Question:
    name, task = _id(row, part, number), slug(row["task_name"])
    file = text(row["path"])
    if row["task_name"] == "Audio_Grounding":
        file = file[:-3] + "flac"  # as the authors read it, whatever the questions say
    place = f"{row['task_name']}_{row['dataset_name']}"
    sound = Audio(inside(folder, [f"{place}/{file}", f"{place}/{text(row['path'])}"], f"question {name}"))
    kept = {key: row[key] for key in KEPT if key in row}
    asked, image = text(row["question"]), text(row["path"])
    if part == CHAT:
        truth = text(row["answer_gt"])
        return Question(name, asked, (sound,), truth=truth, parts=(task,), image=image, row=kept, longest=LONGEST)
    options = tuple(text(row[key]) for key in CHOICES if key in row)
    if text(row["answer_gt"]) not in options:
        raise BadData(f"question {name}: the answer {row['answer_gt']!r} is none of its choices")
    truth = LETTERS[options.index(text(row["answer_gt"]))]
    return Question(
        *(name, f"{CHOOSE}\n{asked}", (sound,), options), truth=truth, image=image, row=kept,
        parts=(task, f"{task}_{slug(row['dataset_name'])}"),
    )  # fmt: skip


def _id(row: Row, part: str, number: int) -> str:
    """A question's own number in its part, else the row's."""
    return f"{part}/{text(row['uniq_id'])}" if "uniq_id" in row else f"{number}/{slug(row.get('task_name', part))}"


def _chat(rows: Sequence[Row], turned: bool, found: Scored) -> None:
    """score is the mean over speech, sound, music and mixed sound, as in the paper, of marks from 1 to 10."""
    marks: dict[str, list[tuple[float, float]]] = {name: [] for name in GROUPS}
    of_answer: dict[str, list[float]] = {}
    kind_of = {task: kind for kind, tasks in GROUPS.items() for task in tasks}
    for number, row in enumerate(rows, 1):
        kind = kind_of.get(str(row.get("task_name", "")).lower())
        if kind is None:
            raise BadData(f"row {number}: the task_name {row.get('task_name')!r} is none of {', '.join(kind_of)}")
        two = _marks(next((str(row[key]) for key in JUDGED if key in row), ""))
        if two is None:
            found.unscored[_id(row, CHAT, number)] = "the judge's two marks cannot be read"
            continue
        marks[kind].append(two[::-1] if turned or "cir" in str(row.get("_file", "")) else two)
        of_answer.setdefault(_id(row, CHAT, number), []).append(marks[kind][-1][1] / 10)
    found.marks |= {name: float(np.mean(some)) for name, some in of_answer.items()}  # of both orders, where there are
    marks["mixed_audio"] = [two for name in MIXED for two in marks[name]]
    main = [marks[name] for name in ("speech", "sound", "music", "mixed_audio") if marks[name]]
    if not main:
        raise BadData("no row has the judge's two marks")
    found.add({"score": _macro(main, 1), "reference_score": _macro(main, 0)})
    for name, own in marks.items():
        if own:
            found.add(
                {
                    "score": mean([model for _, model in own]),
                    "reference_score": mean([reference for reference, _ in own]),
                    "win_rate": proportion(model > reference for reference, model in own),
                },
                name,
            )


def _macro(groups: Sequence[Sequence[tuple[float, float]]], side: int) -> Figure:
    """The mean of the groups' means, with an interval over all marks."""
    marks = [(two[side], g) for g, group in enumerate(groups) for two in group]
    return macro_mean(*zip(*marks, strict=True))


def _marks(said: str) -> tuple[int, int] | None:
    """The judge's two whole marks, alone on their line, as the reference reads them; None for anything else.

    >>> _marks("9 7\\n"), _marks("9.5 7"), _marks("Assistant 1: 9")
    ((9, 7), None, None)
    """
    parts = said.strip().replace("\n", "").split(" ")
    try:
        one, other = (int(part) for part in parts)
    except ValueError:
        return None
    return (one, other) if one <= 10 and other <= 10 else None


def _choices(rows: Sequence[Row], path: Path, mode: str) -> Scored:
    """Accuracy over what can be read: answers that name no letter are left out, as the reference does."""
    found = Scored()
    values = []
    for number, row in enumerate(rows, 1):
        task, data = slug(row.get("task_name", "")), slug(row.get("dataset_name", ""))
        said = letter(text(row.get("response", "")), mode)
        if said is None:
            found.unscored[_id(row, FOUNDATION, number)] = "no letter is said"
            continue
        truth = next((x for x in "abcd" if f"choice_{x}" in row and row[f"choice_{x}"] == row.get("answer_gt")), None)
        if truth is None:
            raise BadData(f"{path}, row {number}: answer_gt {row.get('answer_gt')!r} is none of the choices")
        own = (task, f"{task}_{data}")
        name = _id(row, FOUNDATION, number)
        values.append(Value(float(said == truth.upper()), text(row.get("path", number)), own, name))
    if values:
        add(found, "accuracy", values)
    return found


def letter(response: str, mode: str) -> str | None:
    """The choice: the first letter or the last but one if A to D, so that "Certainly" is C; in lenient mode a word.

    >>> letter("B", "official"), letter("The answer is A.", "official"), letter("Certainly", "official")
    ('B', 'A', 'C')
    >>> letter("(b) Jazz", "official"), letter("(B) Jazz", "lenient"), letter("Certainly", "lenient")
    (None, 'B', None)
    """
    said = response.strip().replace("\n", "")
    if mode != "official":
        words = said.replace("(", " ").replace(")", " ").replace(".", " ").replace(":", " ").split()
        return next((word for word in words if word in ("B", "C", "D") or (word == "A" and len(words) != 1)), None) or (
            said if said in ("A", "B", "C", "D") else None
        )
    if not said or said == "None":
        return None
    if said[0] in "ABCD":
        return said[0]
    return said[-2] if len(said) > 1 and said[-2] in "ABCD" else None
