"""AIR-Bench: sound and speech; chat answers that a judge marks, and choices among up to four."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from isthmus.errors import BadData
from isthmus.evaluate.answers import records, slug, text
from isthmus.evaluate.benchmarks._parts import Value, add
from isthmus.evaluate.files import Row
from isthmus.evaluate.scored import Figure, Floats, Scored, mean, of_sums, proportion

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
    rows = records(predictions)
    turned = "cir" in predictions.stem
    if any(key in row for row in rows for key in JUDGED):
        return _chat(rows, turned)
    if any("choice_a" in row for row in rows):
        return _choices(rows, predictions, mode)
    raise BadData(f"{predictions}: rows have neither gpt-score (chat, judged) nor choice_a (foundation)")


def _chat(rows: Sequence[Row], turned: bool) -> Scored:
    """score is the mean over speech, sound, music and mixed sound, as in the paper, of marks from 1 to 10."""
    found = Scored()
    marks: dict[str, list[tuple[float, float]]] = {name: [] for name in GROUPS}
    kind_of = {task: kind for kind, tasks in GROUPS.items() for task in tasks}
    for number, row in enumerate(rows, 1):
        kind = kind_of.get(str(row.get("task_name", "")).lower())
        if kind is None:
            raise BadData(f"row {number}: the task_name {row.get('task_name')!r} is none of {', '.join(kind_of)}")
        two = _marks(next((str(row[key]) for key in JUDGED if key in row), ""))
        if two is None:
            found.unscored[f"{number}/{kind}"] = "the judge's two marks cannot be read"
            continue
        marks[kind].append(two[::-1] if turned or "cir" in str(row.get("_file", "")) else two)
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
    return found


def _macro(groups: Sequence[Sequence[tuple[float, float]]], side: int) -> Figure:
    """The mean of the groups' means, with an interval over all marks."""
    width = len(groups)
    sums = np.zeros((sum(map(len, groups)), 2 * width))
    place = 0
    for g, group in enumerate(groups):
        sums[place : place + len(group), g] = [two[side] for two in group]
        sums[place : place + len(group), width + g] = 1
        place += len(group)

    def statistic(s: Floats) -> Floats:
        return np.asarray((s[..., :width] / s[..., width:]).mean(-1))

    return of_sums(statistic, sums)


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
            found.unscored[f"{number}/{task}"] = "no letter is said"
            continue
        truth = next((x for x in "abcd" if f"choice_{x}" in row and row[f"choice_{x}"] == row.get("answer_gt")), None)
        if truth is None:
            raise BadData(f"{path}, row {number}: answer_gt {row.get('answer_gt')!r} is none of the choices")
        values.append(Value(float(said == truth.upper()), text(row.get("path", number)), (task, f"{task}_{data}")))
    if not values:
        raise BadData(f"{path}: no response in it names a letter")
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
