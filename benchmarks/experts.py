"""What do experts' words lose of a video, and what do a model's own soft tokens add?

    python benchmarks/experts.py [--model default] [--count 60]      writes benchmarks/results/experts.json

Real films are made (H.264 and AAC, 336 x 336): an animated emoji that moves in a place where training never asked
which way, over a coloured ground, a word written below it, and a recorded sentence that no training heard. Of some
nothing is said, of some nothing is written. Every question is asked of one model in four ways: of the text alone, which
is what `video-to-text` tells (speech by Whisper, on-screen text by RapidOCR, a caption by the model itself); of the
text with a film of one grey frame, so that the model answers in the form and with the weights that it learned for
films; of the film's soft tokens alone; and of both, which is VideoChat's pairing (Li et al., 2023, arXiv:2305.06355).

An answer is right when it equals the truth after normalisation; of what is said, after Whisper's normalisation of
English. Intervals are Wilson's, 95 %.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections import defaultdict
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from _common import RESULTS, machine
from rich.progress import track

import isthmus
from isthmus import media
from isthmus.data import moving
from isthmus.data.sets import asterisk_speech, told_clips
from isthmus.describing import captions
from isthmus.evaluate.scoring import right, wilson, word_errors
from isthmus.experts import Told, video_to_text
from isthmus.experts._told import before
from isthmus.media.forms import Clip
from isthmus.types import Audio, Turn, Video

TIMES, RATE = 3, 8  # a clip's pixels are so many of the film's on each side; frames a second
WAYS = ("no film, text", "grey film, text", "film alone", "film, text")
GREY = Video(Clip(np.full((16, 112, 112, 3), 128, np.uint8), np.arange(16) / RATE), sound=False)


def main() -> None:
    """Make the films, ask, print the table, write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--count", type=int, default=60, help="films")
    options = parser.parse_args()
    model, processor = isthmus.load_with_processor(options.model)
    expert = video_to_text.load(captions(model, processor))
    marks: dict[tuple[str, str], list[bool]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for number in track(range(options.count), "films"):
            film = Path(folder) / f"{number}.mp4"
            turns = make(film, random.Random(f"experts/{number}"))
            told = expert(Video(film))
            for turn in turns:
                for way in WAYS:
                    said = answer(model, processor, way, film, told, turn.question)
                    marks[turn.kind, way].append(same(said, turn))
    rows = []
    for kind in dict.fromkeys(kind for kind, _ in marks):
        row: dict[str, object] = {"question": kind, "n": len(marks[kind, WAYS[0]]), "machine": machine()}
        for way in WAYS:
            hits, n = sum(marks[kind, way]), len(marks[kind, way])
            row[way] = [hits / n, *wilson(hits, n)]
        rows.append(row)
        figures = (f"{100 * v:.0f} [{100 * low:.0f}, {100 * high:.0f}]" for v, low, high in (row[way] for way in WAYS))
        print("| " + " | ".join([kind, str(row["n"]), *figures]) + " |", flush=True)
    (RESULTS / "experts.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def answer(model: object, processor: object, way: str, film: Path, told: list[Told], question: str) -> str:
    """What the model says, given what the way gives it."""
    shown = {"no film, text": [], "grey film, text": [GREY]}.get(way, [Video(film, sound=False)])
    return isthmus.ask(model, processor, question if way == "film alone" else before(question, told), *shown)


def same(said: str, turn: Turn) -> bool:
    """Whether the answer is right."""
    if turn.kind == "said" and turn.answer != told_clips.NOTHING:
        return word_errors(said, turn.answer)[0] == 0
    return right(said, turn.answer, turn.kind)


def make(path: Path, rng: random.Random) -> list[Turn]:
    """Write a film, and give the questions that it can answer."""
    pool, _ = moving.animations()
    clip = moving.compose(rng, rng.choice(pool), moving.HELD_OUT_LAYOUTS)
    held = set(told_clips.spoken(held=True))
    sound, said = rng.choice([(file, line) for file, line in asterisk_speech.spoken().items() if line in held])
    said = "" if rng.random() < told_clips.SILENT else said
    written = "" if rng.random() < told_clips.BLANK else told_clips.word(sorted(held), rng).upper()
    frames = [np.asarray(titled(frame, written)) for frame in clip().frames]
    write(path, frames, media.load(Audio(sound)).resampled(16_000).samples if said else None)
    return told_clips.questions(clip, said, written)


def titled(frame: np.ndarray, written: str) -> PIL.Image.Image:  # type: ignore[type-arg]
    """A frame enlarged, with the word on a dark band at its lower edge, as `told_clips` draws it."""
    side = TIMES * frame.shape[0]
    large = PIL.Image.fromarray(frame).resize((side, side), PIL.Image.Resampling.LANCZOS)
    if written:
        band = PIL.Image.new("RGB", (side, TIMES * told_clips.BAND), (20, 20, 20))
        middle, font = (side / 2, TIMES * told_clips.BAND / 2), PIL.ImageFont.load_default(11 * TIMES)
        PIL.ImageDraw.Draw(band).text(middle, written, (245, 245, 245), font, anchor="mm")
        large.paste(band, (0, side - band.height))
    return large


def write(path: Path, frames: list[np.ndarray], samples: np.ndarray | None) -> None:  # type: ignore[type-arg]
    """H.264 at `RATE` frames a second, and AAC at 16 kHz where there is sound."""
    with av.open(path, "w") as film:
        picture = film.add_stream("libx264", RATE, options={"crf": "18"})
        picture.width, picture.height, picture.pix_fmt = frames[0].shape[1], frames[0].shape[0], "yuv420p"
        voice = film.add_stream("aac", 16_000, layout="mono") if samples is not None else None
        for frame in frames:
            film.mux(picture.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        film.mux(picture.encode(None))
        if voice is not None and samples is not None:
            for start in range(0, len(samples), 1024):
                part = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="fltp", layout="mono")
                part.sample_rate, part.pts, part.time_base = 16_000, start, Fraction(1, 16_000)
                film.mux(voice.encode(part))
            film.mux(voice.encode(None))


if __name__ == "__main__":
    main()
