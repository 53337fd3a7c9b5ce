"""Files of moving pictures and sound, read by FFmpeg; only a worker opens them.

Nothing but the formats below is ever opened: no playlists, no lists of other files, no protocols. The bytes come from
memory, so that there is no name that a file could be reached by.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.errors import BadMedia
from isthmus.media import caps, whole
from isthmus.media.forms import Floats

if TYPE_CHECKING:
    from av.container import InputContainer

VIDEO_CODECS = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mjpeg")
AUDIO_CODECS = ("aac", "mp3", "opus", "vorbis", "flac", "alac", "ac3", "eac3", "pcm")
SLACK = 0.9  # of what a container declares must be there; encoders count their own delay in or leave it out


def demuxer(data: bytes) -> str | None:
    """FFmpeg's name for the format of the bytes: `mov`, `matroska` or `avi`; none for any other."""
    if data[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"):
        return "mov"
    if data[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    return "avi" if data[:4] == b"RIFF" and data[8:12] == b"AVI " else None


@contextmanager
def opened(data: bytes, unknown: str) -> Iterator[InputContainer]:
    """The container in the bytes. Raises `BadMedia` for one cut off, and with `unknown` for one of no known format."""
    import av
    import av.logging

    av.logging.set_level(None)
    if (format := demuxer(data)) is None:
        raise BadMedia(unknown)
    {"mov": whole.check_boxes, "matroska": whole.check_matroska, "avi": whole.check_riff}[format](data)
    options = {"protocol_whitelist": "none", "format_whitelist": "mov,matroska,webm,avi", "enable_drefs": "0"}
    if format != "mov":
        del options["enable_drefs"]
    with av.open(io.BytesIO(data), mode="r", format=format, options=options) as file:
        yield file


def ready(stream: Any, codecs: tuple[str, ...]) -> None:
    """Make a stream's decoder ready: one thread, frames over the cap refused. Raises `BadMedia` for other codecs."""
    context = stream.codec_context
    if context is None or not context.codec.name:
        raise BadMedia(f"a codec that is unknown. Known: {', '.join(codecs)}")
    name = stream.codec.canonical_name if hasattr(stream.codec, "canonical_name") else context.name
    if not any(name == codec or (codec == "pcm" and name.startswith("pcm_")) for codec in codecs):
        raise BadMedia(f"the codec {name} is not decoded. Known: {', '.join(codecs)}")
    context.thread_count = 1
    if stream.type == "video":
        context.options = {"max_pixels": str(caps.MAX_PIXELS)}


def begin(file: InputContainer) -> float:
    """The second at which the container's clock begins."""
    import av

    return float(file.start_time or 0) / float(av.time_base)


def sound(file: InputContainer, first: float, last: float, needed: bool = True) -> tuple[Floats, int] | None:
    """Samples float32 [T] of one channel from second `first` to second `last` of the container's clock, and their rate.

    None when the container has no sound, or it ends before `first` and is not `needed`: a video's may end before its
    pictures do. Where the sound begins later than `first`, silence stands before it. Raises `BadMedia` over the caps,
    which are checked in the header and again while decoding.
    """
    import av

    if not file.streams.audio:
        return None
    stream = file.streams.audio[0]
    ready(stream, AUDIO_CODECS)
    caps.check_rate(rate := int(stream.codec_context.sample_rate))
    if not 0 < (channels := int(stream.codec_context.channels)) <= caps.MAX_SOUND_CHANNELS:
        raise BadMedia(f"{channels} channels of sound; 1 to {caps.MAX_SOUND_CHANNELS} are decoded")
    length = _length(file, stream)
    if length is not None:
        if first >= length and not needed:
            return None
        if first >= length:
            raise BadMedia(f"the part begins at {first:g} seconds and the sound ends at {length:g}")
        caps.check_seconds(min(last, length) - first)
    zero = begin(file)
    file.seek(int(max(0.0, first - 1 + zero) * av.time_base))
    resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
    blocks: list[Floats] = []
    at: int | None = None  # where the next sample stands, counted from `first`
    have = 0
    stop = None if math.isinf(last) else round((last - first) * rate)
    for frame in _frames(file, stream):
        if frame.sample_rate != rate:
            raise BadMedia(f"its rate changes from {rate:,} to {frame.sample_rate:,}")
        if at is None:
            time = frame.time if frame.time is not None else zero
            at = round((time - zero - first) * rate)
            if at > caps.MAX_SECONDS * rate:
                raise BadMedia("damaged, its sound begins too late")
            if at > 0:
                blocks.append(np.zeros(at, np.float32))
                have = at
        for out in resampler.resample(frame):
            block = out.to_ndarray().astype(np.float32, copy=False).reshape(-1)[max(0, -at) :]
            at += out.samples
            blocks.append(block)
            have += len(block)
            caps.check_seconds((have if stop is None else min(have, stop)) / rate)
        if stop is not None and have >= stop:
            break
    samples = np.concatenate(blocks)[:stop] if blocks else np.empty(0, np.float32)
    wanted = None if length is None else min(last, length) - first
    if wanted is not None and len(samples) / rate < min(wanted * SLACK, wanted - 0.5):
        raise BadMedia(f"it declares {wanted:g} seconds of sound and holds {len(samples) / rate:g}. Write it again")
    return samples, rate


def _frames(file: InputContainer, stream: Any) -> Iterator[Any]:
    for packet in file.demux(stream):
        yield from packet.decode()


def declared(file: InputContainer) -> float | None:
    """Seconds that the header says the longest stream lasts, if it says so."""
    import av

    return None if file.duration is None else float(file.duration) / float(av.time_base)


def _length(file: InputContainer, stream: Any) -> float | None:
    """Seconds of sound that the header declares; the container's own count is of no use where it holds pictures too."""
    if stream.duration is not None and stream.time_base is not None and file.format.name != "avi":
        return float(stream.duration * stream.time_base)
    return None if file.streams.video else declared(file)
