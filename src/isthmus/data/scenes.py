"""Pictures composed of drawings on a coloured ground, and questions whose answers are known by construction.

A scene has up to four objects, one in a cell of a 2 x 2 grid (jittered, scaled, turned a little); a single object may
stand anywhere and fill the picture. Which cells are taken is the scene's *layout*: `HELD_OUT_LAYOUTS` are never drawn
for training. Everything follows from the options of the data set (concepts, unseen, turn, restyle, noise) and `(seed,
split, index)`, so a scene is drawn anew whenever its pixels are wanted. An id names the latter alone: two sets with
different options have samples of the same id and different content.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import PIL.Image
from pydantic import Field

from isthmus.data import restyle
from isthmus.data.emoji import Concept, Vendor, drawing
from isthmus.data.restyle import outlined
from isthmus.types import Turn

COLOURS = {
    "white": (250, 250, 250),
    "black": (15, 15, 15),
    "gray": (128, 128, 128),
    "red": (210, 35, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 210),
    "yellow": (245, 220, 50),
    "purple": (130, 50, 170),
}
NUMBERS = ("zero", "one", "two", "three", "four")
LAYOUTS: tuple[tuple[int, ...], ...] = ((0,), (1,), (2,), (3,), (0, 1), (2, 3), (0, 2), (1, 3), (0, 3), (1, 2))
LAYOUTS += ((0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3), (0, 1, 2, 3))
HELD_OUT_LAYOUTS = ((1, 2), (0, 3), (1, 2, 3))
# relation -> (is cell a so related to cell b, the question)
RELATIONS: dict[str, tuple[Callable[[int, int], bool], str]] = {
    "left": (lambda a, b: a % 2 < b % 2, "What is left of the {}?"),
    "right": (lambda a, b: a % 2 > b % 2, "What is right of the {}?"),
    "above": (lambda a, b: a // 2 < b // 2, "What is above the {}?"),
    "below": (lambda a, b: a // 2 > b // 2, "What is below the {}?"),
}
SIDE = 112  # pixels of a picture
Degrees = Annotated[float, Field(ge=0, le=180, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Deviation = Annotated[float, Field(ge=0, le=255, allow_inf_nan=False)]
SINGULAR = ("ss", "us", "is", "os")  # dress, octopus, iris, rhinoceros
WHAT_IT_HAS = re.compile(" (?:with|of|in|over|showing|holding|lifting) ")  # a plural after it does not count


@dataclass(frozen=True)
class Placed:
    """One object of a scene: what it is, whose drawing, where (centre and side, in pixels) and how far turned.

    `restyled` is the seed of `data.restyle.outlined`, or 0 for the drawing as it is.
    """

    concept: Concept
    vendor: Vendor
    cell: int
    x: float
    y: float
    side: float
    degrees: float
    restyled: int = 0


@dataclass(frozen=True)
class Scene:
    """Objects in reading order on a ground; call it to draw it.

    `noise` is the deviation of Gaussian noise on every pixel (of 255), drawn from `grain`.
    """

    objects: tuple[Placed, ...]
    background: str
    ground: tuple[int, int, int]
    noise: float = 0
    grain: int = 0

    def __call__(self) -> PIL.Image.Image:
        """The picture, RGB, `SIDE` x `SIDE`."""
        canvas = PIL.Image.new("RGB", (SIDE, SIDE), self.ground)
        for placed in self.objects:
            picture = drawing(placed.vendor, placed.concept.code)
            own = picture.width
            if placed.restyled:
                picture, own = outlined(picture, random.Random(placed.restyled)), restyle.SIDE
            picture = picture.rotate(placed.degrees, PIL.Image.Resampling.BICUBIC, expand=True)
            grown = picture.width / own  # a margin and turned corners make the frame larger, not the drawing
            side = max(8, round(placed.side * grown))
            picture = picture.resize((side, side), PIL.Image.Resampling.LANCZOS)
            canvas.paste(picture, (round(placed.x - side / 2), round(placed.y - side / 2)), picture)
        if not self.noise:
            return canvas
        grain = np.random.RandomState(self.grain).normal(0, self.noise, (SIDE, SIDE, 3))  # the same in every numpy
        return PIL.Image.fromarray(np.clip(np.asarray(canvas) + grain, 0, 255).astype(np.uint8))


def compose(
    rng: random.Random,
    pool: Sequence[Concept],
    vendors: Sequence[Vendor],
    layout: tuple[int, ...],
    turn: float = 12,
    restyled: float = 0,
    noise: float = 0,
) -> Scene:
    """Objects of `pool` in the cells of `layout`; `turn` is the largest rotation in degrees.

    `restyled` is the share of objects that are redrawn as by another hand (see `data.restyle`), `noise` the largest
    deviation of the noise on a picture's pixels.
    A layout of no cells means one object anywhere, filling half to all of the picture. Now and then a concept stands
    twice in a scene, so that counting it means something.
    """
    chosen = rng.sample(pool, max(1, len(layout)))
    if len(layout) > 1 and rng.random() < 0.3:
        chosen[rng.randrange(1, len(chosen))] = chosen[0]
    half = SIDE / 2
    objects = []
    for concept, cell in zip(chosen, layout or (-1,), strict=True):
        side = rng.uniform(0.72, 0.98) * half if layout else rng.uniform(0.5, 0.98) * SIDE
        slack = ((half if layout else SIDE) - side) / 2
        x, y = ((cell % 2 + 0.5) * half, (cell // 2 + 0.5) * half) if layout else (half, half)
        x, y = x + rng.uniform(-slack, slack), y + rng.uniform(-slack, slack)
        seed = rng.randrange(1, 2**31) if restyled and rng.random() < restyled else 0
        objects.append(Placed(concept, rng.choice(list(vendors)), cell, x, y, side, rng.uniform(-turn, turn), seed))
    background = rng.choice(list(COLOURS))
    ground = tuple(min(255, max(0, value + rng.randint(-14, 14))) for value in COLOURS[background])
    grainy = {"noise": rng.uniform(0, noise), "grain": rng.randrange(2**31)} if noise else {}
    return Scene(tuple(objects), background, ground, **grainy)  # type: ignore[arg-type]


def questions(scene: Scene, rng: random.Random, pool: Sequence[Concept]) -> list[Turn]:
    """Every kind of question that the scene can answer, one of each, yes and no equally often."""
    names = [placed.concept.name for placed in scene.objects]
    groups = {placed.concept.group for placed in scene.objects}  # an owl is a bird, too
    absent = rng.choice([concept.name for concept in pool if concept.group not in groups] or _others(pool, names))
    turns = [
        Turn("What colour is the background?", scene.background, "background"),
        Turn(f"{is_there(rng.choice(names)).capitalize()}?", "yes", "yes/no"),
        Turn(f"{is_there(absent).capitalize()}?", "no", "yes/no"),
    ]
    if len(names) == 1:
        caption = f"{article(names[0])} on a {scene.background} background"
        return [Turn("What is this?", names[0], "name"), *turns, Turn("Describe the picture.", caption, "caption")]
    counted = rng.choice([*names, absent])
    turns += [
        Turn("Which objects are there?", ", ".join(names), "objects"),
        Turn("How many objects are there?", NUMBERS[len(names)], "count"),
        Turn(f"How many times {is_there(counted)}?", NUMBERS[names.count(counted)], "count"),
    ]
    return turns + [turn for turn in _relations(scene) if rng.random() < 0.5]


def _others(pool: Sequence[Concept], names: Sequence[str]) -> list[str]:
    return [concept.name for concept in pool if concept.name not in names]


def _relations(scene: Scene) -> list[Turn]:
    """Relations with exactly one answer, asked of objects that stand once in the scene."""
    names = [placed.concept.name for placed in scene.objects]
    turns = []
    for anchor in scene.objects:
        if names.count(anchor.concept.name) > 1:
            continue
        for holds, question in RELATIONS.values():
            there = {other.concept.name for other in scene.objects if holds(other.cell, anchor.cell)}
            if len(there) == 1:
                turns.append(Turn(question.format(anchor.concept.name), there.pop(), "relation"))
    return turns


def article(name: str) -> str:
    """The name with its indefinite article; a plural has none.

    >>> article("owl"), article("dog"), article("unicorn"), article("gloves"), article("octopus")
    ('an owl', 'a dog', 'a unicorn', 'gloves', 'an octopus')
    """
    thing = WHAT_IT_HAS.split(name)[0]
    if thing.endswith("s") and not thing.endswith(SINGULAR):
        return name
    vowel = name[0] in "aeiou" and not name.startswith(("uni", "ewe", "euro", "one"))  # as in "you" and "won"
    return f"an {name}" if vowel or name.startswith("hour") else f"a {name}"


def is_there(name: str) -> str:
    """The words that ask for a thing, or for several.

    >>> is_there("owl"), is_there("socks"), is_there("face with horns")
    ('is there an owl', 'are there socks', 'is there a face with horns')
    """
    return f"are there {name}" if article(name) == name else f"is there {article(name)}"
