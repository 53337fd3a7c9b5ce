"""What is trained on: a mix of lengths as instruction data has it, and five questions about each picture.

Shares of the mix are those of LLaVA-1.5's 665,000 samples (Liu et al., 2023, arXiv:2310.03744, table 7): VQA sets
whose questions about a picture are one conversation (VQAv2 83, GQA 72, OKVQA 9, OCRVQA 80, A-OKVQA 66, VG 86 thousand),
regions and captions (RefCOCO 48, TextCaps 22), LLaVA's own conversations, descriptions and reasoning (58, 23, 77), and
ShareGPT's texts without a picture (40). How many turns and words each has is estimated, not published. The words are
real: easy-VQA's questions and answers, and the introductions of installed packages.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import metadata
from itertools import cycle

import numpy as np

from isthmus.data.packing import Template, pack
from isthmus.data.sources import load_split
from isthmus.types import Sample, Turn

LONGEST = 1024  # tokens: TRL's own default, and half of what LLaVA cuts at
PACKAGES = ("torch", "pydantic", "transformers", "peft", "accelerate", "rich", "typer", "trimesh", "datasets")
QUESTIONS = 5  # about each picture


@dataclass(frozen=True)
class Kind:
    """One kind of conversation: its share, and the least and most turns, words of a question and of an answer."""

    name: str
    share: int  # thousands of samples
    turns: tuple[int, int]
    asks: tuple[int, int]
    says: tuple[int, int]
    image: bool = True


KINDS = (
    Kind("short answers", 396, (1, 8), (5, 14), (1, 3)),
    Kind("regions and captions", 70, (1, 6), (5, 16), (4, 14)),
    Kind("conversation", 58, (2, 5), (6, 16), (8, 60)),
    Kind("description", 23, (1, 1), (6, 16), (60, 130)),
    Kind("reasoning", 77, (1, 1), (8, 24), (80, 190)),
    Kind("text alone", 40, (1, 6), (8, 90), (30, 260), image=False),
)


class Mixed(list[Sample]):
    """Samples with their lengths in tokens, as an index of files has them, by which batches are made."""

    lengths: np.ndarray


def words() -> Iterator[str]:
    """The packages' introductions, word by word, without end, addresses and code left out."""
    found = " ".join(str(metadata(name).get_payload()) for name in PACKAGES).split()
    return cycle(word for word in found if word.strip(".,;:()").isalpha())


def lengths(count: int, template: Template, seed: int, grouped: bool) -> Mixed:
    """`count` conversations of the mix, evenly over its shares; `grouped` lets batches hold samples of like length."""
    rng = random.Random(f"{seed}/lengths")
    pictures = load_split("easy-vqa", "train", count, {}, seed)
    text = words()
    total = sum(kind.share for kind in KINDS)
    drawn = Mixed()
    for number in rng.sample(range(count), count):
        place, kind = (number + 0.5) / count * total, None
        for kind in KINDS:
            if (place := place - kind.share) < 0:
                break
        drawn.append(_conversation(kind, pictures[len(drawn)], rng, text, template))
    sizes = [len(pack(sample, template).ids) for sample in drawn]
    drawn.lengths = np.array(sizes if grouped else [1] * count)
    return drawn


def questions(count: int, seed: int) -> Mixed:
    """`count` pictures of easy-VQA with five of their questions each, which do not see each other."""
    some = [sample for sample in load_split("easy-vqa", "train", None, {}, seed) if len(sample.turns) >= QUESTIONS]
    chosen = random.Random(f"{seed}/questions").sample(some, count)
    drawn = Mixed(Sample(sample.id, sample.media, sample.turns[:QUESTIONS]) for sample in chosen)
    drawn.lengths = np.ones(count, int)
    return drawn


def _conversation(kind: Kind, picture: Sample, rng: random.Random, text: Iterator[str], template: Template) -> Sample:
    """One sample; turns that would make it longer than `LONGEST` are left out."""
    turns: list[Turn] = []
    some = lambda bounds: " ".join(next(text) for _ in range(rng.randint(*bounds)))
    for number in range(rng.randint(*kind.turns)):
        real = picture.turns[number % len(picture.turns)]
        turn = real if kind.name == "short answers" else Turn(some(kind.asks), some(kind.says))
        media = picture.media if kind.image else ()
        sample = Sample(f"{kind.name}/{picture.id}", media, (*turns, turn), chained=number > 0)
        if turns and len(pack(sample, template).ids) > LONGEST:
            break
        turns, whole = [*turns, turn], sample
    return whole
