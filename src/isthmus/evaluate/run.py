"""Asking a model every question of a benchmark, with its picture and with another one's."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from isthmus.evaluate.scoring import Answer
from isthmus.train.mixture import load_split
from isthmus.train.recipe import Check
from isthmus.train.run import Run, features
from isthmus.types import Sample, Turn

BATCH = 32
LONGEST = 24  # tokens of an answer


def ask_all(run: Run, checks: dict[str, Check], seed: int = 0) -> tuple[list[Answer], dict[str, Sample]]:
    """Every answer of every benchmark, and the samples by id, for the report's pictures."""
    answers: list[Answer] = []
    shown: dict[str, Sample] = {}
    for name, check in checks.items():
        samples = load_split(check.data, check.split, check.count, check.options, seed + 1)
        answers += ask(run, name, samples, check.kinds, seed)
        shown |= {sample.id: sample for sample in samples}
    return answers, shown


def ask(run: Run, benchmark: str, samples: Sequence[Sample], kinds: Sequence[str] | None, seed: int) -> list[Answer]:
    """Greedy answers to the samples' turns (of some kinds only, if given).

    Each question is asked twice: with its picture, and with the picture of another sample of the benchmark, which
    shows how much could be answered without looking.
    """
    seen = features(run, list(samples), benchmark)
    other = another(len(samples), random.Random(f"{seed}/{benchmark}"))
    asked = [(i, turn) for i, sample in enumerate(samples) for turn in sample.turns if not kinds or turn.kind in kinds]
    asked.sort(key=lambda item: len(item[1].question))  # like lengths share a batch
    found = _generate(run, asked, seen, benchmark)
    swapped = _generate(run, asked, seen[other], f"{benchmark}, swapped") if len(samples) > 1 else [None] * len(asked)
    rows = [
        Answer(samples[i].id, benchmark, turn.kind, turn.question, turn.answer, said, blind)
        for (i, turn), said, blind in zip(asked, found, swapped, strict=True)
    ]
    place = {sample.id: number for number, sample in enumerate(samples)}
    return sorted(rows, key=lambda row: place[row.sample])


def another(count: int, rng: random.Random) -> list[int]:
    """A permutation that leaves nothing in its place.

    >>> all(a != b for a, b in enumerate(another(5, random.Random(0))))
    True
    """
    order = rng.sample(range(count), count)
    swapped = [0] * count
    for here, there in zip(order, order[1:] + order[:1], strict=True):
        swapped[here] = there
    return swapped


@torch.inference_mode()
def _generate(run: Run, asked: Sequence[tuple[int, Turn]], seen: Tensor, note: str) -> list[str]:
    said: list[str] = []
    columns = (TextColumn("{task.description:>28}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeRemainingColumn(), refresh_per_second=2) as bar:
        task = bar.add_task(note, total=len(asked))
        for start in range(0, len(asked), BATCH):
            some = asked[start : start + BATCH]
            said += answer_batch(run, [turn.question for _, turn in some], seen[[i for i, _ in some]].float())
            bar.update(task, advance=len(some))
    return said


def answer_batch(run: Run, questions: Sequence[str], features_BND: Tensor) -> list[str]:
    """Greedy answers to one question for each picture's features."""
    template = run.processor.template
    rows = [template.prefix(["image"]) + template.question(question) for question in questions]
    length = max(map(len, rows))
    ids = torch.tensor([[0] * (length - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
    out: Any = run.model.generate(
        input_ids=ids, attention_mask=mask, features={"image": features_BND}, max_new_tokens=LONGEST, do_sample=False
    )
    return [run.processor.decode(row[length:]) for row in out]
