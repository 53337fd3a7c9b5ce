"""Small copies of media, for people who look at what a model was shown."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import PIL.Image

from isthmus.errors import BadMedia
from isthmus.media import load
from isthmus.media.written import png, wav
from isthmus.types import Audio, Image, Medium, Video

WIDEST = 512  # pixels of a picture's longer side
FRAMES, FRAME = 4, 224  # of a clip, and their longer side
SECONDS = 10.0  # of a sound
MOST = 1000  # different media of a benchmark


def written(folder: Path, media: Iterable[Medium]) -> dict[Medium, str]:
    """The name of each medium's copy in the folder, of the first `MOST` that can be shown.

    A name is that of what the file holds, so a copy that is there already is not made twice.
    """
    found: dict[Medium, str] = {}
    for medium in media:
        if medium in found or len(found) >= MOST:
            continue
        try:
            content, ending = _small(medium)
        except BadMedia:  # it is unscored for the same reason, which stands with its question
            continue
        if content:
            name = f"{hashlib.sha256(content).hexdigest()[:16]}.{ending}"
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / name).exists():
                (folder / name).write_bytes(content)
            found[medium] = name
    return found


def _small(medium: Medium) -> tuple[bytes, str]:
    """A smaller file of a medium, and how its name ends; empty for what cannot be looked at or heard."""
    if isinstance(medium, Image):
        return _png(load(medium), WIDEST), "png"
    if isinstance(medium, Video):
        clip = load(replace(medium, frames=FRAMES, sampling="uniform", fps=None, sound=False))
        frames = [PIL.Image.fromarray(frame) for frame in clip.frames]
        for frame in frames:
            frame.thumbnail((FRAME, FRAME))
        strip = PIL.Image.new("RGB", (sum(frame.width for frame in frames), max(frame.height for frame in frames)))
        left = 0
        for frame in frames:
            strip.paste(frame, (left, 0))
            left += frame.width
        return _png(strip, FRAME * FRAMES), "png"
    if isinstance(medium, Audio):
        end = (medium.start or 0.0) + SECONDS if medium.end is None else medium.end
        return wav(load(replace(medium, end=end)), SECONDS), "wav"
    return b"", ""


def _png(picture: PIL.Image.Image, widest: int) -> bytes:
    small = picture.copy()
    small.thumbnail((widest, widest))
    return png(small)
