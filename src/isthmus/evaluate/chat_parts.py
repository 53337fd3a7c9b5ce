"""Messages as an OpenAI-compatible server takes them: pictures and sounds as data beside the text."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterator
from typing import Any

from isthmus.media import load
from isthmus.media.written import png, wav
from isthmus.types import Audio, Image, Message, Video

FRAMES = 8  # of a video, as pictures
Part = dict[str, Any]


class NoPart(Exception):
    """A medium that no server takes."""


def said(message: Message) -> Part:
    """A message: media first, then the text. Raises `NoPart`, and `BadMedia` for what cannot be decoded."""
    parts = [part for medium in message.media for part in _parts(medium)]
    content = [*parts, {"type": "text", "text": message.text}] if parts else message.text
    return {"role": message.role, "content": content}


def _parts(medium: Any) -> Iterator[Part]:
    if isinstance(medium, Image):
        yield _picture(load(medium))
    elif isinstance(medium, Video):
        import PIL.Image

        clip = load(medium if medium.frames else dataclasses.replace(medium, frames=FRAMES, sound=False))
        yield from (_picture(PIL.Image.fromarray(frame)) for frame in clip.frames)
    elif isinstance(medium, Audio):
        yield {"type": "input_audio", "input_audio": {"data": _text(wav(load(medium))), "format": "wav"}}
    else:
        raise NoPart(f"a server takes no {medium.kind}")


def _picture(picture: Any) -> Part:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_text(png(picture))}"}}


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
