"""Animated GIF, WebP and PNG as video: Pillow draws each frame on the last, so all of them count for the cap."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image

from isthmus.errors import BadMedia
from isthmus.media import caps
from isthmus.media.forms import Times
from isthmus.media.image import rgb
from isthmus.media.video import check_size, choose
from isthmus.types import Video

FORMATS = ("GIF", "WEBP", "PNG")
UNSAID = 0.1  # seconds that a frame is shown whose file does not say it, as in browsers


def decode(data: bytes, **options: Any) -> dict[str, Any]:
    """`frames` and `times`; runs in a worker. All frames x pixels are held to `caps.MAX_VIDEO_PIXELS` beforehand."""
    how = Video(b"", **options)
    PIL.Image.MAX_IMAGE_PIXELS = caps.MAX_PIXELS
    try:
        frames, times, clock = _frames(data)
    except PIL.Image.DecompressionBombError:  # from twice the cap on Pillow refuses before its size can be asked
        raise BadMedia(f"over {caps.MAX_PIXELS:,} pixels, which is the most that is decoded. Scale it down") from None
    chosen = choose(times, clock, np.ones(len(times), bool), how)
    first, _ = caps.window(how.start, how.end)
    return {"frames": frames[chosen], "times": times[chosen] - first}


def _frames(data: bytes) -> tuple[npt.NDArray[np.uint8], Times, float]:
    """All frames [T, H, W, 3], when each begins, and when the last one ends."""
    with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as file:
        caps.check_pixels(*(size := file.size))
        count = int(getattr(file, "n_frames", 1))
        check_size(count, file.height, file.width)
        times, clock = np.empty(count), 0.0
        frames = np.empty((count, file.height, file.width, 3), np.uint8)
        for index in range(count):
            file.seek(index)
            if file.size != size:  # before it is decoded: a later frame of a GIF may declare any size
                raise BadMedia(f"damaged, frame {index} makes it {file.width} x {file.height} pixels")
            frames[index] = np.asarray(rgb(file))  # loads it, and then knows how long it is shown
            times[index] = clock
            clock += (file.info.get("duration") or 1000 * UNSAID) / 1000
    return frames, times, clock
