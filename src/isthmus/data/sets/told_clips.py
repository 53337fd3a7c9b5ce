"""Clips with what experts say of them: some words that are spoken, some that are shown, perhaps a caption.

A drawing moves as in `moving-emoji`; with it stand, in the words of `experts`, what is heard and read in the clip. Of
some clips nothing is heard or read. A caption may be of another drawing, as a weak captioner's would be.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from isthmus.data import moving
from isthmus.data.choosing import held_out, rounds
from isthmus.data.scenes import SIDE, article
from isthmus.data.sets import asterisk_speech
from isthmus.experts._told import Told, before
from isthmus.media.forms import Clip
from isthmus.types import Sample, Turn, Video

ABOUT = "moving emoji with the words of experts: what is said, what is written, what is it, which way does it move"
SPLITS = ("train", "layouts")
PARTS = (*moving.PARTS, *asterisk_speech.PARTS)
LONGEST = 10  # words that are said
NOTHING = "nothing"  # what is said, or written, where no expert tells of it
BAND = 16  # pixels at the bottom, where words are shown
SILENT, BLANK = 0.2, 0.3  # shares of clips in which nothing is said, and nothing written
CAPTIONED, RIGHT = 0.5, 0.5  # shares of clips that have a caption, and of captions that name the right drawing


@dataclass(frozen=True)
class Titled:
    """A clip with words over its lower edge; call it to draw."""

    clip: moving.Moving
    written: str

    def __call__(self) -> Clip:
        """The clip's frames, each with the words on a dark band."""
        shown = self.clip()
        if not self.written:
            return shown
        band = PIL.Image.new("RGB", (SIDE, BAND), (20, 20, 20))
        font = PIL.ImageFont.load_default(11)
        PIL.ImageDraw.Draw(band).text((SIDE / 2, BAND / 2), self.written, (245, 245, 245), font, anchor="mm")
        frames = shown.frames.copy()
        frames[:, -BAND:] = np.asarray(band)
        return Clip(frames, shown.times)


def load(split: str, count: int, seed: int = 0, packages: moving.Packages = 1) -> list[Sample]:
    """`count` clips; `layouts` holds out places as `moving-emoji` does, and lines as `asterisk-speech` does."""
    pool, _ = moving.animations(packages)
    layouts = [one for one in moving.LAYOUTS if (one in moving.HELD_OUT_LAYOUTS) == (split == "layouts")]
    lines = spoken(split == "layouts")
    order = random.Random(f"{seed}/told-clips/{split}")
    samples: list[Sample] = []
    for what in rounds(pool, count, order):
        name = f"told-clips/{split}/{seed}/{len(samples)}"
        rng = random.Random(name)
        clip = moving.compose(rng, what, layouts)
        said = "" if rng.random() < SILENT else rng.choice(lines)
        written = "" if rng.random() < BLANK else word(lines, rng).upper()
        told = list(experts(clip, said, written, pool, rng))
        turns = (replace(turn, question=before(turn.question, told)) for turn in questions(clip, said, written))
        samples.append(Sample(name, (Video(Titled(clip, written), sound=False),), tuple(turns)))
    return samples


def spoken(held: bool) -> list[str]:
    """What is said in the clips of speech that training hears, or in those that it does not; of a few words."""
    every = sorted(set(asterisk_speech.spoken().values()))
    never = held_out(every, asterisk_speech.HOLD_OUT_EVERY)
    return [line for line in every if (line in never) == held and len(line.split()) <= LONGEST]


def word(lines: Sequence[str], rng: random.Random) -> str:
    """A word of one of the lines, long enough to be read and short enough for the band."""
    while True:
        found = rng.choice(rng.choice(lines).split())
        if 3 <= len(found) <= 12:
            return found


def questions(clip: moving.Moving, said: str, written: str) -> list[Turn]:
    """What is heard and read, and what is seen."""
    return [
        Turn("What is said?", said or NOTHING, "said"),
        Turn("What is written?", written or NOTHING, "written"),
        Turn("What is this?", clip.what.name, "name"),
        Turn("Which way does it move?", clip.way, "direction"),
        Turn("What colour is the background?", clip.background, "background"),
    ]


def experts(
    clip: moving.Moving, said: str, written: str, pool: Sequence[moving.Animation], rng: random.Random
) -> Iterator[Told]:
    """What experts could say of it."""
    seconds = moving.FRAMES / moving.RATE
    if said:
        start = rng.uniform(0, seconds / 4)
        heard = said if rng.random() < 0.5 else f"{said.capitalize()}."  # as Whisper writes it
        yield Told("speech", heard, start, start + rng.uniform(seconds / 3, 2 * seconds))  # sound may be the longer
    if written:
        yield Told("text", written, 0.0, seconds)
    if rng.random() < CAPTIONED:
        name = clip.what.name if rng.random() < RIGHT else rng.choice(pool).name
        yield Told("caption", f"{article(name)} on a {clip.background} background", 0.0, seconds)
