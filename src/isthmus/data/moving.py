"""Clips of one animated drawing that moves over a coloured ground, with questions whose answers are known.

A clip's *layout* is the way the drawing goes and the place about which it does: `HELD_OUT_LAYOUTS` are never drawn
where training asks for the way (`emoji-events`, which does not ask, has drawings everywhere). In every place that is
drawn it goes all ways, and it is there in the middle of the clip: that frame says nothing about the way, and the first
or the last one, which do, mislead nobody who goes by them in a new place.
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import PIL.Image
from pydantic import Field

from isthmus import parts
from isthmus.data.choosing import held_out, ranked, yes_no
from isthmus.data.emoji import code_of
from isthmus.data.scenes import COLOURS, SIDE
from isthmus.media.animation import load_stills, moves
from isthmus.media.forms import Clip
from isthmus.types import Turn

PACKAGES = ("fluent-emoji-anim", "fluent-emoji-anim-2", "fluent-emoji-anim-3", "fluent-emoji-anim-4")
PARTS = (PACKAGES[0], "emojibase")
Packages = Annotated[int, Field(ge=1, le=len(PACKAGES))]
HOLD_OUT_EVERY = 8
FRAMES, RATE = 16, 8.0  # of a clip, and in a second; the drawing goes through its animation once
WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
TRAVEL = (1 / 4, 1 / 3)  # of the frame: the least and the most that it goes
GRID = 3  # columns and rows of places
LAYOUTS = tuple((way, (column, row)) for way in WAYS for column in range(GRID) for row in range(GRID))
HELD_OUT_LAYOUTS = tuple((way, (place, place)) for way in WAYS for place in range(GRID))


@dataclass(frozen=True)
class Animation:
    """An animated drawing: its name, code points and the file that it is in."""

    name: str
    code: str
    file: Path = field(repr=False, compare=False)


@dataclass(frozen=True)
class Moving:
    """An animation, `side` pixels large, whose centre goes from `start` to `stop`, in pixels; call it to draw.

    `place` is the column and row about which it goes, `phase` the frame of the animation that comes first.
    """

    what: Animation
    way: str
    place: tuple[int, int]
    side: int
    start: tuple[float, float]
    stop: tuple[float, float]
    phase: int
    background: str
    ground: tuple[int, int, int]

    def __call__(self) -> Clip:
        """`FRAMES` frames of `SIDE` x `SIDE` pixels, `RATE` in a second."""
        frames = []
        stills = animated(self.what.file)
        for index, share in enumerate(np.linspace(0, 1, FRAMES)):
            still = stills[(index + self.phase) % FRAMES].resize((self.side, self.side), PIL.Image.Resampling.LANCZOS)
            x, y = (a + (b - a) * float(share) for a, b in zip(self.start, self.stop, strict=True))
            canvas = PIL.Image.new("RGB", (SIDE, SIDE), self.ground)
            canvas.paste(still, (round(x - self.side / 2), round(y - self.side / 2)), still)
            frames.append(np.asarray(canvas))
        return Clip(np.stack(frames), np.arange(FRAMES) / RATE)


@functools.lru_cache(maxsize=256)
def animated(file: Path) -> tuple[PIL.Image.Image, ...]:
    """`FRAMES` frames of an animated WebP, evenly spread over it, RGBA, half of `SIDE` pixels square."""
    side = SIDE // 2
    return tuple(still.resize((side, side), PIL.Image.Resampling.LANCZOS) for still in load_stills(file, FRAMES))


_moves = functools.cache(moves)


def animations(packages: int = 1) -> tuple[list[Animation], list[Animation]]:
    """Everything that is animated and has a name, as (trained on, held out), each in an order fixed by a hash of it.

    It is taken of the first `packages` of `PACKAGES`; what is held out of some is not what is held out of more.

    Skin tones and flags are left out, and so are names with a comma, as for `emoji.concepts`.
    """
    words = next(parts.get("emojibase").glob("**/en/data.json")).parent
    groups = {entry["order"]: entry["key"] for entry in json.loads((words / "messages.json").read_text())["subgroups"]}
    labels = {
        code_of(entry["hexcode"]): entry["label"].lower()
        for entry in json.loads((words / "data.json").read_text())
        if "flag" not in groups.get(entry.get("subgroup"), "flag") and "," not in entry["label"]
    }
    folders = [parts.get(name) for name in PACKAGES[:packages]]
    files = {code_of(path.stem): path for folder in folders for path in sorted(folder.glob("**/assets/*.webp"))}
    found = {labels[code]: Animation(labels[code], code, path) for code, path in files.items() if code in labels}
    found = {name: one for name, one in found.items() if _moves(one.file)}
    held = held_out(found, HOLD_OUT_EVERY)
    order = ranked(found)
    return [found[name] for name in order if name not in held], [found[name] for name in order if name in held]


def compose(rng: random.Random, what: Animation, layouts: Sequence[tuple[str, tuple[int, int]]]) -> Moving:
    """A clip of it in one of the `layouts`, wholly within the frame.

    Places part the square in which the middle of its way may lie, whichever way it goes.
    """
    way, place = rng.choice(list(layouts))
    side = rng.randint(40, 52)
    travel = rng.uniform(*TRAVEL) * SIDE
    low, width = (side + travel) / 2, SIDE - side - travel
    x, y = (low + width * (cell + rng.random()) / GRID for cell in place)
    dx, dy = (travel / 2 * step for step in WAYS[way])
    background = rng.choice(list(COLOURS))
    r, g, b = (min(255, max(0, value + rng.randint(-14, 14))) for value in COLOURS[background])
    start, stop = (x - dx, y - dy), (x + dx, y + dy)
    return Moving(what, way, place, side, start, stop, rng.randrange(FRAMES), background, (r, g, b))


def questions(clip: Moving, rng: random.Random) -> list[Turn]:
    """Every kind of question that the clip can answer; yes and no equally often."""
    return [
        Turn("What is this?", clip.what.name, "name"),
        Turn("Which way does it move?", clip.way, "direction"),
        Turn("What colour is the background?", clip.background, "background"),
        *yes_no("Does it move {}?", clip.way, rng.choice([way for way in WAYS if way != clip.way])),
    ]
