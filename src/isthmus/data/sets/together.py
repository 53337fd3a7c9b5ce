"""Several media of different kinds in one prompt, in any order; questions say which of them they are about.

Media and questions are those of other data sets. Samples show all media and ask about each of them by itself; of those
trained on, half are conversations, in which each turn brings one and asks about it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from isthmus.data.sets import asterisk_speech, easy_vqa, furniture, instruments, moving_emoji, phone_motion
from isthmus.types import NOUNS, Sample

ABOUT = "two or three media of different kinds, in any order, at once or in turns: a question about each"
SPLITS = ("train", "test")
PARTS = (*easy_vqa.PARTS, *asterisk_speech.PARTS, *instruments.PARTS, *moving_emoji.PARTS, *furniture.PARTS,
         *phone_motion.PARTS)  # fmt: skip
NEVER_TRAINED = ("test", "clips", "sounds", "layouts", "models", "people")  # of these sets, in this order
SETS = (easy_vqa, asterisk_speech, instruments, moving_emoji, furniture, phone_motion)
POOL = 400  # samples that are drawn from each set at most


def load(split: str, count: int, seed: int = 0) -> list[Sample]:
    """`count` samples of two or three media; `test` takes them from what each set holds out, and asks no yes or no."""
    splits = NEVER_TRAINED if split == "test" else ("train",) * len(SETS)
    pools = [list(one.load(own, POOL, seed)) for one, own in zip(SETS, splits, strict=True)]
    pools = [[one for one in pool if any(turn.kind != "yes/no" for turn in one.turns)] for pool in pools]
    return [_sample(f"together/{split}/{seed}/{number}", pools, split == "test") for number in range(count)]


def about(kind: str, question: str) -> str:
    """A question about one of several media.

    >>> about("audio", "What is said?")
    'About the sound: What is said?'
    """
    return f"About the {NOUNS[kind]}: {question}"


def _sample(name: str, pools: Sequence[Sequence[Sample]], held: bool) -> Sample:
    rng = random.Random(name)
    chosen: list[Sample] = []
    for own in rng.sample(list(pools), rng.choice((2, 3))):
        one = rng.choice(own)
        if one.media[0].kind not in {other.media[0].kind for other in chosen}:  # two of the sets are of sounds
            chosen.append(one)
    if len(chosen) == 1:
        chosen.append(rng.choice(pools[0]))
    media = tuple(one.media[0] for one in chosen)
    turns = [rng.choice([turn for turn in one.turns if not held or turn.kind != "yes/no"]) for one in chosen]
    named = [replace(turn, kind=f"{NOUNS[m.kind]}: {turn.kind}") for m, turn in zip(media, turns, strict=True)]
    if held or rng.random() < 0.5:
        asked = [replace(turn, question=about(m.kind, turn.question)) for m, turn in zip(media, named, strict=True)]
        return Sample(name, media, tuple(asked))
    return Sample(name, media, tuple(replace(turn, shows=1) for turn in named), chained=True)
