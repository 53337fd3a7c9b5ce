"""What an encoder is given of a medium: one array, or several of a medium that is longer than the encoder takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.errors import BadMedia
from isthmus.registry import find

Load = Callable[[Any], Any]  # decodes a medium, as `isthmus.media.load` does


@contextmanager
def named(medium: Any) -> Iterator[None]:
    """Any `BadMedia` that is raised inside names the medium's file, if it has one."""
    try:
        yield
    except BadMedia as error:
        name = name_of(medium)
        if str(error).startswith(name):
            raise
        raise BadMedia(f"{name}: {error}") from None


def name_of(medium: Any) -> str:
    """What an error calls a medium: its path, or how many bytes it is; empty for one that is made here."""
    source = getattr(medium, "source", medium)
    if isinstance(source, bytes):
        return f"<{len(source):,} bytes>"
    return str(source)[:200] if isinstance(source, str | Path) else ""


def pieces(medium: Any, facts: Mapping[str, Any], reader: Any, load: Load) -> list[Any]:
    """The arrays of a medium that is no image, for the encoder of which the configuration says `facts`.

    Raises `BadMedia`, naming the medium, for one that cannot be decoded, or that the encoder cannot take.
    """
    with named(medium):
        several = not isinstance(facts["name"], str)  # encoders of pictures, which see a clip's frames
        module: Any = None if several else find("isthmus.encoders", facts["name"])
        found: list[Any] = _OF[medium.kind](medium, load, facts, reader, module)
        if hasattr(module, "fits"):
            for piece in found:
                module.fits(reader, piece)
        return found


def _sound(medium: Any, load: Load, facts: Mapping[str, Any], reader: Any, module: Any) -> list[Any]:
    return list(module.windows(load(medium).resampled(module.RATE).samples, facts["size"]))


def _clip(medium: Any, load: Load, facts: Mapping[str, Any], reader: Any, module: Any) -> list[Any]:
    count = facts["frames"]
    asked = count if medium.frames is None else medium.frames
    frames = load(replace(medium, frames=asked, sound=False)).frames
    short = -len(frames) % count  # its last frame is seen for longer
    return np.split(np.concatenate([frames, frames[-1:].repeat(short, 0)]), (len(frames) + short) // count)


def _cloud(medium: Any, load: Load, facts: Mapping[str, Any], reader: Any, module: Any) -> list[Any]:
    cloud, wants = load(medium), getattr(reader, "channels", 3)
    if wants > 3 and cloud.colours is None:
        raise BadMedia(
            "points without colours, and this model's encoder sees them. Give a PLY, LAS or NPY with colours"
        )
    return [np.concatenate([cloud.xyz, cloud.colours], 1) if wants > 3 else cloud.xyz]


def _series(medium: Any, load: Load, facts: Mapping[str, Any], reader: Any, module: Any) -> list[Any]:
    signal = load(medium)  # steps whose rate nobody says are taken to have the model's
    values = signal.even(facts.get("rate")).values if signal.timed else signal.values
    return list(module.windows(values, facts["size"]))


_OF = {"audio": _sound, "video": _clip, "points": _cloud, "series": _series}
