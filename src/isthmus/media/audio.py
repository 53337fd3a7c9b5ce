"""Sound: a path, bytes, a `Sound` or a function that makes one; one channel in [-1, 1] at the file's own rate."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import BadMedia
from isthmus.media import caps, sandbox, whole
from isthmus.media.forms import Floats, Sound
from isthmus.types import Audio

FORMATS = ("WAV", "FLAC", "OGG", "MP3", "AIFF", "MP4", "WEBM", "MKV", "AVI")
SNDFILE_FORMATS = {"WAV", "WAVEX", "FLAC", "OGG", "MP3", "AIFF"}
BLOCK = 2**16  # samples read at once
SLACK = 0.9  # of what a container declares must be there; encoders count their own delay in or leave it out


def load_audio(medium: Audio) -> Sound:
    """Decode to one channel, the mean of all, at the file's own rate (`Sound.resampled` gives another).

    Raises `BadMedia` when the file is missing, not one of `FORMATS`, damaged, holds less than it declares, or lasts
    longer than `caps.MAX_SECONDS` (declared, and again while it is decoded; with `start` and `end`, the part does).
    """
    first, last = caps.window(medium.start, medium.end)
    source = medium.source() if callable(medium.source) else medium.source
    if isinstance(source, Sound):
        part = slice(round(first * source.rate), None if np.isinf(last) else round(last * source.rate))
        sound = Sound(source.samples[part], source.rate)
        caps.check_seconds(sound.seconds)
        return sound
    data, name = caps.read(source, "a sound is a path, bytes, a Sound or a function that makes one")
    found = sandbox.decode("audio", data, name, start=medium.start, end=medium.end)
    try:
        return Sound(found["samples"], found["rate"])
    except BadMedia as error:
        raise BadMedia(f"{name}: {error}") from None


def decode(data: bytes, start: float | None, end: float | None) -> dict[str, Any]:
    """`samples` float32 [T] and their `rate`; runs in a worker."""
    window = caps.window(start, end)
    if data[:4] in (b"fLaC", b"OggS") or data[:3] == b"ID3" or _is_mp3(data):
        (whole.check_ogg if data[:4] == b"OggS" else whole.check_mp3)(data)
        samples, rate = _by_sndfile(data, *window)
    elif data[:4] in (b"RIFF", b"FORM") and data[8:12] in (b"WAVE", b"AIFF", b"AIFC"):
        check_chunks(data)
        samples, rate = _by_sndfile(data, *window)
    else:
        from isthmus.media import container

        with container.opened(data, f"not a sound that can be read. Formats: {', '.join(FORMATS)}") as file:
            found = container.sound(file, *window)
        if found is None:
            raise BadMedia("it holds no sound")
        samples, rate = found
    return {"samples": samples, "rate": rate}


def check_chunks(data: bytes) -> None:
    """Raises `BadMedia` for a WAV or AIFF that declares what the file does not hold: decoders read those silently."""
    little = data[:4] == b"RIFF"
    place, described = 12, False
    while place + 8 <= len(data):
        name, size = struct.unpack_from("<4sI" if little else ">4sI", data, place)
        described |= name in (b"fmt ", b"COMM")
        if name == b"fmt " and place + 24 <= len(data):
            _, channels, rate = struct.unpack_from("<HHI", data, place + 8)
            if not channels:
                raise BadMedia("0 channels of sound")
            caps.check_rate(rate)
        if name in (b"data", b"SSND"):
            if not described:
                raise BadMedia("damaged, its header does not say what its samples are")
            if size > (held := len(data) - place - 8):
                raise BadMedia(
                    f"its header declares {size:,} bytes of sound and the file holds {held:,}. Write it again"
                )
            return
        place += 8 + size + size % 2
    raise BadMedia("damaged, there are no samples in it")


def _by_sndfile(data: bytes, first: float, last: float) -> tuple[Floats, int]:
    import soundfile

    with soundfile.SoundFile(io.BytesIO(data)) as file:
        if file.format not in SNDFILE_FORMATS:
            raise BadMedia(f"not a sound that can be read. Formats: {', '.join(FORMATS)}")
        caps.check_rate(rate := file.samplerate)
        if not 0 < file.channels <= caps.MAX_SOUND_CHANNELS:
            raise BadMedia(f"{file.channels} channels of sound; 1 to {caps.MAX_SOUND_CHANNELS} are decoded")
        if file.frames < 1:
            raise BadMedia("0 samples of sound: there is nothing to hear")
        begin, stop = round(first * rate), min(file.frames, round(min(last, 2**31) * rate))
        if begin >= stop:
            raise BadMedia(f"the part begins at {first:g} seconds and the sound ends at {file.frames / rate:g}")
        caps.check_seconds((stop - begin) / rate)
        if begin:
            file.seek(begin)
        samples = np.empty(stop - begin, np.float32)
        have = 0
        while have < len(samples):
            block = file.read(min(BLOCK, len(samples) - have), dtype="float32", always_2d=True)
            if not len(block):
                if have < len(samples) * (SLACK if file.format == "MP3" else 1):  # MP3 headers only estimate
                    raise BadMedia(
                        f"its header declares {file.frames / rate:g} seconds of sound and the file holds "
                        f"{(begin + have) / rate:g}. Write it again"
                    )
                break
            samples[have : have + len(block)] = mono(block)
            have += len(block)
        return samples[:have], rate


def mono(block: npt.NDArray[np.float32]) -> Floats:
    """The mean of the channels of samples [T, C]."""
    return block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)


def _is_mp3(data: bytes) -> bool:
    """Whether it begins with a frame of MPEG's layer III: eleven bits set, and the layer's number."""
    return len(data) > 1 and data[0] == 0xFF and data[1] & 0xE6 == 0xE2
