"""Sounds of instruments and their kind, which the name of each file tells (`sonic-pi-samples`)."""

from __future__ import annotations

import random
from fnmatch import fnmatchcase
from pathlib import Path

from isthmus import parts
from isthmus.data.choosing import held_out, some, yes_no
from isthmus.data.scenes import article
from isthmus.types import Audio, Sample, Turn

ABOUT = "one sound of an instrument: what kind it is, is it a ..."
SPLITS = ("train", "sounds")
PARTS = ("sonic-pi-samples",)
HOLD_OUT_EVERY = 4
KINDS = {  # patterns of names -> kind; the first that fits. What fits none is alone of its kind and left out
    "loop_*": "loop",
    "ambi_*": "ambient sound",
    "tabla_*": "tabla",
    "guit_*": "guitar",
    "vinyl_*": "vinyl record",
    "*_snare*": "snare drum",
    "sn_*": "snare drum",
    "bd_*": "bass drum",
    "drum_bass_*": "bass drum",
    "*_kick": "bass drum",
    "*_cymbal*": "cymbal",
    "drum_splash_*": "cymbal",
    "*_tom*": "tom drum",
    "*bell*": "bell",
    "bass_*": "bass",
    "*_robot*": "robot",
    "mehackit_phone*": "phone",
    "glitch_*": "glitch",
    "elec_*": "electronic sound",
    "perc_*": "percussion sound",
}


def load(split: str, count: int | None = None, seed: int = 0) -> list[Sample]:
    """The sounds of a split; `count` takes a seeded sample of them.

    `sounds` are never heard in training: of each kind, every `HOLD_OUT_EVERY`-th.
    """
    every = sounds()
    held: set[str] = set()
    for kind in set(every.values()):
        held |= held_out((path.stem for path, its in every.items() if its == kind), HOLD_OUT_EVERY)
    pool = [(path, kind) for path, kind in every.items() if (path.stem in held) == (split == "sounds")]
    samples = []
    for path, kind in some(pool, count, f"{seed}/instruments/{split}"):
        name = f"instruments/{split}/{seed}/{path.stem}"
        other = random.Random(name).choice([its for _, its in pool if its != kind])
        asked = yes_no("Is this {}?", article(kind), article(other))
        samples.append(Sample(name, (Audio(path),), (Turn("What kind of sound is this?", kind, "name"), *asked)))
    return samples


def sounds() -> dict[Path, str]:
    """Every sound and its kind, by name."""
    found = {path: kind(path.stem) for path in sorted(parts.get("sonic-pi-samples").glob("**/samples/*.flac"))}
    return {path: its for path, its in found.items() if its}


def kind(name: str) -> str:
    """What kind of sound a file is, by its name; nothing for one of no kind.

    >>> kind("elec_hollow_kick"), kind("drum_splash_hard"), kind("misc_burp")
    ('bass drum', 'cymbal', '')
    """
    return next((kind for pattern, kind in KINDS.items() if fnmatchcase(name, pattern)), "")
