"""What a phone at the waist feels of what its owner does.

The part `har` is HAPT (Reyes-Ortiz et al., "Transition-aware human activity recognition using smartphones",
Neurocomputing 171, 2016).
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from isthmus import media, parts
from isthmus.data.choosing import Number, some, yes_no
from isthmus.errors import BadRecipe
from isthmus.media.forms import Signal
from isthmus.types import Sample, Series, Turn

ABOUT = "some seconds of a phone's accelerometer and gyroscope, 50 Hz: what is the person doing"
SPLITS = ("train", "people")
PARTS = ("har",)
HOLD_OUT_EVERY = 5  # of the people, by their number
RATE = 50
CHANNELS = ("acceleration x", "acceleration y", "acceleration z", "rotation x", "rotation y", "rotation z")
ACTIVITIES = {  # label -> what it says; those above are changes of posture, which are shorter than a window
    1: "walking",
    2: "walking upstairs",
    3: "walking downstairs",
    4: "sitting",
    5: "standing",
    6: "lying",
}


@dataclass(frozen=True)
class Window:
    """`steps` steps of a recording from `start` on; call it for the series."""

    recording: str
    start: int
    steps: int
    folder: Path = field(repr=False, compare=False)

    def __call__(self) -> Signal:
        """Accelerations in g, rotations in rad/s, along x, y and z; times from 0 on."""
        whole = media.load(Series(self.folder / f"{self.recording}.npy", rate=RATE))
        return Signal(whole.values[:, self.start : self.start + self.steps], whole.times[: self.steps], CHANNELS)


def load(split: str, count: int | None = None, seed: int = 0, steps: Number = 128) -> list[Sample]:
    """Windows of `steps` steps side by side, in each of which one thing is done; `count` takes a seeded sample of them.

    `people` are those that training does not know: every `HOLD_OUT_EVERY`-th. Raises `BadRecipe` where no window is as
    long as that.
    """
    pool = [
        (window, label)
        for path in sorted(parts.get("har").glob("*-labels.npy"))
        if (int(path.name[:2]) % HOLD_OUT_EVERY == 0) == (split == "people")
        for window, label in windows(path, steps)
    ]
    if not pool:
        raise BadRecipe(f"phone-motion: steps: {steps}: nothing is done for as long as that")
    samples = []
    for window, label in some(pool, count, f"{seed}/phone-motion/{split}"):
        name = f"phone-motion/{split}/{seed}/{window.recording}/{window.start}"
        doing = ACTIVITIES[label]
        others = [other for other in ACTIVITIES.values() if not doing.startswith(other)]  # who climbs stairs walks too
        other = random.Random(name).choice(others)
        turns = (Turn("What is the person doing?", doing, "activity"), *yes_no("Is the person {}?", doing, other))
        samples.append(Sample(name, (Series(window),), turns))
    return samples


def windows(path: Path, steps: int) -> list[tuple[Window, int]]:
    """The windows of a recording whose labels are in `path`, each with its own."""
    labels = media.load(Series(path)).values[0]
    edges = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    recording = path.stem.removesuffix("-labels")
    return [
        (Window(recording, start, steps, path.parent), int(labels[first]))
        for first, last in itertools.pairwise(edges)
        if int(labels[first]) in ACTIVITIES
        for start in range(first, last - steps + 1, steps)
    ]
