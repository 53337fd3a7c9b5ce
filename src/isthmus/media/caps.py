"""The caps on what is decoded, in one place, and how a source's bytes are read under the first of them."""

from __future__ import annotations

import math
import os
from pathlib import Path
from types import ModuleType

from isthmus.errors import BadMedia
from isthmus.types import Slice

MAX_MEDIA = 16  # of a request: a conversation that is to be answered
MAX_REQUEST_PIXELS = 100_000_000  # of all pictures and frames of one
MAX_BYTES = 20_000_000
MAX_PIXELS = 25_000_000  # of an image, a page or a frame
MAX_FRAMES = 64
MAX_VIDEO_PIXELS = 100_000_000  # frames x pixels; of an animation all of its frames, since each is drawn on the last
MAX_RASTER_BYTES = 400_000_000  # bands x pixels x bytes each, as they lie in memory
MAX_SECONDS = 600  # of sound
MIN_RATE, MAX_RATE = 1_000, 192_000  # samples of sound a second
MAX_SOUND_CHANNELS = 32
MAX_VIDEO_SECONDS = 86_400
MAX_FRAME_RATE = 1_000
MAX_PACKETS = 500_000  # of a video: a table of sizes can declare billions in a few bytes
MAX_POINTS = 1_000_000  # or a mesh's vertices, or its faces
MAX_CHANNELS = 1_024  # of a series
MAX_VALUES = 2_000_000  # channels x time

# What one decoding may take in the process that decodes; past it, the process is ended.
MEMORY = 2**30  # bytes beyond what the process holds already
CPU_SECONDS = 30
WALL_SECONDS = 120  # for what waits without computing; a busy machine may take this long for little


def read(source: object, what: str) -> tuple[bytes, str]:
    """The encoded bytes of a path or of bytes, and the name to call them by in messages.

    `what` says what else could have been given. Raises `BadMedia` when there is no such file, it cannot be read, or it
    is over `MAX_BYTES`.
    """
    if isinstance(source, bytes):
        if len(source) > MAX_BYTES:
            raise BadMedia(f"<{len(source):,} bytes>: over the cap of {MAX_BYTES:,}")
        return source, f"<{len(source):,} bytes>"
    start, length, name = 0, None, str(source)
    if isinstance(source, Slice):
        start, length, name = source.offset, source.size, f"{source.path}, bytes from {source.offset:,} on"
        source = source.path
    if not isinstance(source, str | os.PathLike):
        raise BadMedia(f"{what}, not {type(source).__name__}")
    path = Path(source)
    try:
        if not path.is_file():
            raise BadMedia(f"{path}: no such file")
        if (size := path.stat().st_size if length is None else length) > MAX_BYTES:
            raise BadMedia(f"{name}: {size:,} bytes, over the cap of {MAX_BYTES:,}")
        with path.open("rb") as file:
            file.seek(start)
            data = file.read(MAX_BYTES + 1 if length is None else length)  # it may grow while it is read
    except (OSError, ValueError) as error:
        raise BadMedia(f"{str(path)[:200]}: cannot be read ({type(error).__name__})") from error
    if len(data) > MAX_BYTES:
        raise BadMedia(f"{name}: over the cap of {MAX_BYTES:,} bytes")
    if length is not None and len(data) < length:
        raise BadMedia(f"{name}: {len(data):,} of {length:,} bytes are there; the file was cut off")
    return data, name


def window(start: float | None, end: float | None) -> tuple[float, float]:
    """The seconds from `start` to `end`, infinity where there is none. Raises `BadMedia` unless start < end."""
    first, last = 0.0 if start is None else float(start), math.inf if end is None else float(end)
    if not 0 <= first < last or math.isinf(first):
        raise BadMedia(f"a part from {start} to {end} seconds cannot be taken: start is 0 or more and lies before end")
    return first, last


def check_rate(rate: float) -> None:
    """Raises `BadMedia` for a rate that no sound has."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise BadMedia(f"{rate:,} samples a second; {MIN_RATE:,} to {MAX_RATE:,} are decoded")


def check_seconds(seconds: float) -> None:
    """Raises `BadMedia` for sound that lasts too long."""
    if seconds > MAX_SECONDS:
        raise BadMedia(
            f"{seconds:,.0f} seconds of sound; at most {MAX_SECONDS} are decoded. Ask for a part: start, end"
        )


def check_pixels(width: int, height: int) -> None:
    """Raises `BadMedia` for a picture without pixels or with too many."""
    if width < 1 or height < 1:
        raise BadMedia(f"{width} x {height} pixels: there is nothing to see")
    if width * height > MAX_PIXELS:
        raise BadMedia(f"{width} x {height} pixels; at most {MAX_PIXELS:,} are decoded. Scale it down")


def check_room(pixels: int, room: int) -> None:
    """Raises `BadMedia` for more pixels than there is room for in a request."""
    if pixels > room:
        raise BadMedia(
            f"{pixels:,} pixels; of {MAX_REQUEST_PIXELS:,} that the media of one conversation may have together, "
            f"{room:,} are left. Scale them down, or start a new one"
        )


def check_points(count: int, what: str = "points") -> None:
    """Raises `BadMedia` for no points or too many."""
    if not 0 < count <= MAX_POINTS:
        raise BadMedia(f"{count:,} {what}; 1 to {MAX_POINTS:,} are decoded")


def check_values(channels: int, times: int) -> None:
    """Raises `BadMedia` for a series without values or with too many."""
    if channels < 1 or times < 1:
        raise BadMedia(f"{channels} channels x {times:,} times: there is nothing in it")
    if channels > MAX_CHANNELS or channels * times > MAX_VALUES:
        raise BadMedia(
            f"{channels:,} channels x {times:,} times; at most {MAX_CHANNELS:,} channels and {MAX_VALUES:,} values are "
            "decoded"
        )


def need(module: str, what: str) -> ModuleType:
    """A module of the extra `isthmus[media]`. Raises `BadMedia` saying how to install it, when it is not there."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BadMedia(f"{what} needs {module.partition('.')[0]}: pip install 'isthmus[media]'") from error
