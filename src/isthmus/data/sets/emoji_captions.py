"""Single drawings, named: one object on a coloured ground (see `data.scenes`)."""

from __future__ import annotations

import random

from isthmus.data import emoji, scenes
from isthmus.data.choosing import rounds
from isthmus.types import Image, Sample

ABOUT = "one emoji on a coloured ground: what is it, is there a ..., background, caption"
SPLITS = ("train", "vendor", "concepts")
PARTS = emoji.PARTS
HELD_OUT = emoji.HELD_OUT


def load(
    split: str,
    count: int,
    seed: int = 0,
    concepts: int | None = None,
    unseen: emoji.Vendor = "openmoji",
    turn: scenes.Degrees = 12,
    restyle: scenes.Share = 0,
    noise: scenes.Deviation = 0,
) -> list[Sample]:
    """`count` samples: shuffled rounds of all concepts; of a last round that is cut short, some of them.

    `train` draws every vendor but `unseen`; `vendor` the same concepts by the unseen vendor; `concepts` draws concepts
    that training does not have, by the training vendors.
    """
    pool, vendors = emoji.split_of(split, concepts, unseen)
    restyle, noise = (restyle, noise) if split == "train" else (0, 0)
    order = random.Random(f"{seed}/captions/{split}")
    samples: list[Sample] = []
    for concept in rounds(pool, count, order):
        name = f"captions/{split}/{seed}/{len(samples)}"
        rng = random.Random(name)
        scene = scenes.compose(rng, [concept], vendors, (), turn, restyle, noise)
        samples.append(Sample(name, (Image(scene),), tuple(scenes.questions(scene, rng, pool))))
    return samples
