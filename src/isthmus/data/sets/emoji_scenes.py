"""Scenes of one to four drawings with questions whose answers are known (see `data.scenes`)."""

from __future__ import annotations

import random

from isthmus.data import emoji, scenes
from isthmus.types import Image, Sample

ABOUT = "one to four emoji on a coloured ground: which, how many, is there a ..., what is left of ..., background"
SPLITS = ("train", "vendor", "concepts", "layouts")
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
    """`count` scenes. As in `emoji_captions`, and `layouts`: trained concepts and vendors in layouts never trained."""
    pool, vendors = emoji.split_of(split, concepts, unseen)
    restyle, noise = (restyle, noise) if split == "train" else (0, 0)
    layouts = [cells for cells in scenes.LAYOUTS if (cells in scenes.HELD_OUT_LAYOUTS) == (split == "layouts")]
    samples = []
    for index in range(count):
        name = f"scenes/{split}/{seed}/{index}"
        rng = random.Random(name)
        scene = scenes.compose(rng, pool, vendors, rng.choice(layouts), turn, restyle, noise)
        samples.append(Sample(name, (Image(scene),), tuple(scenes.questions(scene, rng, pool))))
    return samples
