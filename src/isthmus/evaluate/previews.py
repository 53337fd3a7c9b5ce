"""Small copies of media, for people who look at what a model was shown."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image

from isthmus.errors import BadMedia
from isthmus.media import load
from isthmus.media.forms import Cloud
from isthmus.media.written import png, wav
from isthmus.types import Audio, Image, Medium, Points, Video

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
    if isinstance(medium, Points):
        return png(_views(load(medium))), "png"
    return b"", ""


def _views(cloud: Cloud) -> PIL.Image.Image:
    """A cloud from three sides, the third from above; near points before far ones, darker where it is low."""
    low, high = cloud.xyz.min(0), cloud.xyz.max(0)
    places = (cloud.xyz - (low + high) / 2) / max(float((high - low).max()), 1e-9) + 0.5  # in 0..1, whatever the unit
    shade = np.repeat(0.15 + 0.6 * places[:, 2:], 3, 1) if cloud.colours is None else cloud.colours
    strip = np.full((FRAME, 3 * FRAME, 3), 255, np.uint8)
    for view, (across, up, deep) in enumerate(((0, 2, 1), (1, 2, 0), (0, 1, 2))):
        order = np.argsort(places[:, deep] if deep == 2 else -places[:, deep])
        x, y = (places[order][:, axis] * (FRAME - 2) for axis in (across, up))
        for dx in (0, 1):
            for dy in (0, 1):
                strip[FRAME - 1 - (y.astype(int) + dy), view * FRAME + x.astype(int) + dx] = 255 * shade[order]
    return PIL.Image.fromarray(strip)


def _png(picture: PIL.Image.Image, widest: int) -> bytes:
    small = picture.copy()
    small.thumbnail((widest, widest))
    return png(small)
