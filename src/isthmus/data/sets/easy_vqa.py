"""easy-VQA (Zhou, 2019): a published benchmark of coloured shapes, with its own train and test split."""

from __future__ import annotations

import json
import random
from collections import defaultdict

from isthmus import parts
from isthmus.types import Image, Sample, Turn

ABOUT = "easy-VQA, published: 5,000 pictures of one coloured shape, 48,248 questions, 13 answers"
SPLITS = ("train", "test")
PARTS = ("easy-vqa",)


def load(split: str, count: int | None = None, seed: int = 0) -> list[Sample]:
    """The pictures of a split with all their questions (about ten each); `count` takes a seeded sample of pictures."""
    folder = next(parts.get("easy-vqa").glob("**/easy_vqa/data")) / split
    asked: dict[int, list[Turn]] = defaultdict(list)
    for question, answer, image in json.loads((folder / "questions.json").read_text()):
        asked[image].append(Turn(question[0].upper() + question[1:], answer, kind(answer)))
    images = sorted(asked)
    if count is not None and count < len(images):
        images = sorted(random.Random(f"{seed}/easy-vqa/{split}").sample(images, count))
    path = folder / "images"
    return [Sample(f"easy-vqa/{split}/{i}", (Image(path / f"{i}.png"),), tuple(asked[i])) for i in images]


def kind(answer: str) -> str:
    """What an answer is about.

    >>> kind("no"), kind("circle"), kind("teal")
    ('yes/no', 'shape', 'colour')
    """
    if answer in ("yes", "no"):
        return "yes/no"
    return "shape" if answer in ("circle", "rectangle", "triangle") else "colour"
