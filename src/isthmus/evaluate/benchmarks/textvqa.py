"""TextVQA: questions whose answers are read off a picture, each with the answers of ten people."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from isthmus.errors import BadData
from isthmus.evaluate.answers import IDS, IMAGES, SAID, Pair, by, column, first, pairs, records, text
from isthmus.evaluate.benchmarks._asked import Answered, have, objects, somewhere, upload
from isthmus.evaluate.benchmarks._parts import add
from isthmus.evaluate.benchmarks.vqav2 import Held, accuracies, asked, hub, with_people
from isthmus.evaluate.files import Row, rows
from isthmus.evaluate.metrics import vqa
from isthmus.evaluate.questions import SHORT, Question
from isthmus.evaluate.scored import Scored

ABOUT = "questions about texts in photographs, scored by how many of ten people gave the answer"
SOURCE = "Singh et al., 2019, arXiv:1904.08920; EvalAI's rule, as in MMF and in github.com/haotian-liu/LLaVA"
PREDICTIONS = {
    "JSON lines as LLaVA writes them, whose question_id is the picture's": (
        '{"question_id": "003a8ae2ef43b901", "prompt": "what is the brand of this camera?\\nReference OCR token: ...\\n'
        'Answer the question using a single word or phrase.", "text": "Dakota"}'
    ),
    "by the question's id": '{"question_id": 34602, "answer": "dakota"}',
    "a sheet with the truth inside": "index, question, answer, prediction",
}
REFERENCES = {
    "TextVQA_0.5.1_val.json": (
        '{"data": [{"question_id": 34602, "image_id": "003a8ae2ef43b901", "question": "what is the brand of this'
        ' camera?", "answers": ["nous les gosses", "dakota", "..."]}]}'
    ),
}
INSIDE = True  # rows of predictions may hold the truth
DATA = {
    "TextVQA_0.5.1_*.json": "TextVQA_0.5.1_val.json, or, for the server, TextVQA_0.5.1_test.json",
    "train_images": "the folder of pictures, or test_images",
    "llava_textvqa_val_v051_ocr.jsonl": "LLaVA's prompts with the texts that an OCR read; without, there are none",
    "data/*.parquet": "or, in place of all, rows with question, answers and image",
}
GET = "textvqa.org/dataset, and eval.zip of github.com/haotian-liu/LLaVA for its prompts"
HUB = "lmms-lab/textvqa"
HEADLINE = "accuracy"
OCR = "llava_textvqa_val_v051_ocr.jsonl"
INLINE = re.compile(r"Question: (.*?) Short answer:", re.DOTALL)  # where the prompt begins with the OCR tokens


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """Accuracy; the lenient mode leaves empty answers unscored."""
    found = Scored()
    truths = None if references is None else with_people(references)
    own = records(predictions)
    if truths is not None and any("prompt" in row for row in own):
        some = _by_prompt(own, truths, predictions, found)
    else:
        joins = (by(IMAGES, ["question"]), by(IDS))
        some = pairs(predictions, truths, found, joins=joins[::-1])
    if mode == "lenient":
        found.unscored |= {one.id: "the answer is empty" for one in some if not one.said.strip()}
        some = [one for one in some if one.said.strip()]
    add(found, "accuracy", accuracies(some, vqa.textvqa, (), found))
    return found


def _by_prompt(own: Sequence[Row], truths: Sequence[Row], path: Path, found: Scored) -> list[Pair]:
    """Answers whose picture is told by their id, and whose question by a line of their prompt, as LLaVA's are.

    A picture can have the same question twice; the reference then takes the last one's people for both answers.
    """
    key = column(own, SAID, path, "the answer")
    known = {(text(first(row, IMAGES)), text(row.get("question", "")).lower()): row for row in truths}
    there = Counter((text(first(row, IMAGES)), text(row.get("question", "")).lower()) for row in truths)
    times: Counter[tuple[str, str]] = Counter()
    some, strange = [], 0
    for number, row in enumerate(own, 1):
        place = _question(text(first(row, (*IMAGES, *IDS))), text(row.get("prompt", "")), known)
        if place is None:
            strange += 1
            continue
        times[place] += 1
        if times[place] > there[place]:
            raise BadData(f"{path}, row {number}: the question {place[1]!r} about {place[0]} is answered twice")
        name = " | ".join(place) if there[place] == 1 else f"{' | '.join(place)} | {times[place]}"
        if key in row:
            some.append(Pair(name, known[place], row, text(row[key]), key))
        else:
            found.unscored[name] = "no prediction"
    if own and not times:
        raise BadData(f"{path}: no prompt holds a question of the references: are these files of the same split?")
    if strange:
        found.notes.append(f"{strange:,} predictions answer no question of the references and are left out")
    found.unscored |= {" | ".join(place): "no prediction" for place in known if place not in times}
    return some


def _question(image: str, prompt: str, known: Mapping[tuple[str, str], Row]) -> tuple[str, str] | None:
    """The picture and the question, in lower case, that a prompt asks."""
    inline = INLINE.search(prompt)
    lines = [*([inline[1]] if inline else []), *prompt.split("\n"), *(line.strip() for line in prompt.split("\n"))]
    return next(((image, line.lower()) for line in lines if (image, line.lower()) in known), None)


def questions(folder: Path) -> Sequence[Question]:
    """The questions as LLaVA-1.5 asks them: with the texts that an OCR read, where its file of prompts is there."""
    files = sorted(folder.glob("TextVQA_0.5.1_*.json"), key=lambda file: ("val" not in file.name, file))
    held = _held(folder, files[0]) if files else hub(folder, "validation", "test")
    told = _prompts(folder / OCR) if (folder / OCR).is_file() else {}
    found = []
    for one in held:
        own = asked(one, ())
        prompt = told.get((own.image, own.prompt.lower()), f"{own.prompt}\n{SHORT}")
        found.append(replace(own, prompt=prompt, after=""))
    return found


def write(folder: Path, out: Path, answered: Answered) -> Path | None:
    """The rows, and `answers_upload.json` for the server; None where people's answers are not public."""
    public = all("answers" in own.row for own, _ in answered)
    return upload(out, answered, "answers_upload.json", _result, public)


def _result(question: Question, answer: str) -> Row:
    return {"question_id": question.row["question_id"], "answer": answer}


def _held(folder: Path, file: Path) -> list[Held]:
    """The questions of an official file with their pictures."""
    found = []
    for number, row in enumerate(objects(file, "data"), 1):
        have(row, ("question_id", "image_id", "question"), file, number)
        names = [f"{own}/{row['image_id']}.jpg" for own in ("train_images", "test_images", "train_val_images")]
        names = names if "test" not in file.name else [names[1]]
        found.append(Held(row, somewhere(folder, names, f"question {row['question_id']}")))
    return found


def _prompts(file: Path) -> dict[tuple[str, str], str]:
    """LLaVA's prompts by picture and question, which is their first line."""
    found = {}
    for number, row in enumerate(rows(file), 1):
        have(row, ("question_id", "text"), file, number)
        found[text(row["question_id"]), text(row["text"]).split("\n")[0].lower()] = text(row["text"])
    return found
