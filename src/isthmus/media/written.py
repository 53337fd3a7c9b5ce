"""Arrays as bytes of a file again: what is sent to a server, or kept for people to look at and hear."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import PIL.Image

    from isthmus.media.forms import Sound


def wav(sound: Sound, seconds: float | None = None) -> bytes:
    """A sound, or its first seconds, as WAV of 16 bits."""
    import soundfile

    wave = sound.samples if seconds is None else sound.samples[: int(seconds * sound.rate)]
    soundfile.write(file := io.BytesIO(), wave, sound.rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def png(picture: PIL.Image.Image) -> bytes:
    """A picture as PNG."""
    picture.save(file := io.BytesIO(), "PNG")
    return file.getvalue()
