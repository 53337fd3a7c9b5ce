"""Concepts and their drawings by several hands: the real pictures that the generated data is composed of.

A *concept* is an emoji with a name; a *drawing* is one vendor's picture of it. A run names the vendor that it holds
out of training. Of the concepts, every `HOLD_OUT_EVERY`-th (in an order fixed by a hash of the name) is held out too.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import PIL.Image

from isthmus import parts
from isthmus.errors import BadRecipe
from isthmus.media.image import load_rgba, load_svg

Vendor = Literal["google", "twitter", "fluent", "openmoji"]
VENDORS: tuple[Vendor, ...] = get_args(Vendor)
HOLD_OUT_EVERY = 8
HELD_OUT = {"vendor": "unseen"}  # split -> the option that names what it holds out of training
FEWEST = 5  # four fill a scene, and one must be absent from it
SIDE = 160  # pixels of a drawing before it is scaled into a scene
DRAWINGS: dict[Vendor, tuple[str, str]] = {  # vendor -> the part that holds its drawings, and which files they are
    "google": ("emoji-google", "**/64/*.png"),
    "twitter": ("emoji-twitter", "**/64/*.png"),
    "fluent": ("fluent-emoji", "**/assets/*.webp"),
    "openmoji": ("openmoji", "**/color/svg/*.svg"),
}
PARTS = (*(part for part, _ in DRAWINGS.values()), "emojibase")

# Subgroups (Unicode's) of things that have a look of their own and a common name: the demo's concepts come from here.
THINGS = """
    animal-mammal animal-bird animal-amphibian animal-reptile animal-marine animal-bug plant-flower food-fruit
    food-vegetable food-prepared food-sweet transport-ground transport-water transport-air musical-instrument
    sky-weather tool clothing
""".split()  # noqa: SIM905


@dataclass(frozen=True)
class Concept:
    """A thing that has been drawn: its name, code points (`1f415`) and Unicode subgroup."""

    name: str
    code: str
    group: str


def code_of(name: str) -> str:
    """File names and data sets differ in case and in whether they write the variation selector.

    >>> code_of("2764-FE0F")
    '2764'
    """
    return "-".join(part for part in name.lower().split("-") if part != "fe0f")


@functools.cache
def _files(vendor: Vendor) -> dict[str, Path]:
    """Code points -> the file of the vendor's drawing."""
    part, pattern = DRAWINGS[vendor]
    return {code_of(path.stem): path for path in sorted(parts.get(part).glob(pattern))}


@functools.cache
def all_concepts() -> tuple[Concept, ...]:
    """Every emoji that all four vendors draw, in an order fixed by a hash of its name.

    Skin tones and flags are left out, and so are names with a comma ("family: man, boy"), which a list of objects
    could not hold.
    """
    folder = next(parts.get("emojibase").glob("**/en/data.json")).parent
    messages = json.loads((folder / "messages.json").read_text())
    groups = {entry["order"]: entry["key"] for entry in messages["subgroups"]}
    drawn = set.intersection(*(set(_files(vendor)) for vendor in VENDORS))
    found = [
        Concept(entry["label"].lower(), code_of(entry["hexcode"]), groups[entry["subgroup"]])
        for entry in json.loads((folder / "data.json").read_text())
        if "subgroup" in entry and code_of(entry["hexcode"]) in drawn and "flag" not in groups[entry["subgroup"]]
        if "," not in entry["label"]
    ]
    return tuple(sorted(found, key=lambda concept: hashlib.sha256(concept.name.encode()).hexdigest()))


def concepts(count: int | None = None) -> tuple[tuple[Concept, ...], tuple[Concept, ...]]:
    """The concepts of a run, as (trained on, held out).

    With a `count`, that many one-word names of `THINGS` to train on; without, all concepts that exist. What is held out
    does not depend on it, so data sets with different counts can be trained on together.

    Raises `BadRecipe` when there are not as many, or too few to fill a scene and name something that is not in it.
    """
    pool = all_concepts()
    held = pool[::HOLD_OUT_EVERY]
    trained = tuple(concept for index, concept in enumerate(pool) if index % HOLD_OUT_EVERY)
    if count is None:
        return trained, held
    trained, held = (tuple(filter(_is_thing, half)) for half in (trained, held))
    if not FEWEST <= count <= len(trained):
        raise BadRecipe(f"concepts: {count} is none of {FEWEST} to {len(trained)}")
    return trained[:count], held


def _is_thing(concept: Concept) -> bool:
    return concept.group in THINGS and concept.name.isalpha()


@functools.lru_cache(maxsize=8192)
def drawing(vendor: Vendor, code: str) -> PIL.Image.Image:
    """A vendor's drawing as RGBA, `SIDE` pixels square."""
    path = _files(vendor)[code]
    if path.suffix == ".svg":
        return load_svg(path, SIDE)
    return load_rgba(path).resize((SIDE, SIDE), PIL.Image.Resampling.BICUBIC)


def split_of(split: str, concepts_: int | None, unseen: Vendor) -> tuple[tuple[Concept, ...], tuple[Vendor, ...]]:
    """The concepts and vendors that a split may draw: `vendor` the unseen hand, `concepts` the held-out things."""
    trained, held = concepts(concepts_)
    seen = tuple(vendor for vendor in VENDORS if vendor != unseen)
    return (held if split == "concepts" else trained), ((unseen,) if split == "vendor" else seen)
