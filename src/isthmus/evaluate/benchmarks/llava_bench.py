"""LLaVA-Bench (in the wild, COCO): a judge's scores of a model's answers beside those of a reference's."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from isthmus.errors import BadData
from isthmus.evaluate.answers import IDS, first, judged, records, slug, text
from isthmus.evaluate.benchmarks._asked import Answered, have, put, somewhere
from isthmus.evaluate.files import Row, rows
from isthmus.evaluate.questions import Question
from isthmus.evaluate.questions import one as one_file
from isthmus.evaluate.scored import Figure, Floats, Scored, of_sums, over

ABOUT = "a judge's score of a model's answer, as a share of that of text-only GPT-4's; conversation, detail, reasoning"
SOURCE = "Liu et al., 2023, arXiv:2304.08485; llava/eval/summarize_gpt_review.py of github.com/haotian-liu/LLaVA"
PREDICTIONS = {
    "a judge's reviews, or a folder of several runs": (
        '{"question_id": 0, "category": "llava_bench_conv", "content": "8 10\\nBoth ...", "tuple": [8.0, 10.0]}'
    ),
    "VLMEvalKit's sheet": "index, question, category, gpt4_score, score",
}
REFERENCES = {
    "questions.jsonl, which says the pictures that questions share, and the categories where reviews lack them": (
        '{"question_id": 0, "image": "001.jpg", "text": "What is the name of this famous sight?", "category": "conv"}'
    ),
}
INSIDE = True  # the figures need no references
DATA = {
    "questions.jsonl": "the questions (question_id, image, text, category), or COCO's qa90_questions.jsonl",
    "images": "the folder of their pictures, for COCO's val2014",
    "answers_gpt4.jsonl": "the reference's answers, which a judge compares with",
    "context.jsonl": "what is in each picture, which a judge that sees none is told (image, caption)",
}
GET = "huggingface.co/datasets/liuhaotian/llava-bench-in-the-wild, all of it"
HUB = "liuhaotian/llava-bench-in-the-wild"
HEADLINE = "relative_score"
JUDGE = "llava-bench"
LONGEST = 1024  # tokens of an answer, as LLaVA's own script allows
REVIEWS = ("tuple", "score", "content", "text", "review", "judgement", "judgment")
ORDER = ("conv", "detail", "complex")
SWAPPED = re.compile(r"swap|revers|flip")
FAILED = (-1.0, -1.0)  # what the reference's parser gives, and its means include


class Review(NamedTuple):
    """The scores of one question: the reference's, then the model's."""

    id: str
    category: str
    scores: tuple[float, float]
    image: str


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """relative_score = 100 x the model's mean / the reference's, of all questions and of each category.

    Of several files in a folder each is a run, and relative_score is the mean of theirs; files in which the answers
    were shown in the other order are turned round. The mean scores stand beside it, times 10.
    """
    found = Scored()
    known = {} if references is None else {text(first(row, IDS)): row for row in records(references)}
    if predictions.is_dir():
        files = [file for file in sorted(predictions.iterdir()) if file.suffix.lower() in (".jsonl", ".json", ".xlsx")]
        if not files:
            raise BadData(f"{predictions}: no file of reviews (.jsonl) in this folder")
    else:
        files = [predictions]
    rows = {file.stem: judged(records(file), found) for file in files}
    for reviews in rows.values():
        for row in reviews:
            more = known.get(text(first(row, IDS)), {})
            row |= {key: more[key] for key in ("image", "category") if key in more and key not in row}
    runs = {name: _run(predictions, name, some, mode, found) for name, some in rows.items()}
    for name in _turned(rows):
        runs[name] = [one._replace(scores=(one.scores[1], one.scores[0])) for one in runs[name]]
        found.notes.append(f"{name}: the answers were shown in the other order, and its scores are turned round")
    found.marks |= _marks([one for some in runs.values() for one in some])
    _add(found, list(runs.values()), mode)
    if len(runs) > 1:
        found.notes.append(f"{len(runs)} runs; relative_score is the mean of theirs")
        for name, some in runs.items():
            found.add({"relative_score": _figures([some], mode)["relative_score"]}, slug(name))
    return found


def questions(folder: Path) -> Sequence[Question]:
    """The questions, as they stand; the reference's answer, where it is there, as their truth."""
    file = one_file(folder, "questions.jsonl", "*questions*.jsonl")
    told = sorted(folder.glob("answers_gpt4.jsonl")) or sorted(folder.glob("*answer*gpt4*.jsonl"))
    truths = {text(first(row, IDS)): text(row.get("text", "")) for row in records(told[0])} if told else {}
    seen = folder / "context.jsonl"
    captions = {text(row.get("image")): text(row.get("caption", "")) for row in rows(seen)} if seen.is_file() else {}
    found = []
    for number, row in enumerate(rows(file), 1):
        have(row, ("question_id", "image", "text"), file, number)
        name, image = text(row["question_id"]), text(row["image"])
        names = [f"{own}{image}" for own in ("images/", "val2014/COCO_val2014_", "val2014/", "")]
        media = somewhere(folder, names, f"question {name}")
        category = slug(row.get("category", "")).removeprefix("llava_bench_") if row.get("category") else ""
        found.append(
            Question(
                *(name, text(row["text"]), (media,)), truth=truths.get(name, ""), image=image, longest=LONGEST,
                parts=(category,) if category else (),
                row={"question_id": row["question_id"], "category": category, "context": captions.get(image, "")},
            )
        )  # fmt: skip
    return found


def write(folder: Path, out: Path, answered: Answered) -> Path:
    """Answers as LLaVA's own scripts write them, with what a judge needs beside."""
    told = [
        {
            "question_id": own.row["question_id"], "prompt": own.text, "text": answer, "answer_id": f"answer-{own.id}",
            "model_id": "", "metadata": {}, "reference": own.truth, "category": own.row["category"],
            "context": own.row["context"],
        }
        for own, answer in answered
    ]  # fmt: skip
    return put(out / "predictions.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in told))


def _marks(some: Sequence[Review]) -> dict[str, float]:
    """The model's own score of each question, 10 points as 1, as the mean of its reviews."""
    told: dict[str, list[float]] = {}
    for one in some:
        told.setdefault(one.id, []).append(one.scores[1] / 10)
    return {name: float(np.mean(scores)) for name, scores in told.items() if all(0 <= own <= 1 for own in scores)}


def _add(found: Scored, runs: Sequence[Sequence[Review]], mode: str) -> None:
    found.add(_figures(runs, mode))
    met = dict.fromkeys([*ORDER, *(one.category for run in runs for one in run)])
    for category in met:
        own = [[one for one in run if one.category == category] for run in runs]
        if category and any(own):
            found.add(_figures([run for run in own if run], mode), category)


def _figures(runs: Sequence[Sequence[Review]], mode: str) -> dict[str, Figure]:
    """The figures of runs over the same questions; the interval is over pictures, or questions."""
    places: dict[str, int] = {}
    for run in runs:
        for one in run:
            places.setdefault(one.id, len(places))
    sums = np.zeros((len(places), 3 * len(runs)))
    images = [""] * len(places)
    for r, run in enumerate(runs):
        for one in run:
            images[places[one.id]] = one.image
            sums[places[one.id], 3 * r : 3 * r + 3] += [*one.scores, 1]

    def relative(s: Floats) -> Floats:
        reference, model = s[..., 0::3] / s[..., 2::3], s[..., 1::3] / s[..., 2::3]
        if mode == "official" and s.ndim == 1:  # the reference rounds the means before it divides them
            short = [np.array([round(float(x), 3) for x in some]) for some in (reference, model)]
            printed, exact = ((100 * over(b, a)).mean() for a, b in (short, (reference, model)))
            if round(float(printed), 1) != round(float(exact), 1):  # it prints one digit, which its rounding may move
                reference, model = short
        return np.asarray(100 * np.where(reference != 0, model / reference, np.nan).mean(-1))

    n = max(len(places), *map(len, runs))  # a question can have several reviews in one file
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "relative_score": of_sums(relative, sums, images, n),
            "score": of_sums(lambda s: 10 * (s[..., 1::3] / s[..., 2::3]).mean(-1), sums, images, n),
            "reference_score": of_sums(lambda s: 10 * (s[..., 0::3] / s[..., 2::3]).mean(-1), sums, images, n),
        }


def _run(path: Path, name: str, rows: Sequence[Row], mode: str, found: Scored) -> list[Review]:
    """The reviews of one file."""
    some, failed, again = [], 0, 0
    seen: set[str] = set()
    for number, row in enumerate(rows, 1):
        own = text(first(row, IDS) if first(row, IDS) is not None else number)
        again += own in seen
        seen.add(own)
        scores = _scores(row, mode, f"{path} ({name}), row {number}")
        if scores == FAILED:
            failed += 1
            if mode != "official":
                found.unscored[f"{name}/{own}"] = "the judge's two scores cannot be read"
                continue
        category = slug(row["category"]).removeprefix("llava_bench_") if "category" in row else ""
        some.append(Review(own, category, scores, text(row.get("image", own))))
    if failed and mode == "official":
        found.notes.append(f"{name}: {failed} reviews without two scores count as -1 for both, as in the reference")
    if again:
        found.notes.append(f"{name}: {again} reviews are of questions that have one already; the means are over all")
    told = any({"content", "review", "tuple"} & row.keys() for row in rows)
    if not some or (not told and all(one.scores == FAILED for one in some)):
        raise BadData(
            f"{path} ({name}): no review in it has two scores on its first line. Answers are judged first: isthmus"
            f" judge llava-bench --answers {path}"
        )
    return some


def _scores(row: Mapping[str, object], mode: str, place: str) -> tuple[float, float]:
    """The reference's score and the model's, or `FAILED`."""
    if "gpt4_score" in row and "score" in row:
        return _two([row["gpt4_score"], row["score"]])
    value = first(row, REVIEWS)
    if isinstance(value, (list, tuple)):
        return _two(value)
    if not isinstance(value, str) or (not {"content", "review", "tuple"} & row.keys() and "answer_id" in row):
        raise BadData(
            f"{place}: no judge's scores (tuple: [8.0, 9.0], or content: '8 9 ...'). Answers alone cannot be scored:"
            " have them judged first, by llava/eval/eval_gpt_review_bench.py"
        )
    return read(value) if mode == "official" else read_any(value)


def _two(value: Sequence[object]) -> tuple[float, float]:
    try:
        one, other = (float(str(x)) for x in value)
    except ValueError:
        return FAILED
    return (one, other) if one == one and other == other else FAILED


def read(review: str) -> tuple[float, float]:
    """The two scores on a review's first line, as the reference reads them.

    >>> read("8 9.5\\nBoth are helpful."), read("8, 9"), read("Assistant 1: 8\\nAssistant 2: 9")
    ((8.0, 9.5), (-1.0, -1.0), (-1.0, -1.0))
    """
    return _two(review.split("\n")[0].replace(",", " ").split(" "))


def read_any(review: str) -> tuple[float, float]:
    """The two scores wherever a first line, or the first two, have them.

    >>> read_any("8, 9"), read_any("Assistant 1: 8/10\\nAssistant 2: 9"), read_any("Both are good.")
    ((8.0, 9.0), (8.0, 9.0), (-1.0, -1.0))
    """
    lines = re.sub(r"(?i)assistant\s*\d|/\s*10\b", " ", "\n".join(review.strip().split("\n")[:2])).split("\n")
    for some in (lines[0], " ".join(lines)):
        numbers = re.findall(r"\d+(?:\.\d+)?", some)
        if len(numbers) == 2:
            return _two(numbers)
    return FAILED


def _turned(rows: Mapping[str, Sequence[Row]]) -> list[str]:
    """The files whose answers were shown in the other order: by name, or by ids that are another file's turned."""
    named = [name for name in rows if SWAPPED.search(name.lower())]
    if named or len(rows) < 2:
        return [] if len(named) == len(rows) > 1 else named
    shown = {
        name: {text(first(row, IDS)): (row.get("answer1_id"), row.get("answer2_id")) for row in some}
        for name, some in rows.items()
    }
    base = next(iter(shown.values()))
    return [
        name
        for name, some in shown.items()
        if any(None not in pair and base.get(key) == pair[::-1] != pair for key, pair in some.items())
    ]
