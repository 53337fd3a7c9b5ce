"""Video: chosen frames with their times, and the sound; animated pictures too (see `animation.py`)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import BadMedia
from isthmus.media import caps, container, sandbox
from isthmus.media.forms import Clip, Sound, Times
from isthmus.types import Video

FORMATS = ("MP4", "MOV", "WEBM", "MKV", "AVI", "GIF", "WEBP", "PNG")
FRAMES = 8  # that are taken, where nobody says how many
SAMPLINGS = ("uniform", "fps", "keyframes")


def load_video(medium: Video) -> Clip:
    """The frames that the medium's options ask for, upright, and its sound, if it is asked for and there is any.

    Times are counted from `start`. A frame that is shown for long may be taken twice; a video of fewer frames gives all
    of them.

    Raises `BadMedia` when the file is missing, not one of `FORMATS`, damaged, or over the caps: `caps.MAX_FRAMES` and
    `caps.MAX_VIDEO_PIXELS` (frames taken x pixels), checked in the header and again while decoding; sound that is over
    `caps.MAX_SECONDS`. Decoding runs in a process under limits of memory and time.
    """
    check_options(medium)
    source = medium.source() if callable(medium.source) else medium.source
    if isinstance(source, Clip):
        return _part(source, medium)
    data, name = caps.read(source, "a video is a path, bytes, a Clip or a function that makes one")
    options = {name: getattr(medium, name) for name in ("frames", "sampling", "fps", "start", "end", "sound")}
    animated = data[:6] in (b"GIF87a", b"GIF89a") or data[8:12] == b"WEBP" or data[:4] == b"\x89PNG"
    found = sandbox.decode("animation" if animated else "video", data, name, **options)
    try:
        samples = found.get("samples")
        sound = None if samples is None or not len(samples) else Sound(samples, found["rate"])
        return Clip(found["frames"], found["times"], sound)
    except BadMedia as error:
        raise BadMedia(f"{name}: {error}") from None


def check_options(medium: Video) -> None:
    """Raises `BadMedia` for options that no video can fulfil."""
    caps.window(medium.start, medium.end)
    if medium.sampling not in SAMPLINGS:
        raise BadMedia(f"sampling is one of {', '.join(SAMPLINGS)}, not {medium.sampling!r}")
    if medium.frames is not None and not (isinstance(medium.frames, int) and 1 <= medium.frames <= caps.MAX_FRAMES):
        raise BadMedia(f"{medium.frames} frames; 1 to {caps.MAX_FRAMES} are decoded")
    if (medium.sampling == "fps") != (medium.fps is not None):
        raise BadMedia('fps says how many frames a second: give it with sampling="fps", and only then')
    if medium.fps is not None and not 0 < medium.fps <= caps.MAX_FRAME_RATE:
        raise BadMedia(f"{medium.fps} frames a second; more than 0 and at most {caps.MAX_FRAME_RATE:,} can be taken")


def _part(clip: Clip, medium: Video) -> Clip:
    first, _ = caps.window(medium.start, medium.end)
    times = clip.times - clip.times[0]
    chosen = choose(times, ends(times), np.ones(len(times), bool), medium)
    check_size(len(chosen), *clip.frames.shape[1:3])
    sound = clip.sound if medium.sound else None
    if sound is not None:
        last = None if medium.end is None else round(medium.end * sound.rate)
        samples = sound.samples[round(first * sound.rate) : last]
        sound = Sound(samples, sound.rate) if len(samples) else None
        caps.check_seconds(len(samples) / clip.sound.rate if clip.sound else 0)
    return Clip(clip.frames[chosen], times[chosen] - first, sound)


def check_size(frames: int, height: int, width: int, mend: str = "Ask for fewer frames, or scale it down") -> None:
    """Raises `BadMedia` for frames that are too large, each or together."""
    caps.check_pixels(width, height)
    if frames * width * height > caps.MAX_VIDEO_PIXELS:
        raise BadMedia(
            f"{frames} frames of {width} x {height} are {frames * width * height:,} pixels; at most "
            f"{caps.MAX_VIDEO_PIXELS:,} are decoded. {mend}"
        )


def ends(times: Times) -> float:
    """When the last frame is over, if it is shown as long as the others are on average."""
    return float(times[-1] + (times[-1] - times[0]) / max(1, len(times) - 1)) if len(times) else 0.0


def choose(times: Times, over: float, keys: npt.NDArray[np.bool_], how: Video) -> npt.NDArray[np.intp]:
    """Which frames are taken, as indices into their ascending `times` (seconds); a frame may come twice.

    `over` is when the last one ends. Raises `BadMedia` when no frame lies in the part asked for, more than
    `caps.MAX_FRAMES` are asked for, or the times are none that a video has.

    >>> choose(np.arange(10) / 10, 1.0, np.ones(10, bool), Video(b"", frames=2)).tolist()
    [2, 7]
    >>> choose(np.arange(10) / 10, 1.0, np.ones(10, bool), Video(b"", sampling="fps", fps=5, start=0.2)).tolist()
    [2, 4, 6, 8]
    """
    if not len(times):
        raise BadMedia("0 frames: there is nothing to see")
    check_clock(times)
    over = max(over, float(np.nextafter(times[-1], np.inf)))  # one frame alone is on for no time that is known
    first, last = caps.window(how.start, how.end)
    first, last = max(first, float(times[0])), min(last, over)
    inside = np.flatnonzero((times < last) & (np.append(times[1:], over) > first))  # on at some time in between
    if not len(inside):
        raise BadMedia(f"no frames in the part from {how.start} to {how.end} seconds; the last one is over at {over:g}")
    most = FRAMES if how.frames is None else how.frames
    if how.sampling == "keyframes":
        inside = inside[keys[inside]]
        if not len(inside):
            raise BadMedia("no keyframes in the part asked for. Ask for uniform sampling")
        return inside[_spread(len(inside), most)]
    if how.sampling == "fps":
        assert how.fps is not None
        wanted = max(1, math.ceil((last - first) * how.fps - 1e-6))
        if wanted > caps.MAX_FRAMES:
            raise BadMedia(
                f"{last - first:g} seconds at {how.fps:g} frames a second are {wanted:,} frames; at most "
                f"{caps.MAX_FRAMES} are decoded. Ask for fewer a second, or for a part: start, end"
            )
        instants = first + np.arange(wanted) / how.fps
    elif len(inside) <= most:
        return inside
    else:
        instants = first + (np.arange(most) + 0.5) * (last - first) / most
    return np.clip(np.searchsorted(times, instants + 1e-6, "right") - 1, inside[0], inside[-1])


def check_clock(times: Times) -> None:
    """Raises `BadMedia` for more frames a second, or a longer time between them, than any video has."""
    if not np.isfinite(times).all() or (length := float(times[-1] - times[0])) > caps.MAX_VIDEO_SECONDS:
        raise BadMedia(f"damaged, its times are not within {caps.MAX_VIDEO_SECONDS:,} seconds")
    if len(times) > 1 and (len(times) - 1) > length * caps.MAX_FRAME_RATE * 1.01:
        rate = f"{(len(times) - 1) / length:,.0f} frames a second" if length > 0 else "all frames at one time"
        raise BadMedia(f"it declares {rate}; at most {caps.MAX_FRAME_RATE:,} a second are decoded")


def _spread(count: int, wanted: int) -> npt.NDArray[np.intp]:
    if count <= wanted:
        return np.arange(count)
    return ((np.arange(wanted) + 0.5) * count / wanted).astype(np.intp)


def decode(data: bytes, **options: Any) -> dict[str, Any]:
    """`frames`, `times`, and `samples` with their `rate` if there is sound; runs in a worker."""
    how = Video(b"", **options)
    first, last = caps.window(how.start, how.end)
    with container.opened(data, f"not a video that can be read. Formats: {', '.join(FORMATS)}") as file:
        stream = next((s for s in file.streams.video if "attached_pic" not in str(s.disposition)), None)
        if stream is None:
            raise BadMedia("0 frames: it holds no pictures" + (", only sound" if file.streams.audio else ""))
        container.ready(stream, container.VIDEO_CODECS)
        width, height = stream.codec_context.width, stream.codec_context.height
        check_size(1, height, width)
        stamps, keys = _packets(file, stream)
        unit, zero = float(stream.time_base or 0), container.begin(file)
        times: Times = stamps.astype(np.float64) * unit - zero
        chosen = choose(times, ends(times), keys, how)
        check_size(len(chosen), height, width)
        pictures, seen = _pictures(file, stream, stamps, keys, chosen)
        found = {"frames": pictures, "times": seen * unit - zero - first}
        if how.sound and (heard := container.sound(file, first, last, needed=False)) is not None:
            found |= {"samples": heard[0], "rate": heard[1]}
        return found


def _packets(file: Any, stream: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The times of all frames in ascending order, in the stream's unit, and which are keyframes; nothing is decoded.

    Raises `BadMedia` for more than `caps.MAX_PACKETS`, or when all streams end long before the header says.
    """
    stamps: list[int] = []
    keys: list[bool] = []
    over, count = 0.0, 0
    for packet in file.demux():
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is None or not packet.size:
            continue
        over, count = max(over, float((stamp + (packet.duration or 0)) * packet.time_base)), count + 1
        if packet.stream_index == stream.index:
            stamps.append(stamp)
            keys.append(packet.is_keyframe)
        if count > caps.MAX_PACKETS:
            raise BadMedia(f"more than {caps.MAX_PACKETS:,} packets of pictures and sound")
    declared, held = container.declared(file), over - container.begin(file)
    if declared is not None and held < declared * container.SLACK - 0.5:
        raise BadMedia(f"its header declares {declared:g} seconds and the file holds {held:g}. Write it again")
    order = np.argsort(np.array(stamps, np.int64), kind="stable")
    return np.array(stamps, np.int64)[order], np.array(keys, bool)[order]


def _pictures(
    file: Any,
    stream: Any,
    stamps: npt.NDArray[np.int64],
    keys: npt.NDArray[np.bool_],
    chosen: npt.NDArray[np.intp],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """The chosen frames in RGB, and their times in the stream's unit; whole groups of others are jumped over."""
    wanted = sorted(set(chosen.tolist()))
    starts = np.flatnonzero(keys)
    out: npt.NDArray[np.uint8] | None = None
    seen = np.zeros(len(chosen))
    at = 0  # of the frames wanted
    while at < len(wanted):
        key = starts[max(0, int(np.searchsorted(starts, wanted[at], "right")) - 1)] if len(starts) else 0
        file.seek(int(stamps[key]), stream=stream, backward=True)
        found = at
        for frame in _decoded(file, stream):
            stamp = frame.pts if frame.pts is not None else frame.dts
            if stamp is None or stamp < stamps[wanted[found]]:
                continue
            picture = _upright(frame, out)
            if out is None:
                check_size(len(chosen), *picture.shape[:2])
                out = np.empty((len(chosen), *picture.shape), np.uint8)
            for place in np.flatnonzero(chosen == wanted[found]):
                out[place], seen[place] = picture, stamp
            found += 1
            if found == len(wanted) or _far(starts, wanted[found], wanted[found - 1]):
                break
        if found == at:
            raise BadMedia(f"damaged, {at} of {len(wanted)} frames can be decoded")
        at = found
    assert out is not None
    return out, seen


def _far(starts: npt.NDArray[np.intp], wanted: int, at: int) -> bool:
    """Whether a keyframe lies between the frame decoded last and the one wanted next: a jump is less work."""
    return bool(((starts > at) & (starts <= wanted)).any())


def _decoded(file: Any, stream: Any) -> Any:
    for packet in file.demux(stream):
        yield from packet.decode()


def _upright(frame: Any, out: npt.NDArray[np.uint8] | None) -> npt.NDArray[np.uint8]:
    """The frame in RGB, turned as its container says; the size of the frames before it."""
    check_size(1, frame.height, frame.width)
    turns = round(frame.rotation / 90) % 4
    size = {}
    if out is not None:
        height, width = out.shape[1:3] if turns % 2 == 0 else out.shape[2:0:-1]
        size = {"width": width, "height": height}
    return np.rot90(frame.to_ndarray(format="rgb24", **size), turns)
