"""ScienceQA: multiple-choice science questions of school, about half of them with a picture."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isthmus.errors import BadData
from isthmus.evaluate.benchmarks._asked import have, hubs, shown, somewhere
from isthmus.evaluate.benchmarks._choices import noted, options
from isthmus.evaluate.benchmarks._choices import read as read_letter
from isthmus.evaluate.benchmarks._rows import IDS, SAID, Judged, accuracies, asked, table, text
from isthmus.evaluate.benchmarks.mmbench import judged, marked, parts
from isthmus.evaluate.files import SHEETS, TABLES, Row, document, identity, matched, pick, rows
from isthmus.evaluate.questions import LETTER, Question
from isthmus.evaluate.scored import Scored

ABOUT = "science questions of school, with and without pictures; `img` is what LLaVA and others report"
SOURCE = "Lu et al., 2022, arXiv:2209.09513; letters as read by eval_science_qa.py of github.com/haotian-liu/LLaVA"
PREDICTIONS = {
    "LLaVA's answers": '{"question_id": "4", "prompt": "<image>\\nWhich...", "text": "B"}',
    "the authors' results, or LLaVA's": '{"acc": 74.4, "results": {"4": 1, "5": 0}, "outputs": {"4": "B"}}',
    "LLaVA's judged answers, which need no references": (
        '{"correct": [{"question_id": "4", "parsed_ans": "B", "ground_truth": "B", "is_multimodal": true}], '
        '"incorrect": []}'
    ),
    "a sheet of VLMEvalKit (XLSX, TSV, CSV)": "index\tquestion\tA\tB\tanswer\tprediction",
    "rows with the truth inside": '{"question_id": "4", "prediction": "B", "answer": "B"}',
}
REFERENCES = {
    "the folder of problems.json and pid_splits.json, or problems.json": (
        '{"4": {"choices": ["yes", "no"], "answer": 1, "hint": "", "image": "image.png", "subject": "natural science", '
        '"grade": "grade2", "split": "test"}}'
    ),
    "LLaVA's questions": (
        '[{"id": "4", "image": "4/image.png", "conversations": [{"from": "human", "value": "..."}, '
        '{"from": "gpt", "value": "The answer is B."}]}]'
    ),
}
INSIDE = True
DATA = {
    "problems.json": "the questions",
    "pid_splits.json": "which of them are the test set",
    "images": "the folder of pictures, test/4/image.png in it",
    "ScienceQA-FULL/*.parquet": "or, in place of all, rows with question, choices, answer, hint and image",
}
GET = "github.com/lupantech/ScienceQA (data/scienceqa; the pictures by tools/download.sh)"
HUB = "lmms-lab/ScienceQA"
HEADLINE = "accuracy"
LETTERS = "ABCDE"
SUBJECTS = {"natural science": "nat", "social science": "soc", "language science": "lan"}


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Accuracy over all, over the questions with a picture, and the columns of the authors' table."""
    found = Scored()
    if predictions.suffix.lower() in (*SHEETS, *TABLES):
        some = asked(predictions, references, found)
        hits = judged(some, mode, found)
        found.add(accuracies([Judged(hits[one.id], parts(one), one.image) for one in some if one.id in hits]))
        return found
    if references is None and isinstance(document(predictions), list):
        return _inside(predictions, mode, found)
    answers = _answers(predictions)
    problems = _judged(predictions) if references is None else _problems(references, answers)
    if more := len(answers.keys() - problems.keys()):
        found.notes.append(f"{more:,} answers are to no question of {references} and were left out")
    marks, unread, names = [], 0, matched(answers, problems, found.unscored)
    for name in names if mode == "lenient" else problems:
        choice = _choice(answers.get(name), problems[name], mode)
        if choice is None and mode == "lenient":
            found.unscored[name] = "no option can be read"
            continue
        unread += choice in (None, -1) and name in answers
        found.marks[name] = float(choice == problems[name]["answer"])
        marks.append(Judged(choice == problems[name]["answer"], _parts(problems[name]), name))
    if mode == "official" and found.unscored:
        found.notes.append(f"{len(found.unscored):,} questions have no prediction; the official rule counts them wrong")
        found.unscored.clear()
    noted(unread, found)
    found.add(accuracies(marks))
    order = ("accuracy", "img", "nat", "soc", "lan", "txt", "no", "g1-6", "g7-12")
    found.metrics = dict(sorted(found.metrics.items(), key=lambda item: order.index(item[0].split("/")[0])))
    return found


def questions(folder: Path) -> Sequence[Question]:
    """The test set as LLaVA-1.5 asks it: the hint as context, the question, the options, and a letter is asked for."""
    found = []
    for row in _held(folder):
        image = () if row["_image"] is None else (row["_image"],)
        kept = {key: cell for key, cell in row.items() if not key.startswith("_")}
        choices = tuple(text(choice) for choice in row["choices"])
        asked_ = (f"Context: {row['hint']}\n" if row.get("hint") else "") + text(row["question"])
        truth = (LETTERS[row["answer"]], _parts(kept))
        found.append(
            Question(
                *(row["question_id"], asked_, image, choices, True, LETTER, *truth),
                image=row.get("image", ""), row=kept,
            )
        )  # fmt: skip
    return found


def _held(folder: Path) -> list[Row]:
    """The problems of the test set, each with its picture, or None, under `_image`."""
    file = folder / "problems.json"
    if not file.is_file():
        held = hubs(folder, "test", under="FULL")
        return [_kept(row, folder, str(i), row.get("image")) for i, row in enumerate(held, 1)]
    every, splits = document(file), folder / "pid_splits.json"
    if not isinstance(every, dict) or not all(isinstance(row, dict) for row in every.values()):
        raise BadData(f"{file}: expected problems by id")
    if splits.is_file():
        told = document(splits)
        if not isinstance(told, dict) or not isinstance(told.get("test"), list):
            raise BadData(f"{splits}: expected {{'test': [ids]}}")
        named = [str(pid) for pid in told["test"]]
    else:
        named = [pid for pid, row in every.items() if row.get("split") == "test"]
    if missing := [pid for pid in named if pid not in every]:
        raise BadData(f"{splits}: the problem {missing[0]} is not in {file}")
    found = []
    for pid in named:
        row = every[pid]
        names = [f"{own}{pid}/{row.get('image')}" for own in ("images/test/", "images/", "test/")]
        found.append(_kept(row, folder, pid, names if row.get("image") else None))
    return found


def _kept(row: Mapping[str, Any], folder: Path, name: str, image: Any) -> Row:
    """What is kept of a problem; its `image` is its own, as others' are called image.png too."""
    have(
        dict(row), ("question", "answer"), folder / "problems.json", int(name) if name.isdecimal() else 0, ("choices",)
    )
    keys = ("question", "choices", "answer", "hint", "subject", "grade")
    kept = {"question_id": name} | {key: row[key] for key in keys if row.get(key) is not None}
    if not (isinstance(row["answer"], int) and 0 <= row["answer"] < min(len(row["choices"]), len(LETTERS))):
        raise BadData(f"{folder}: question {name}: the answer {row['answer']!r} is not the number of an option")
    if image is None:
        return kept | {"_image": None}
    where = f"question {name}"
    media = somewhere(folder, image, where) if isinstance(image, list) else shown(image, folder, where)
    return kept | {"image": f"{name}/image.png", "_image": media}


def _inside(path: Path, mode: str, found: Scored) -> Scored:
    """The figures of rows that hold the truth, a letter or the number of an option, and maybe the options."""
    some, unread, marks = asked(path, None, found), 0, []
    if any(options(one.row) for one in some):
        hits = judged(some, mode, found)
        marks = [Judged(hits[one.id], parts(one), one.image) for one in some if one.id in hits]
    for one in some if not marks else ():
        own = one.row.get("choices")
        choice = _choice(one.said, {"choices": own if isinstance(own, list) else LETTERS}, mode)
        if choice is None and mode == "lenient":
            found.unscored[one.id] = "no option can be read"
            continue
        unread += choice is None
        true = int(one.truth) if one.truth.isdecimal() else LETTERS.find(one.truth.upper())
        marks.append(Judged(marked({one.id: choice == true}, found)[one.id], _parts(one.row), one.image))
    noted(unread, found)
    found.add(accuracies(marks))
    return found


def letter(answer: str) -> str | None:
    """The official reading: a letter by itself, one before a full stop and a space, or the only `The answer is X.`.

    >>> letter("B"), letter("B. Ohio"), letter("So: The answer is B."), letter("B)"), letter("Ohio")
    ('B', 'B', 'B', None, None)
    """
    if answer in tuple(LETTERS):
        return answer
    if answer[:1] in tuple(LETTERS) and answer[1:3] == ". ":
        return answer[0]
    called = re.findall(r"The answer is ([A-Z]).", answer)  # any character may follow, as in the authors' code
    return called[0] if len(called) == 1 else None


def _choice(answer: Any, problem: Row, mode: str) -> int | None:
    """The number of the option chosen, from 0; a number that stands in the authors' results is that already."""
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        return int(answer) if answer == answer else None
    if answer is None:
        return None
    count = len(problem["choices"])
    known = dict(zip(LETTERS, problem["choices"], strict=False))
    found = letter(answer) if mode == "official" else read_letter(answer, known)
    return LETTERS.index(found) if found and found in LETTERS[:count] else None


def _parts(problem: Row) -> tuple[str, ...]:
    """The columns of the authors' table that a problem belongs to."""
    grade = re.fullmatch(r"grade(\d+)", str(problem.get("grade", "")))
    told = [
        "img" if problem.get("image") else "",
        SUBJECTS.get(str(problem.get("subject")), ""),
        "txt" if problem.get("hint") else "",
        "no" if "hint" in problem and not problem["hint"] and not problem.get("image") else "",
        ("g1-6" if int(grade[1]) <= 6 else "g7-12") if grade else "",
    ]
    return tuple(name for name in told if name)


def _answers(path: Path) -> dict[str, Any]:
    """What was said to each question: a text, or the number of an option."""
    held = document(path)
    if isinstance(held, Mapping) and {"correct", "incorrect"} <= held.keys():
        return {name: row["pred"] for name, row in _judged(path).items()}
    if isinstance(held, Mapping) and isinstance(held.get("results"), Mapping):
        told = {str(name): text(value) for name, value in held["results"].items()}
        if odd := [name for name, value in told.items() if not re.fullmatch(r"-?\d+", value)]:
            raise BadData(f"{path}: the result of {odd[0]} is {told[odd[0]]!r}, not the number of an option")
        return {name: int(value) for name, value in told.items()}
    answers: dict[str, Any] = {}
    for number, row in enumerate(table(path), 1):
        name = identity(text(pick(row, IDS, path, number)))
        if name in answers:
            raise BadData(f"{path}, row {number}: the id {name} stands twice")
        said = pick(row, SAID if set(SAID) & row.keys() else (*SAID, "answer"), path, number)
        answers[name] = said if isinstance(said, int) else text(said)
    return answers


def _judged(path: Path) -> dict[str, Row]:
    """The questions of LLaVA's file of judged answers, as problems whose options are letters."""
    held = document(path)
    if not (isinstance(held, Mapping) and {"correct", "incorrect"} <= held.keys()):
        raise BadData(f"{path}: the truths are not in it; --references: {next(iter(REFERENCES))}")
    found = {}
    for number, row in enumerate([*held["correct"], *held["incorrect"]], 1):
        if not isinstance(row, Mapping) or str(pick(row, ["ground_truth"], path, number)) not in tuple(LETTERS):
            raise BadData(f"{path}, answer {number}: no letter A to E under ground_truth")
        truth = LETTERS.index(str(row["ground_truth"]))
        said = pick(row, ["pred", "parsed_ans"], path, number)
        found[str(pick(row, ["question_id"], path, number))] = {
            "choices": list(LETTERS), "answer": truth, "image": row.get("is_multimodal"), "pred": text(said),
        }  # fmt: skip
    return found


def _problems(path: Path, answers: Mapping[str, Any]) -> dict[str, Row]:
    """The questions: of the file's `split` test, or of the split that the answers are of, where it names splits."""
    file = path / "problems.json" if path.is_dir() else path
    if not file.exists():
        raise BadData(f"{path}: no problems.json in this folder")
    held = document(file)
    if isinstance(held, list):
        return {str(pick(row, ["id"], file, i)): _of_talk(row, file, i) for i, row in enumerate(rows(file), 1)}
    some = {str(name): row for name, row in held.items() if isinstance(row, Mapping)}
    for number, row in enumerate(some.values(), 1):
        pick(row, ["answer"], file, number)
        if not isinstance(pick(row, ["choices"], file, number), list):
            raise BadData(f"{file}, question {number}: choices is not a list")
    splits = file.parent / "pid_splits.json"
    named = document(splits) if path.is_dir() and splits.exists() else {}
    ids = {name: [str(pid) for pid in pids] for name, pids in named.items()}
    for name, row in {} if ids else some.items():
        ids.setdefault(str(row.get("split", "all")), []).append(name)
    if not answers.keys() & some.keys():
        return {name: dict(row) for name, row in some.items()}  # none match, which `matched` tells
    best = max(ids.values(), key=lambda own: (len(answers.keys() & set(own)), -len(own)), default=[])
    return {pid: dict(some[pid]) for pid in best if pid in some}


def _of_talk(row: Row, path: Path, number: int) -> Row:
    """A problem from LLaVA's questions, whose last turn is the answer."""
    turns = pick(row, ["conversations"], path, number)
    said = [str(turn.get("value")) for turn in turns if isinstance(turn, Mapping)] or [""]
    truth = re.search(r"(?:^|answer is )([A-E])\b", said[-1])
    if truth is None:
        raise BadData(f"{path}, row {number}: no letter in the answer {said[-1]!r}")
    letters = re.findall(r"(?:^|\s)\(?([A-E])[.)] ", said[0])
    count = len(dict.fromkeys(letters)) or len(LETTERS)
    return {"choices": [""] * count, "answer": LETTERS.index(truth[1]), "image": row.get("image")}
