"""MMMU: questions of college exams with pictures, from 30 subjects in six domains; multiple choice and open."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from isthmus.errors import BadData
from isthmus.evaluate import keys
from isthmus.evaluate import questions as form
from isthmus.evaluate.benchmarks import _mmmu
from isthmus.evaluate.benchmarks._asked import Answered, have, hubs, lines, put, shown
from isthmus.evaluate.benchmarks._choices import read as read_letter
from isthmus.evaluate.benchmarks._mmmu import DOMAINS, ORDER
from isthmus.evaluate.benchmarks._rows import Asked, Judged, accuracies, asked, of_splits, slug, text
from isthmus.evaluate.benchmarks.mmbench import judged
from isthmus.evaluate.files import SHEETS, TABLES, columns, document, flat, matched, pick, rows
from isthmus.evaluate.scored import Scored
from isthmus.types import Medium

ABOUT = "college exams with pictures, 30 subjects; where no choice can be read, the official rule draws one (seed 42)"
SOURCE = "Yue et al., 2023, arXiv:2311.16502; eval/ of github.com/MMMU-Benchmark/MMMU"
PREDICTIONS = {
    "the folder of a model, SUBJECT/output.json in it, or one such file": (
        '[{"id": "validation_Art_1", "question_type": "multiple-choice", "answer": "B", "all_choices": ["A", "B"], '
        '"index2ans": {"A": "left", "B": "right"}, "response": "B"}]'
    ),
    "answers by id, as total_val_output.json, with the references": '{"validation_Art_1": "B"}',
    "a sheet of VLMEvalKit (XLSX, TSV, CSV)": "index\tid\tquestion\tA\tB\tanswer\tcategory\tl2-category\tprediction",
}
REFERENCES = {
    "answer_dict_val.json": '{"validation_Art_1": {"question_type": "multiple-choice", "ground_truth": "B"}}',
}
INSIDE = True
HIDDEN = "?"  # what stands for the truth in the test set
DATA = {
    "Math/validation-*.parquet": "a folder for each subject: id, question, options, answer, image_1, ...",
}
GET = "huggingface.co/datasets/MMMU/MMMU"
HUB = "MMMU/MMMU"
HEADLINE = "accuracy"
IMAGES = 7  # at most, of a question
SAID = keys.said("response", "prediction", "text", "pred", "model_output", "parsed_pred")

TRUTHS = keys.truths("answer", "ground_truth", "gt", "label")


class Asking(NamedTuple):
    """A question with its answer; `options` by letter is empty for an open one, and None where they are not known."""

    id: str
    truths: list[str]
    options: Mapping[str, str] | None
    said: str
    drawn: str = ""  # the letter that stands in the authors' parsed_output.json


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Accuracy over all questions, in each domain and in each subject."""
    found = Scored()
    if predictions.suffix.lower() in (*SHEETS, *TABLES):
        some = [_closed(one) for one in asked(predictions, references, found)]
        hits = judged(some, mode, found)
        names = {one.id: text(one.row.get("id")) or one.id for one in some}
        kit = [Judged(hits[one.id], parts(names[one.id], one.row), one.image) for one in some if one.id in hits]
        found.add(accuracies(kit))
        splits = [slug(text(one.row.get("split"))) for one in some if one.id in hits]
        found.add(of_splits(list(zip(splits, kit, strict=True))))
        return found
    questions = _with(predictions, references, found) if references else _inside(predictions)
    rank = {subject: number for number, subject in enumerate(ORDER)}
    questions.sort(key=lambda one: rank.get(_subject(one.id), len(rank)))
    draws, drawn, marks = Random(42), 0, []
    for one in questions:
        right = _right(one, mode)
        if right is None and mode == "lenient":
            found.unscored[one.id] = "no choice can be read" if one.said.strip() else "no prediction"
            continue
        if right is None:
            drawn += 1
            right = (one.drawn or draws.choice(list(one.options or "ABCD"))) in one.truths
        found.marks[one.id] = float(right)
        marks.append(Judged(right, parts(one.id, {}), one.id))
    if drawn:
        found.notes.append(f"of {drawn:,} answers no choice can be read; the official rule draws a letter, seed 42")
    found.add(accuracies(marks))
    return found


def questions(folder: Path) -> Sequence[form.Question]:
    """The validation set as the authors ask it: pictures in their order, which the text calls <image 1> and so on."""
    found = []
    for number, row in enumerate(hubs(folder, "validation", "test", "dev"), 1):
        have(row, ("id", "question", "options", "answer", "question_type", "image_1"), folder, number)
        name, options = text(row["id"]), tuple(_options(row).values())
        if not options and row["question_type"] == "multiple-choice":
            raise BadData(f"{folder}, question {name}: its options {row['options']!r} cannot be read")
        truth = next(iter(_truths(row, folder, number)), "")
        kept = {key: row[key] for key in ("id", "question_type", "question", "options", "answer")}
        ending = f"\n{form.LETTER}" if options else form.SHORT  # the authors' list of options ends a line
        found.append(
            form.Question(
                *(name, text(row["question"]), pictures(row, folder, name), options, True, ending),
                *("" if truth == HIDDEN else truth, parts(name, row)), row=kept, form="({}) {}",
            )
        )  # fmt: skip
    return found


def write(folder: Path, out: Path, answered: Answered) -> Path | None:
    """The rows; of the test set, whose truths are not public, answers by id for its server, and None."""
    told = lines(out, answered)
    if all(own.truth for own, _ in answered):
        return told
    put(out / "mmmu.json", json.dumps({own.id: answer for own, answer in answered}, ensure_ascii=False) + "\n")
    return None


def pictures(row: Mapping[str, Any], folder: Path, name: str) -> tuple[Medium, ...]:
    """The pictures of a row by their number. Raises `BadData` where the text names one that is not there."""
    held = {i: row[f"image_{i}"] for i in range(1, IMAGES + 1) if row.get(f"image_{i}") is not None}
    told = f"{row['question']} {row['options']}"
    if missing := sorted({int(i) for i in re.findall(r"<image (\d)>", told)} - held.keys()):
        raise BadData(f"question {name}: no picture image_{missing[0]}, which its text names")
    return tuple(shown(cell, folder, f"question {name}") for cell in held.values())


def parts(name: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    """The domain and the subject of a question, by its id (`validation_Art_Theory_3`) or its row."""
    subject = _subject(name) or text(row.get("category"))
    domain = next((domain for domain, own in DOMAINS.items() if subject in own), "")
    return tuple(slug(part) for part in (domain, subject) if part)


def _subject(name: str) -> str:
    return "_".join(name.split("_")[1:-1])


def _right(one: Asking, mode: str) -> bool | None:
    """Whether an answer is right; None where a choice cannot be read."""
    if one.options is not None and not one.options:
        return _mmmu.open_right(one.truths, _mmmu.open_answers(one.said))
    if one.options is None and mode == "official":
        return one.said in one.truths  # main_eval_only.py compares letters and parses nothing
    options = one.options or dict.fromkeys("ABCDEFGHI", "")
    letter = _mmmu.choice(one.said, options) if mode == "official" else read_letter(one.said, options)
    return None if letter is None else letter in one.truths


def _inside(path: Path) -> list[Asking]:
    """The questions of a model's folder, or of one file, whose rows hold the truth."""
    files = [path]
    if path.is_dir():
        files = sorted(path.glob("*/output.json")) or sorted(path.glob("*.json*"))
        if not files:
            raise BadData(f"{path}: no SUBJECT/output.json in this folder")
    questions, seen = [], set()
    for file in files:
        for number, row in enumerate(map(flat, rows(file)), 1):
            name = str(row.get("id", row.get("question_id", row.get("index", number))))
            if name in seen:
                raise BadData(f"{file}, row {number}: the id {name} stands twice")
            seen.add(name)
            said = text(pick(row, SAID, file, number))
            closed = row.get("question_type", "multiple-choice") == "multiple-choice"
            if closed and not _options(row) and said not in tuple("ABCDEFGHI"):
                said = read_letter(said, dict.fromkeys("ABCDEFGHI", "")) or said
            options, drawn = (_options(row) or None) if closed else {}, row.get("parsed_pred", "")
            questions.append(Asking(name, _truths(row, file, number), options, said, drawn if closed else ""))
    return questions


def _with(path: Path, references: Path, found: Scored) -> list[Asking]:
    """The questions of answers by id and of their references."""
    held = document(path)
    if isinstance(held, list) or (isinstance(held, Mapping) and columns(held)):
        held = {}
        for number, row in enumerate(map(flat, rows(path)), 1):
            name = str(pick(row, ("id", "question_id", "index"), path, number))
            if name in held:
                raise BadData(f"{path}, row {number}: the id {name} stands twice")
            held[name] = pick(row, (*SAID, "answer"), path, number)
    truths = document(references)
    if not isinstance(held, Mapping) or not isinstance(truths, Mapping):
        raise BadData(f"{path}, {references}: expected answers and truths by id, {next(iter(REFERENCES.values()))}")
    questions = []
    for number, name in enumerate(matched(held, truths, found.unscored), 1):
        row = truths[name] if isinstance(truths[name], Mapping) else {"ground_truth": truths[name]}
        closed = row.get("question_type", "multiple-choice") == "multiple-choice"
        options = (_options(row) or None) if closed else {}
        said = text(held[name])
        if isinstance(held[name], list | Mapping):
            raise BadData(f"{path}: the answer to {name} is {said}, not a text")
        questions.append(Asking(name, _truths(row, references, number), options, said))
    if more := len(held) - len(questions):
        found.notes.append(f"{more:,} answers are to no question of {references} and were left out")
    return questions


def _truths(row: Mapping[str, Any], path: Path, number: int) -> list[str]:
    truth = pick(row, TRUTHS, path, number)
    if isinstance(truth, str) and truth.startswith("['"):  # the data set has several truths as one text
        with suppress(ValueError, SyntaxError):
            truth = ast.literal_eval(truth)
    return [text(one) for one in truth] if isinstance(truth, list) else [text(truth)]


def _options(row: Mapping[str, Any]) -> dict[str, str]:
    """The options by letter: of `index2ans`, or of a list `options`, which may stand in a text."""
    if str(row.get("question_type", "multiple-choice")) != "multiple-choice":
        return {}
    if isinstance(row.get("index2ans"), Mapping):
        named = {str(letter): str(option) for letter, option in row["index2ans"].items()}
        return {letter: named.get(letter, "") for letter in map(str, row.get("all_choices") or named)}
    listed = row.get("options") or []
    with suppress(ValueError, SyntaxError):
        listed = ast.literal_eval(listed) if isinstance(listed, str) else listed
    listed = listed if isinstance(listed, list | tuple) else []
    return {chr(ord("A") + number): str(option) for number, option in enumerate(listed)}


def _closed(one: Asked) -> Asked:
    """A question of a sheet; an open one becomes a choice between its answer and others, as VLMEvalKit has it."""
    if text(one.row.get("A")) not in ("", "nan"):
        return one
    return one._replace(truth="A", row=one.row | {"A": one.truth, "B": "Other Answers"})
