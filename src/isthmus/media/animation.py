"""Animated GIF, WebP and PNG as video: Pillow draws each frame on the last, so all of them count for the cap."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import PIL.Image

from isthmus.media import caps
from isthmus.media.image import rgb
from isthmus.media.video import check_size, choose
from isthmus.types import Video

FORMATS = ("GIF", "WEBP", "PNG")
UNSAID = 0.1  # seconds that a frame is shown whose file does not say it, as in browsers


def decode(data: bytes, **options: Any) -> dict[str, Any]:
    """`frames` and `times`; runs in a worker. All frames x pixels are held to `caps.MAX_VIDEO_PIXELS` beforehand."""
    how = Video(b"", **options)
    PIL.Image.MAX_IMAGE_PIXELS = None  # in this process our own caps, which are lower, are the only ones
    with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as file:
        caps.check_pixels(*file.size)
        count = int(getattr(file, "n_frames", 1))
        check_size(count, file.height, file.width)
        times, clock = np.empty(count), 0.0
        frames = np.empty((count, file.height, file.width, 3), np.uint8)
        for index in range(count):
            file.seek(index)
            frames[index] = np.asarray(rgb(file))  # loads it, and then knows how long it is shown
            times[index] = clock
            clock += (file.info.get("duration") or 1000 * UNSAID) / 1000
    chosen = choose(times, clock, np.ones(count, bool), how)
    first, _ = caps.window(how.start, how.end)
    return {"frames": frames[chosen], "times": times[chosen] - first}
