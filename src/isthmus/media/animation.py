"""Animated GIF, WebP and PNG as video: Pillow draws each frame on the last, so all of them count for the cap."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image

from isthmus.errors import BadMedia
from isthmus.media import caps, sandbox, whole
from isthmus.media.forms import Times
from isthmus.media.image import rgb
from isthmus.media.video import check_size, choose
from isthmus.types import Video

FORMATS = ("GIF", "WEBP", "PNG")
UNSAID = 0.1  # seconds that a frame is shown whose file does not say it, as in browsers


def load_stills(source: object, count: int) -> list[PIL.Image.Image]:
    """`count` frames, evenly spread over all, with their transparency: RGBA. Raises `BadMedia` as `load` of a video."""
    data, name = caps.read(source, "an animation is a path or bytes")
    frames = sandbox.decode("animation", data, name, rgba=True)["frames"]
    return [PIL.Image.fromarray(frames[index * len(frames) // count]) for index in range(count)]


def moves(source: object) -> bool:
    """Whether an animation has more than one frame; none is decoded. Raises `BadMedia` for a file that is none."""
    data, name = caps.read(source, "an animation is a path or bytes")
    try:
        with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as file:
            return int(getattr(file, "n_frames", 1)) > 1
    except Exception as error:  # a damaged file can raise almost anything
        raise BadMedia(f"{name}: not an animation that can be read. Formats: {', '.join(FORMATS)}") from error


def decode(data: bytes, rgba: bool = False, **options: Any) -> dict[str, Any]:
    """`frames` and `times`; runs in a worker. All frames x pixels are held to `caps.MAX_VIDEO_PIXELS` beforehand.

    With `rgba` all frames, with their transparency.
    """
    how = Video(b"", **options)
    PIL.Image.MAX_IMAGE_PIXELS = caps.MAX_PIXELS
    if data[:3] == b"GIF":
        whole.check_gif(data)
    try:
        frames, times, clock = _frames(data, "RGBA" if rgba else "RGB")
    except PIL.Image.DecompressionBombError:  # from twice the cap on Pillow refuses before its size can be asked
        raise BadMedia(f"over {caps.MAX_PIXELS:,} pixels, which is the most that is decoded. Scale it down") from None
    if rgba:
        return {"frames": frames}
    chosen = choose(times, clock, np.ones(len(times), bool), how)
    first, _ = caps.window(how.start, how.end)
    return {"frames": frames[chosen], "times": times[chosen] - first}


def _frames(data: bytes, mode: str) -> tuple[npt.NDArray[np.uint8], Times, float]:
    """All frames [T, H, W, 3 or 4], when each begins, and when the last one ends."""
    with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as file:
        caps.check_pixels(*(size := file.size))
        count = int(getattr(file, "n_frames", 1))
        check_size(count, file.height, file.width, "All of its frames count: scale it down, or make it shorter")
        times, clock = np.empty(count), 0.0
        frames = np.empty((count, file.height, file.width, len(mode)), np.uint8)
        for index in range(count):
            file.seek(index)
            if file.size != size:  # before it is decoded: a later frame of a GIF may declare any size
                raise BadMedia(f"damaged, frame {index} makes it {file.width} x {file.height} pixels")
            frames[index] = np.asarray(
                rgb(file) if mode == "RGB" else file.convert(mode)
            )  # loads it, and then knows how long it is shown
            times[index] = clock
            clock += (file.info.get("duration") or 1000 * UNSAID) / 1000
    return frames, times, clock
