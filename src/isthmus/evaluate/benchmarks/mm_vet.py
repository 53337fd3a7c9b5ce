"""MM-Vet: open answers that a judge grades from 0 to 1, by the capabilities that a question takes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from isthmus.errors import BadData
from isthmus.evaluate.answers import IDS, IMAGES, column, first, judged, listed, records, slug, text
from isthmus.evaluate.benchmarks._asked import Answered, Cell, have, hubs, lines, put, shown, somewhere
from isthmus.evaluate.files import Row, document
from isthmus.evaluate.questions import Question
from isthmus.evaluate.scored import Figure, Scored, mean

ABOUT = "open answers that a judge graded 0 to 1, times 100; by capability: rec, ocr, know, gen, spat, math"
SOURCE = "Yu et al., 2023, arXiv:2308.02490; mm-vet_evaluator.py of github.com/yuweihao/MM-Vet"
PREDICTIONS = {
    "the grades, MODEL_gpt-4-grade-5runs.json": '{"v1_0": {"content": ["0.5"], "score": [0.5]}}',
    "VLMEvalKit's sheet": "index, question, answer, prediction, category, score",
}
REFERENCES = {
    "mm-vet.json, without which there is only the total": (
        '{"v1_0": {"imagename": "v1_0.png", "question": "What is x?", "answer": "-1<AND>-5", "capability": ["ocr",'
        ' "math"]}}'
    ),
}
INSIDE = True  # the total needs no references
DATA = {
    "mm-vet.json": "the questions",
    "images": "the folder of their pictures",
    "data/*.parquet": "or, in place of both, rows with question_id, question, answer, capability and image",
}
GET = "github.com/yuweihao/MM-Vet/releases (mm-vet.zip)"
HUB = "lmms-lab/MMVet"
HEADLINE = "score"
JUDGE = "mm-vet"
LONGEST = 512  # tokens of an answer
CAPABILITIES = ("capability", "capabilities", "category")
ORDER = ("rec", "ocr", "know", "gen", "spat", "math", "seq")


class Grade(NamedTuple):
    """The grades of one answer, one for each run, with the capabilities that its question takes."""

    image: str
    scores: list[float]
    takes: tuple[str, ...]


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """score, of each capability and of each set of them that questions take, as means over runs, times 100.

    Of several runs `std` is the spread of their totals, each of which stands under `run_1`, `run_2`, ...
    """
    found = Scored()
    grades = _graded(predictions, mode, found)
    truths = _truths(predictions, references, grades, found)
    found.marks |= {name: float(np.mean(scores)) for name, scores in grades.items()}
    some = [Grade(text(first(truths[k], IMAGES) or k), scores, _takes(truths[k])) for k, scores in grades.items()]
    found.add({"score": _figure(some)})
    runs = len(some[0].scores)
    if runs > 1:
        totals = [mean([one.scores[r] for one in some], [one.image for one in some], 100) for r in range(runs)]
        nan = float("nan")
        found.add({"std": Figure(float(np.std([total.value for total in totals])), nan, nan, runs)})
        for r, total in enumerate(totals, 1):
            found.add({"score": total}, f"run_{r}")
    counts = Counter(name for one in some for name in one.takes)
    for name, _ in counts.most_common():
        found.add({"score": _figure([one for one in some if name in one.takes])}, name)
    together = Counter("_".join(one.takes) for one in some if one.takes)
    for name, _ in together.most_common():
        if name not in counts:
            found.add({"score": _figure([one for one in some if "_".join(one.takes) == name])}, name)
        elif together[name] < counts[name]:
            found.add({"score": _figure([one for one in some if one.takes == (name,)])}, f"only_{name}")
    return found


def questions(folder: Path) -> Sequence[Question]:
    """The questions, as they stand."""
    file = folder / "mm-vet.json"
    held = _entries(file) if file.is_file() else hubs(folder, "test")
    found = []
    for number, row in enumerate(held, 1):
        have(row, ("question_id", "question", "answer"), file, number)
        if not _takes(row):
            raise BadData(f"{file}, row {number}: no capability, such as ['ocr', 'math']")
        name = text(row["question_id"])
        if isinstance(row.get("image"), Cell | bytes | dict):
            media, image = shown(row["image"], folder, f"question {name}"), text(row.get("image_source", name))
        else:
            image = text(have(row, ("imagename",), file, number)["imagename"])
            media = somewhere(folder, [f"images/{image}"], f"question {name}")
        takes = _takes(row)
        # the truth is no `answer` here: a judge would take it for what was said
        kept = {"question_id": name, "question": row["question"], "reference": row["answer"], "capability": list(takes)}
        found.append(
            Question(
                *(name, text(row["question"]), (media,)), truth=text(row["answer"]), parts=takes, image=image,
                row=kept, longest=LONGEST,
            )
        )  # fmt: skip
    return found


def write(folder: Path, out: Path, answered: Answered) -> Path:
    """The rows, for a judge, and the answers by id in `mm-vet.json`, as the authors' notebook takes them."""
    told = {own.id: answer for own, answer in answered}
    put(out / "mm-vet.json", json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    return lines(out, answered)


def _entries(file: Path) -> list[Row]:
    held = document(file)
    if not isinstance(held, Mapping) or not all(isinstance(row, Mapping) for row in held.values()):
        raise BadData(f"{file}: expected questions by id, {next(iter(REFERENCES.values()))}")
    return [{"question_id": name} | dict(row) for name, row in held.items()]


def _figure(some: Sequence[Grade]) -> Figure:
    return mean([float(np.mean(one.scores)) for one in some], [one.image for one in some], 100)


def _graded(path: Path, mode: str, found: Scored) -> dict[str, list[float]]:
    """The grades of each question, as many for each."""
    rows = judged(records(path), found)
    if all({"id", "answer"} == row.keys() and isinstance(row["answer"], int | float) for row in rows):
        rows = [{"id": row["id"], "score": row["answer"]} for row in rows]  # grades by id
    if not any("score" in row for row in rows):
        raise BadData(
            f"{path}: no grades (score: [0.5]). Answers alone cannot be scored: have a judge grade them first, with"
            " mm-vet_evaluator.py, and give its MODEL_gpt-4-grade-1runs.json"
        )
    grades: dict[str, list[float]] = {}
    zeros = 0
    for number, row in enumerate(rows, 1):
        name = text(first(row, IDS) if first(row, IDS) is not None else number)
        if name in grades:
            raise BadData(f"{path}, row {number}: the id {name} stands twice")
        scores = _numbers(row.get("score"), f"{path}, {name}")
        words = row["content"] if isinstance(row.get("content"), list) else []
        if any(not _is_number(word) for word in words):
            zeros += 1
            if mode != "official":
                found.unscored[name] = "the judge wrote no grade"
                continue
        grades[name] = scores
    if zeros and mode == "official":
        found.notes.append(f"{zeros} answers got no grade from the judge in some run, and count as the 0 that is there")
    runs = max((len(scores) for scores in grades.values()), default=0)
    for name in [name for name, scores in grades.items() if len(scores) < runs or not scores]:
        found.unscored[name] = "fewer grades than there are runs" if grades.pop(name) else "no grade"
    if not grades:
        raise BadData(f"{path}: no answer in it has a grade")
    return grades


def _numbers(value: Any, place: str) -> list[float]:
    """The grades of a cell; none where it is empty."""
    if value is None:
        return []
    try:
        found = [float(one) for one in (value if isinstance(value, list) else [value])]
    except (TypeError, ValueError) as error:
        raise BadData(f"{place}: the score must be numbers from 0 to 1, not {value!r}") from error
    if any(not 0 <= one <= 1 for one in found):
        raise BadData(f"{place}: the score must be from 0 to 1, not {value!r}")
    return found


def _is_number(word: object) -> bool:
    try:
        float(str(word).split(" ")[0].strip())
    except ValueError:
        return False
    return True


def _truths(path: Path, references: Path | None, grades: Mapping[str, Any], found: Scored) -> dict[str, Row]:
    """The questions by id; of the sheet that has the capabilities inside, its own rows."""
    if references is None:
        rows = {text(first(row, IDS)): row for row in records(path)}
        if not any(key in row for row in rows.values() for key in CAPABILITIES):
            found.notes.append("no capabilities without --references mm-vet.json: there is only the total")
        return {name: rows.get(name, {}) for name in grades}
    rows = {text(first(row, IDS)): row for row in records(references)}
    column(list(rows.values()), CAPABILITIES, references, "the capabilities")
    if strange := [name for name in grades if name not in rows]:
        raise BadData(f"{path}: {len(strange)} ids, such as {strange[0]}, are not in {references}: of another version?")
    found.unscored |= {name: "no grade" for name in rows if name not in grades and name not in found.unscored}
    return rows


def _takes(row: Row) -> tuple[str, ...]:
    """The capabilities in the order of the paper."""
    value = first(row, CAPABILITIES)
    names = {slug(name) for one in ([] if value is None else listed(value)) for name in one.split(",")}
    return tuple(sorted(names, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)))
