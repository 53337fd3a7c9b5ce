"""MME: two yes/no questions to a picture, one of which is true; ten subtasks of perception, four of cognition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from isthmus.errors import BadData
from isthmus.evaluate.benchmarks._asked import have, hubs, shown, somewhere
from isthmus.evaluate.benchmarks._choices import yes_or_no
from isthmus.evaluate.benchmarks._rows import SAID, TRUTH, slug, table, text
from isthmus.evaluate.benchmarks.pope import read
from isthmus.evaluate.files import Row, flat, of_kit, pick, rows
from isthmus.evaluate.questions import Question
from isthmus.evaluate.scored import Figure, Floats, Scored, of_sums, over, proportion
from isthmus.types import Image

ABOUT = "perception and cognition in pairs of yes/no questions, in points: 2000 and 800 at most"
SOURCE = "Fu et al., 2023, arXiv:2306.13394; eval_tool of github.com/BradyFU/Awesome-Multimodal-Large-Language-Models"
PREDICTIONS = {
    "the folder of the eval_tool, a file for each subtask: picture, question, truth, answer": (
        "000000006040.jpg\tIs there an elephant in this image? Please answer yes or no.\tYes\tyes"
    ),
    "a sheet or JSON lines with the truth": (
        '{"category": "OCR", "image_path": "1.jpg", "question": "...", "answer": "Yes", "prediction": "yes"}'
    ),
    "LLaVA's answers": '{"question_id": "code_reasoning/0020.png", "prompt": "Is a python code shown?", "text": "Yes"}',
}
REFERENCES = {
    "a folder of the eval_tool's files, its Your_Results or any model's": (
        "existence.txt: 000000006040.jpg\tIs there an elephant in this image? Please answer yes or no.\tYes"
    ),
    "MME_Benchmark_release_version, a folder for each subtask": (
        "artwork/questions_answers_YN/10002.txt: Does this artwork belong to the type of still-life? ...\tNo"
    ),
    "a sheet or JSON lines": '{"category": "OCR", "image_path": "1.jpg", "question": "...", "answer": "Yes"}',
}
INSIDE = True
DATA = {
    "artwork/questions_answers_YN": "the folders of MME_Benchmark_release_version, one for each subtask, with images/",
    "existence/*.txt": "those where questions and pictures lie together",
    "*.tsv": "or MME.tsv of VLMEvalKit, with the pictures in base64",
    "data/*.parquet": "or rows with question_id, question, answer, category and image",
}
GET = "github.com/BradyFU/Awesome-Multimodal-Large-Language-Models, branch Evaluation (on request), or lmms-lab/MME"
HUB = "lmms-lab/MME"
HEADLINE = "total"
ENDS = (".jpg", ".png", ".jpeg")
TASKS = {
    "perception": (
        "existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "OCR",
    ),
    "cognition": ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning"),
}  # fmt: skip
SPELLED = {"ocr": "OCR"}  # a subtask that some write otherwise
ENDINGS = ("Answer the question using a single word or phrase.", "Please answer yes or no.")
COLUMNS = ("image", "question", "answer", "prediction")


class Read(NamedTuple):
    """One question: its subtask, its picture, whether it was answered rightly."""

    task: str
    image: str
    right: bool


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Each subtask's accuracy, accuracy+ and score, and the sums of the scores."""
    found = Scored()
    some = _read(_asked(predictions, references, found), mode, found)
    tasks = {task: [one for one in some if one.task == task] for task in dict.fromkeys(one.task for one in some)}
    for group, names in TASKS.items():
        if own := [name for name in names if name in tasks]:
            found.add({group: _points([one for name in own for one in tasks[name]])})
            if len(own) < len(names):
                missing = ", ".join(name for name in names if name not in tasks)
                found.notes.append(f"{group} is the sum without {missing}")
    found.add({"total": _points(some)} if some else {})
    for task, own_ in tasks.items():
        found.add(_figures(own_), slug(task))
    if odd := sum(count != 2 for count in Counter(one.image for one in some).values()):
        found.notes.append(
            f"{odd:,} pictures have not two questions; accuracy_plus asks for all of a picture to be right"
        )
    return found


def questions(folder: Path) -> Sequence[Question]:
    """Both questions of each picture in the authors' words, which end with "Please answer yes or no."."""
    found = []
    for row, media in _held(folder):
        task, image, name = row["task"], row["image"], row["question"].strip()
        kept = {"category": task, "image_path": image, "question": name, "answer": row["truth"].capitalize()}
        group = next((group for group, names in TASKS.items() if task in names), "")
        parts = tuple(part for part in (group, slug(task)) if part)
        told = Question(f"{task}/{image}: {name}", name, (media,), ("Yes", "No"), False, "", kept["answer"], parts)
        found.append(replace(told, image=f"{task}/{image}", row=kept))
    return found


def _held(folder: Path) -> Iterator[tuple[Row, Image]]:
    """Each question of the authors' folder, or else of a table, with its picture."""
    tables = sorted(folder.glob("*.tsv"))
    files = [file for file in sorted(folder.rglob("*.txt")) if file.parent != folder and _holds(file)]
    for file in files if not tables else ():
        own = file.parent.parent if file.parent.name == "questions_answers_YN" else file.parent
        for row in _lines(file):
            names = [f"{place}{row['image']}{end}" for place in ("images/", "") for end in ENDS]
            media = somewhere(own, names, f"{row['task']}/{file.name}")
            yield row | {"image": Path(str(media.source)).name}, media
    if files and not tables:
        return
    held = rows(tables[0]) if tables else hubs(folder, "test")
    for number, row in enumerate(held, 1):
        have(row, ("question", "answer", "category", "image"), tables[0] if tables else folder, number)
        name = text(row.get("image_path") or row.get("question_id") or row.get("index", number))
        told = {key: cell for key, cell in row.items() if key != "image"} | {"image": name}
        own_ = _row(told, folder, number, answers=False)
        own_["image"] = Path(name).name
        yield own_, shown(row["image"], folder, f"question {number}")


def _holds(file: Path) -> bool:
    """Whether each line of a file is a question and its truth, by a tab."""
    try:
        told = [line for line in file.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    except UnicodeDecodeError:
        return False
    return bool(told) and all(line.count("\t") == 1 for line in told)


def said(answer: str) -> str:
    """The official reading: yes or no, or else what stands in the first four characters, yes before no.

    >>> said("Yes"), said("No, it is not."), said("The answer is yes"), said("Not yes")
    ('yes', 'no', 'other', 'no')
    """
    start = answer.lower()[:4]
    return "yes" if "yes" in start else "no" if "no" in start else "other"


def _figures(some: Sequence[Read]) -> dict[str, Figure]:
    pairs: dict[str, list[bool]] = {}
    for one in some:
        pairs.setdefault(one.image, []).append(one.right)
    return {
        "score": _points(some),
        "accuracy": proportion((one.right for one in some), (one.image for one in some)),
        "accuracy_plus": proportion(all(rights) for rights in pairs.values()),
    }


def _points(some: Sequence[Read]) -> Figure:
    """The sum over subtasks of 100 x accuracy + 100 x accuracy+, pictures drawn anew for the interval."""
    place = {task: i for i, task in enumerate(dict.fromkeys(one.task for one in some))}
    sums: dict[tuple[str, str], Floats] = {}
    for one in some:
        row = sums.setdefault((one.task, one.image), np.zeros((len(place), 2)))
        row[place[one.task]] += (one.right, 1)
    counts_KT4 = np.stack([np.stack([*own.T, own[:, 0] == own[:, 1], own[:, 1] > 0], 1) for own in sums.values()])
    counts_KT4[..., 2] *= counts_KT4[..., 3]  # a subtask that a picture is not of has none right of none

    def points(sums: Floats) -> Floats:
        each = sums.reshape(*sums.shape[:-1], len(place), 4)
        shares = over(each[..., 0], each[..., 1]) + over(each[..., 2], each[..., 3])
        return np.asarray(100 * shares.sum(-1))

    return of_sums(points, counts_KT4.reshape(len(counts_KT4), -1), n=len(some))


def _read(rows: Sequence[Row], mode: str, found: Scored) -> list[Read]:
    """The questions, as far as they can be read; one whose partner cannot be read is left out with it."""
    some, other, lost = [], 0, set()
    for row in rows:
        answer, name = row["said"], f"{row['task']}/{row['image']}"
        reading: str | None = said(answer)
        if row.get("kit"):
            yes = yes_or_no(answer)
            reading = "other" if yes is None else "yes" if yes else "no"
        if mode == "lenient":
            yes = read(answer)
            reading = None if yes is None else "yes" if yes else "no"
        if reading is None:
            found.unscored[f"{name}: {row['question']}"] = "neither yes nor no is said"
            lost.add(name)
            continue
        other += reading == "other"
        some.append((name, Read(row["task"], name, reading == row["truth"]), row["question"]))
        found.marks[f"{name}: {row['question']}"] = float(reading == row["truth"])
    if other:
        why = (
            "hold yes and no, or neither (VLMEvalKit's rule)" if rows[0].get("kit") else "begin with neither yes nor no"
        )
        found.notes.append(f"{other:,} answers {why}; the official rule counts them wrong")
    for name, _, question in some:
        if name in lost:
            found.unscored[f"{name}: {question}"] = "the other question of the picture is unscored"
            found.marks.pop(f"{name}: {question}", None)
    return [one for name, one, _ in some if name not in lost]


def _asked(predictions: Path, references: Path | None, found: Scored) -> list[Row]:
    """The answered questions, each with `task`, `image`, `question`, `truth` (yes or no) and `said`."""
    answers = _rows(predictions, answers=True)
    if references is not None:
        truths = {_name(row): row["truth"] for row in _rows(references) if row["truth"]}
        unknown = [row for row in answers if _name(row) not in truths]
        if len(unknown) == len(answers):
            raise BadData(f"{predictions}: no question of it is in {references}; the first is {_name(answers[0])}")
        if unknown:
            found.notes.append(f"{len(unknown):,} answers are to no question of {references} and were left out")
        answers = [row | {"truth": truths[_name(row)]} for row in answers if _name(row) in truths]
        said_ = {_name(row) for row in answers}
        found.unscored |= {"/".join(name): "no prediction" for name in truths if name not in said_}
    seen = set()
    for row in answers:
        if row["truth"] not in ("yes", "no"):
            raise BadData(f"{predictions}: the truth of {row['task']}/{row['image']} is {row['truth']!r}, not yes or no"
                          f"{'' if row['truth'] else '; --references has it'}")  # fmt: skip
        if (name := _name(row)) in seen:
            raise BadData(f"{predictions}: the question {'/'.join(name)} is answered twice")
        seen.add(name)
    return answers


def _name(row: Row) -> tuple[str, str, str]:
    """What tells questions apart: subtask, picture without its ending, question without what prompts add."""
    question = row["question"]
    for ending in ENDINGS:
        question = question.replace(ending, "")
    return row["task"], Path(row["image"]).stem, " ".join(question.split())


def _rows(path: Path, answers: bool = False) -> list[Row]:
    files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
    if not files:
        raise BadData(f"{path}: no file .txt in this folder, as existence.txt")
    if path.suffix == ".txt" or path.is_dir():
        found = [row for file in files for row in _lines(file)]
    else:
        held = [flat(row) for row in table(path)]
        kit = of_kit(path, held)
        found = [_row(row, path, number, answers) | {"kit": kit} for number, row in enumerate(held, 1)]
    if not found:
        raise BadData(f"{path}: no questions in it")
    if answers and not all("said" in row for row in found):
        raise BadData(f"{path}: no answers in it: lines have a picture, a question, the truth and an answer, by tabs")
    return found


def _lines(file: Path) -> list[Row]:
    """A subtask's file, by tabs: picture, question, truth and maybe an answer; or a picture's: question and truth."""
    found = []
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").split("\n"), 1):
        cells = line.strip("\r").split("\t")
        if cells == [""]:
            continue
        if len(cells) == 2:
            folder = file.parent.parent if file.parent.name == "questions_answers_YN" else file.parent
            cells = [file.stem, *cells]
            task = folder.name
        else:
            task = file.stem
        if len(cells) not in (3, 4):
            raise BadData(f"{file}, line {number}: {len(cells)} fields by tabs, not picture, question, truth, answer")
        row = dict(zip(("image", "question", "truth"), cells, strict=False)) | {"task": task}
        found.append(row | {"truth": row["truth"].strip().lower()} | ({"said": cells[3]} if len(cells) == 4 else {}))
    return found


def _row(row: Mapping[str, object], path: Path, number: int, answers: bool) -> Row:
    """A row of a sheet, of JSON lines or of LLaVA's answers, whose ids are `subtask/picture`."""
    name = text(row.get("question_id", row.get("index", "")))
    truth = text(next((row[key] for key in TRUTH if key in row), ""))
    told = row.get("image_path") or row.get("image") or name
    image = text(told if len(str(told)) < 256 else name)
    task = text(row.get("category") or row.get("task") or (name if "/" in name else image).split("/")[0])
    question = text(pick(row, ("question", "prompt") if answers else ("question", "prompt", "text"), path, number))
    found = {"task": SPELLED.get(task, task), "image": image, "question": question, "truth": truth.strip().lower()}
    keys = SAID if "answer" in row and set(SAID) & row.keys() else (*SAID, "answer")
    return found | ({"said": text(pick(row, keys, path, number))} if answers else {})
