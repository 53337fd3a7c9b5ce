"""How many questions of a benchmark a second, beside asking one after another?

    python benchmarks/asking.py [--pictures 12] [--turns 3]      writes benchmarks/results/asking.json

The shipped default answers yes/no questions about pictures of held-out emoji, as many about each as POPE asks about an
image of COCO (6 in each of its three splits). The peer is what harnesses do with a model of transformers that they do
not batch: for each question `generate` with its picture. Both take turns in one process, and their answers must agree.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from _common import RESULTS, merge, result

from isthmus.data.sources import load_split
from isthmus.evaluate.models.composed import Composed
from isthmus.evaluate.questions import SHORT, Question
from isthmus.types import Message

RESULT = RESULTS / "asking.json"
EACH = 18  # questions about a picture
LONGEST = 16  # tokens


def main() -> None:
    """Check that both sides agree, let them take turns, write the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=12)
    parser.add_argument("--turns", type=int, default=3)
    own = parser.parse_args()
    asked = questions(own.pictures)
    model = Composed("default", "cpu")
    sides: Any = (lambda: [said.answer for said in model.answers(asked)], lambda: [alone(model, one) for one in asked])
    rates: tuple[list[float], list[float]] = [], []
    answers: dict[int, list[str]] = {}
    for turn in range(own.turns):
        for side in (0, 1) if turn % 2 else (1, 0):
            begun = time.perf_counter()
            answers[side] = sides[side]()
            rates[side].append(round(len(asked) / (time.perf_counter() - begun), 3))
    differ = sum(a != b for a, b in zip(answers[0], answers[1], strict=True))
    assert differ <= len(asked) // 100, f"{differ} of {len(asked)} answers differ"
    name = f"{EACH} questions about each of {own.pictures} pictures"
    how = {"turns": own.turns, "a second, ours": rates[0], "a second, alone": rates[1], "answers that differ": differ}
    merge(Path(RESULT), [result(name, *map(statistics.median, rates), "one by one", "questions/s", how)])


def questions(count: int) -> list[Question]:
    """Is there such a thing? Of all pictures' names, the picture's own among them."""
    samples = load_split("emoji-captions", "vendor", count, {}, 0)
    names = [next(turn.answer for turn in sample.turns if turn.kind == "name") for sample in samples]
    found = []
    for i, sample in enumerate(samples):
        for k in range(EACH):
            text = f"Is there a {names[(i + k) % len(names)]} in the image?"
            found.append(Question(f"{i}/{k}", text, sample.media, ("yes", "no"), False, SHORT, longest=LONGEST))
    return found


@torch.inference_mode()
def alone(model: Composed, question: Question) -> str:
    """A greedy answer to one question, whose picture is encoded for it."""
    processor = model.run.processor
    inputs = processor.encode([[Message("user", question.text, question.media)]])
    out = model.run.model.generate(**inputs, max_new_tokens=LONGEST, do_sample=False)
    return str(processor.decode(out[0, inputs["input_ids"].shape[1] :])).strip()


if __name__ == "__main__":
    main()
