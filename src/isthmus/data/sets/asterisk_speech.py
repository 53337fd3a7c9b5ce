"""Clips of speech with their words: what a telephone exchange says (`asterisk-speech`, `asterisk-words`)."""

from __future__ import annotations

import gzip
import random
import re
from pathlib import Path

from isthmus import parts
from isthmus.data.choosing import held_out, some, yes_no
from isthmus.errors import BadRecipe
from isthmus.types import Audio, Sample, Turn

ABOUT = "one sentence or word by one speaker, 8 kHz: what is said, is a word said"
SPLITS = ("train", "clips")
PARTS = ("asterisk-speech", "asterisk-words")
HOLD_OUT_EVERY = 8
WORD = re.compile("[a-z0-9]+(?:['-][a-z0-9]+)*")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def load(split: str, count: int | None = None, seed: int = 0, longest: int = 12) -> list[Sample]:
    """The clips of a split that say at most `longest` words; `count` takes a seeded sample of them.

    `clips` says what training never hears: of all the different things that are said, every `HOLD_OUT_EVERY`-th. Of
    each clip one word is asked about that is in it, and one that is not, but in another clip of the split.

    Raises `BadRecipe` when nothing is as short as that.
    """
    every = spoken()
    held = held_out(every.values(), HOLD_OUT_EVERY)
    pool = [
        (clip, words)
        for clip, words in every.items()
        if (words in held) == (split == "clips") and len(words.split()) <= longest
    ]
    if len({words for _, words in pool}) < 2:
        raise BadRecipe(f"asterisk-speech: longest: {longest} leaves {len(pool)} clips, too few to tell apart")
    samples = []
    for clip, words in some(pool, count, f"{seed}/asterisk-speech/{split}"):
        name = f"asterisk-speech/{split}/{seed}/{clip.parent.name}/{clip.stem}"
        rng = random.Random(name)
        said = words.split()
        others = [other.split() for _, other in pool if not set(other.split()) <= set(said)]
        other = rng.choice(
            [word for word in rng.choice(others) if word not in said]
        )  # as likely as a word that is said
        asked = yes_no('Is "{}" said?', rng.choice(said), other)
        samples.append(Sample(name, (Audio(clip),), (Turn("What is said?", words, "words"), *asked)))
    return samples


def spoken() -> dict[Path, str]:
    """Every clip of speech and what is said in it; tones, silence and monkeys are left out."""
    listed = next(parts.get("asterisk-words").glob("**/core-sounds-en.txt.gz"))
    told = dict(
        re.findall(r"^([^;:\s][^:]*): (.*)$", gzip.decompress(listed.read_bytes()).decode("utf-8"), re.MULTILINE)
    )
    sounds = next(parts.get("asterisk-speech").glob("**/sounds/*"))
    found = {
        path: words(told.get(path.relative_to(sounds).with_suffix("").as_posix(), "")) for path in sounds.rglob("*.wav")
    }
    return {path: found[path] for path in sorted(found) if found[path]}


def words(line: str) -> str:
    """What is heard of a line of the transcript: no notes in brackets, no case, no punctuation, digits in words.

    >>> words('Press 1, or "hash" ... (simple tone sound plays)'), words("[ascending tones]")
    ('press one or hash', '')
    """
    line = re.sub(r"\[[^]]*\]|\([^)]*\)", " ", line).lower()
    return " ".join(DIGITS[int(word)] if re.fullmatch("[0-9]", word) else word for word in WORD.findall(line))
