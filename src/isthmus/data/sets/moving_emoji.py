"""An animated drawing that moves over a coloured ground (see `data.moving`)."""

from __future__ import annotations

import random

from isthmus.data import moving
from isthmus.data.choosing import rounds
from isthmus.types import Sample, Video

ABOUT = "an animated emoji that moves over a coloured ground: what is it, which way does it move, background"
SPLITS = ("train", "concepts", "layouts")
PARTS = moving.PARTS
HELD_OUT = {"concepts": "packages"}  # of other packages, other drawings are held out


def load(split: str, count: int, seed: int = 0, packages: moving.Packages = 1) -> list[Sample]:
    """`count` clips: shuffled rounds of all drawings; of a last round that is cut short, some of them.

    The drawings are those of the first `packages` of four; what is beyond the first is fetched when it is asked for.

    `concepts` shows drawings that training does not have, `layouts` those of training in layouts never trained.
    """
    trained, held = moving.animations(packages)
    pool = held if split == "concepts" else trained
    layouts = [one for one in moving.LAYOUTS if (one in moving.HELD_OUT_LAYOUTS) == (split == "layouts")]
    order = random.Random(f"{seed}/moving-emoji/{split}")
    samples: list[Sample] = []
    for what in rounds(pool, count, order):
        name = f"moving-emoji/{split}/{seed}/{len(samples)}"
        rng = random.Random(name)
        clip = moving.compose(rng, what, layouts)
        samples.append(Sample(name, (Video(clip, sound=False),), tuple(moving.questions(clip, rng))))
    return samples
