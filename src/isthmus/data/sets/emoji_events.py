"""Two animated drawings, one after the other: the order of events, known by construction (see `data.moving`)."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import numpy as np

from isthmus.data import moving
from isthmus.data.choosing import held_out, yes_no
from isthmus.media.forms import Clip
from isthmus.types import Sample, Turn, Video

ABOUT = "two animated emoji, one after the other: which comes first, which comes last"
SPLITS = ("train", "concepts", "pairs")
PARTS = moving.PARTS
HELD_OUT = {"concepts": "packages", "pairs": "packages"}  # of other packages, others are held out
HOLD_OUT_EVERY = 8  # of the pairs of drawings
CUTS = (6, 10)  # the second drawing comes after so many frames: the least and the most


@dataclass(frozen=True)
class Events:
    """One drawing until the frame `cut`, then another over the same ground; call it to draw."""

    first: moving.Moving
    last: moving.Moving
    cut: int

    def __call__(self) -> Clip:
        """As many frames as `moving.Moving` has."""
        before, after = self.first(), self.last()
        return Clip(np.concatenate([before.frames[: self.cut], after.frames[self.cut :]]), before.times)


def load(split: str, count: int, seed: int = 0, packages: moving.Packages = 1) -> list[Sample]:
    """`count` clips, of the drawings of the first `packages` of four.

    `concepts` shows drawings that training does not have; `pairs` those of training, in pairs that are never trained:
    every `HOLD_OUT_EVERY`-th, whichever of the two comes first.
    """
    trained, held = moving.animations(packages)
    pool = held if split == "concepts" else trained
    every = {f"{a.name}, {b.name}" for a in pool for b in pool if a.name < b.name}
    never = held_out(every, HOLD_OUT_EVERY) if split != "concepts" else frozenset()
    samples: list[Sample] = []
    while len(samples) < count:
        name = f"emoji-events/{split}/{seed}/{len(samples)}"
        rng = random.Random(name)
        while True:
            first, last = rng.sample(pool, 2)
            pair = ", ".join(sorted((first.name, last.name)))
            if split == "concepts" or (pair in never) == (split == "pairs"):
                break
        clip = events(first, last, rng)
        samples.append(Sample(name, (Video(clip, sound=False),), tuple(questions(clip))))
    return samples


def events(first: moving.Animation, last: moving.Animation, rng: random.Random) -> Events:
    """Both in places and ways of their own, over one ground."""
    before, after = (moving.compose(rng, what, moving.LAYOUTS) for what in (first, last))
    after = replace(after, background=before.background, ground=before.ground)
    return Events(before, after, rng.randint(*CUTS))


def questions(clip: Events) -> list[Turn]:
    """What comes first, what last, and of both orders whether it is the true one."""
    first, last = clip.first.what.name, clip.last.what.name
    return [
        Turn("What comes first?", first, "first"),
        Turn("What comes last?", last, "last"),
        *yes_no("Does the {}?", f"{first} come before the {last}", f"{last} come before the {first}"),
    ]
