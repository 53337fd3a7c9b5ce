"""Frames of a video of any length, some at a time, so that the caps of one decoding hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.media import caps, load
from isthmus.types import Video

Frame = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Look:
    """A video at a glance: seconds, pixels of a frame, and how many frames of them one decoding may take."""

    seconds: float
    last: float  # at which a frame is shown for certain
    width: int
    height: int
    most: int


def look(video: Video) -> Look:
    """How long and how large it is, from frames spread over it. Raises `BadMedia` for one that does not decode."""
    plain: dict[str, Any] = {"sampling": "uniform", "fps": None, "sound": False}
    height, width = load(replace(video, frames=1, **plain)).frames.shape[1:3]
    most = max(1, min(caps.MAX_FRAMES, caps.MAX_VIDEO_PIXELS // (width * height)))
    times = load(replace(video, frames=most, **plain)).times
    step = float(times[-1] - times[0]) / max(1, len(times) - 1)
    begin = float(times[0]) if len(times) < most else 0.0
    half = 0.5 if len(times) == most and most > 1 else 1.0  # each stands in the middle of its share
    return Look(max(0.0, float(times[-1]) + half * step - begin), float(times[-1]), width, height, most)


def walk(video: Video, fps: float, most: int) -> Iterator[tuple[float, Frame]]:
    """Frames [H, W, 3] with their seconds: `fps` in a second, or evenly fewer so that there are at most `most`.

    Times count from the video's own `start`, as everywhere; a frame that is shown for long comes again and again.
    """
    seen = look(video)
    rate = min(fps, most / max(seen.seconds, 1e-3))
    begin, count = video.start or 0.0, 0
    span = seen.most / rate
    for part in range(max(1, int(np.ceil(seen.seconds / span - 1e-6)))):
        first = part * span
        if part and first > seen.last:
            return
        end = begin + first + span
        if video.end is not None:
            end = min(end, video.end)
        start = begin + first if begin + first > 0 else None
        clip = load(replace(video, frames=None, sampling="fps", fps=rate, start=start, end=end, sound=False))
        for place, (time, frame) in enumerate(zip(clip.times, clip.frames, strict=True)):
            if count < most:  # the length is not known to the last digit
                yield first + max(place / rate, float(time)), frame
            count += 1


def at(video: Video, first: float, last: float) -> Frame:
    """The frame in the middle of the seconds from `first` to `last`."""
    begin = video.start or 0.0
    part = replace(video, frames=1, sampling="uniform", fps=None, sound=False)
    clip = load(replace(part, start=begin + first if begin + first > 0 else None, end=begin + max(last, first + 1e-3)))
    return np.asarray(clip.frames[0])
