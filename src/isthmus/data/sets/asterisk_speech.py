"""Clips of speech with their words: what a telephone exchange says (`asterisk-speech`, `asterisk-words`)."""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from isthmus import media, parts
from isthmus.data.choosing import Number, held_out, some, yes_no
from isthmus.errors import BadRecipe
from isthmus.media.forms import Sound
from isthmus.types import Audio, Sample, Turn

ABOUT = "one sentence or word by one speaker, 8 kHz: what is said, is a word said"
SPLITS = ("train", "clips")
PARTS = ("asterisk-speech", "asterisk-words")
HOLD_OUT_EVERY = 8
LINE = re.compile(r"^([^;:\s][^:]*): (.*)$", re.MULTILINE)  # the clip: what is said
WORD = re.compile("[a-z0-9]+(?:['-][a-z0-9]+)*")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


Joined = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class Sequel:
    """Clips one after another, with a short pause between them; call it for the sound."""

    clips: tuple[Path, ...]
    pause: float = 0.15  # seconds

    def __call__(self) -> Sound:
        """At the rate of the first clip."""
        sounds = [media.load(Audio(clip)) for clip in self.clips]
        rate = sounds[0].rate
        still = np.zeros(round(self.pause * rate), np.float32)
        return Sound(np.concatenate([part for own in sounds for part in (own.resampled(rate).samples, still)]), rate)


def load(split: str, count: int | None = None, seed: int = 0, longest: Number = 12, joined: Joined = 0) -> list[Sample]:
    """The clips of a split that say at most `longest` words; `count` takes a seeded sample of them.

    `clips` says what training never hears: of all the different things that are said, every `HOLD_OUT_EVERY`-th. Of
    each clip one word is asked about that is in it, and one that is not, but in another clip of the split. Besides,
    there are `joined` samples of two or three clips one after another, of so many words together: lines that nobody
    wrote, so that they have to be listened to.

    Raises `BadRecipe` when nothing is as short as that.
    """
    every = spoken()
    held = held_out(every.values(), HOLD_OUT_EVERY)
    pool = [
        (clip, line)
        for clip, line in every.items()
        if (line in held) == (split == "clips") and len(line.split()) <= longest
    ]
    if len({line for _, line in pool}) < 2:
        raise BadRecipe(f"asterisk-speech: longest: {longest} leaves {len(pool)} clips, too few to tell apart")
    bags = [frozenset(line.split()) for _, line in pool]
    samples = []
    for clip, line in some(pool, count, f"{seed}/asterisk-speech/{split}"):
        name = f"asterisk-speech/{split}/{seed}/{clip.parent.name}/{clip.stem}"
        samples.append(_sample(name, Audio(clip), line, bags))
    for number in range(joined):
        name = f"asterisk-speech/{split}/{seed}/joined/{number}"
        clips, line = _several(random.Random(f"{name}/clips"), pool, longest)
        samples.append(_sample(name, Audio(Sequel(clips)), line, bags))
    return samples


def _several(rng: random.Random, pool: Sequence[tuple[Path, str]], longest: int) -> tuple[tuple[Path, ...], str]:
    """Two or three clips of at most `longest` words together (after a hundred tries one alone), and what they say."""
    for _ in range(100):
        some = rng.sample(list(pool), rng.choice((2, 3)) if len(pool) > 2 else 2)
        line = " ".join(line for _, line in some)
        if len(line.split()) <= longest:
            return tuple(clip for clip, _ in some), line
    clip, line = rng.choice(list(pool))
    return (clip,), line


def _sample(name: str, sound: Audio, line: str, bags: Sequence[frozenset[str]]) -> Sample:
    """A sound and what is said in it, with two questions about words: one that is said, one that another clip has."""
    rng = random.Random(name)
    said = line.split()
    elsewhere = [new for its in bags if (new := its.difference(said))]
    other = rng.choice(sorted(rng.choice(elsewhere)))  # drawn as the word that is said: a clip, then a word of it
    asked = yes_no('Is "{}" said?', rng.choice(said), other)
    return Sample(name, (sound,), (Turn("What is said?", line, "words"), *asked))


def spoken() -> dict[Path, str]:
    """Every clip of speech and what is said in it; tones, silence and monkeys are left out."""
    listed = next(parts.get("asterisk-words").glob("**/core-sounds-en.txt.gz"))
    told = dict(LINE.findall(gzip.decompress(listed.read_bytes()).decode("utf-8")))
    sounds = next(parts.get("asterisk-speech").glob("**/sounds/*"))
    clips = {clip: clip.relative_to(sounds).with_suffix("").as_posix() for clip in sorted(sounds.rglob("*.wav"))}
    found = {clip: words(told.get(key, "")) for clip, key in clips.items()}
    return {clip: line for clip, line in found.items() if line}


def words(line: str) -> str:
    """What is heard of a line of the transcript: no notes in brackets, no case, no punctuation, digits in words.

    >>> words('Press 1, or "hash" ... (simple tone sound plays)'), words("[ascending tones]")
    ('press one or hash', '')
    """
    line = re.sub(r"\[[^]]*\]|\([^)]*\)", " ", line).lower()
    return " ".join(DIGITS[int(word)] if re.fullmatch("[0-9]", word) else word for word in WORD.findall(line))
