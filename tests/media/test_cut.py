"""A file that was cut off is refused, or gives the whole's very numbers, or docs/media.md says that none can tell."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import media_files as files
import numpy as np
import PIL.Image
import pytest

from isthmus.errors import BadMedia
from isthmus.media import load
from isthmus.media.forms import key
from isthmus.types import Audio, Image, Medium, Points, Series, Video

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 255, (90, 120, 3), dtype=np.uint8)
WAVES = np.stack([np.add.outer(np.arange(400), np.arange(400)) % 256] * 3, -1).astype(np.uint8)
XYZ, COLOURS, FACES = RNG.normal(size=(400, 3)), RNG.integers(0, 255, (400, 3)), RNG.integers(0, 400, (300, 3))
MESH = "".join(f"v {x:.3f} {y:.3f} {z:.3f}\n" for x, y, z in XYZ) + "".join(f"f {a} {b} {c}\n" for a, b, c in FACES + 1)
TABLE = b"time,a,b\n" + b"".join(b"%.2f,%d,%.3f\n" % (i / 50, i, i / 7) for i in range(400))
SAID = (Path(__file__).parents[2] / "docs/media.md").read_text(encoding="utf-8").split("## What is refused")[1]


def still(form: str, **options: Any) -> bytes:
    PIL.Image.fromarray(NOISE).save(buffer := io.BytesIO(), form, **options)
    return buffer.getvalue()


def streamed(form: str, codec: str | None, audio: str | None) -> bytes:
    """As a camera or a browser sends it: no size is put in afterwards."""
    data = bytearray(files.film(form, codec, audio, 60))
    if form == "avi":
        struct.pack_into("<I", data, 4, 0)
    else:
        place = data.index(b"\x18\x53\x80\x67") + 4
        data[place : place + 8] = b"\x01" + b"\xff" * 7
    return bytes(data)


WHOLE: dict[str, tuple[type[Medium], Callable[[], bytes]]] = {
    **{f"{form} {sub or ''}": (Audio, lambda form=form, sub=sub: files.sound(form, sub, seconds=3)) for form, sub in (
        ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None),
        ("AIFF", None))},
    **{f"{name} film": (Video, lambda of=of: files.film(*of, 60)) for name, of in files.FILMS.items()},
    **{f"{name} silent": (Video, lambda of=of: files.film(*of[:2], None, 60)) for name, of in files.FILMS.items()},
    **{f"{name} sound": (Audio, lambda of=of: files.film(of[0], None, of[2], 60)) for name, of in files.FILMS.items()},
    "avi of jpegs": (Video, lambda: files.motion_jpeg([(48, 64)] * 30)),
    "mkv stream": (Video, lambda: streamed("matroska", "libx264", None)),
    "webm stream of sound": (Audio, lambda: streamed("webm", None, "libopus")),
    "avi stream": (Video, lambda: streamed("avi", "mpeg4", None)),
    **{f"moving {form}": (Video, lambda form=form: files.animation(form, 20)) for form in ("GIF", "WEBP", "PNG")},
    **{f"still {form}": (Image, lambda form=form: still(form)) for form in ("PNG", "JPEG", "WEBP", "GIF", "BMP")},
    "progressive JPEG": (Image, lambda: still("JPEG", progressive=True)),
    "PDF": (Image, files.page),
    **{f"TIFF {name} {options}": (Image, lambda name=name, options=options:
        files.raster(WAVES, compression=name, photometric="rgb", **options))
       for name in (None, "jpeg", "lzw", "packbits", "zstd", "zlib")
       for options in ({}, {"tile": (128, 128)}, {"rowsperstrip": 16})},
    **{f"PLY {form}": (Points, lambda form=form: files.ply(XYZ, form, colours=COLOURS)) for form in (
        "ascii", "binary_little_endian", "binary_big_endian")},
    "PLY mesh": (Points, lambda: files.ply(XYZ, "binary_little_endian", FACES)),
    "OBJ": (Points, MESH.encode),
    "LAS": (Points, lambda: files.las(XYZ, COLOURS)),
    "LAZ": (Points, lambda: files.las(XYZ, COLOURS, True)),
    "NPY of points": (Points, lambda: files.npy(XYZ)),
    "CSV": (Series, lambda: TABLE),
    "Parquet": (Series, lambda: files.table({"t": np.arange(400) / 50, "a": RNG.normal(size=400)})),
    "NPY of a series": (Series, lambda: files.npy(RNG.normal(size=(3, 400)))),
}  # fmt: skip

# Bytes that may be gone without a word and change what is read, and how the page says so.
UNTOLD: dict[str, tuple[Callable[[int], float], str]] = {
    "OBJ": (lambda size: size, "OBJ and CSV say nowhere how long they are"),
    "CSV": (lambda size: size, "OBJ and CSV say nowhere how long they are"),
    "PLY ascii": (lambda _: 3, "in a PLY of text, the digits of its last number"),
    "MP3 ": (lambda size: 1 + size / 100, "an MP3 may lack a hundredth"),
    "mkv stream": (lambda size: size / 5, "Matroska or WEBM that was streamed"),
    "webm stream of sound": (lambda size: size / 5, "Matroska or WEBM that was streamed"),
    "avi stream": (lambda size: size, "an AVI that was streamed, any part"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_that_was_cut_off(name: str) -> None:
    medium, make = WHOLE[name]
    data = make()
    whole = key(load(medium(data)))
    most, says = UNTOLD.get(name, (lambda _: 0, ""))
    assert says in " ".join(SAID.split())
    size = len(data)
    lacking = {*range(1, 13), *(round(size * part) for part in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.6, 0.8, 0.95))}
    silent = []
    for bytes_gone in sorted(lacking | set(RNG.integers(1, size, 12).tolist())):
        try:
            if key(load(medium(data[: size - bytes_gone]))) != whole and bytes_gone > most(size):
                silent.append(bytes_gone)
        except BadMedia:
            continue
    assert silent == [], f"of {size} bytes"


@pytest.mark.parametrize(
    ("name", "part", "says"),
    [
        ("OGG OPUS", 0.95, "cut off: .*bytes|cut off: it ends before the page that is marked as its last. Fetch it"),
        (
            "MP3 ",
            0.95,
            r"cut off: its header declares [\d,]+ bytes and the file holds [\d,]+. Fetch it again, or write",
        ),
        ("avi film", 0.95, "cut off: its header declares"),
        ("mkv film", 0.95, "cut off: its header declares"),
        ("mkv stream", 0.5, "its header declares 6 seconds and the file holds|cut off"),
        ("webm stream of sound", 0.5, "it declares .* seconds of sound and holds|cut off"),
        ("mp4 film", 0.99, "cut off: its header declares"),
        ("moving GIF", 0.95, "cut off: it ends before its trailer, so frames may be gone"),
        ("TIFF jpeg {}", 0.9, "cut off: its header declares"),
        ("PDF", 0.6, "cut off: its last object is not followed by the mark of its end"),
    ],
)
def test_what_is_said(name: str, part: float, says: str) -> None:
    medium, make = WHOLE[name]
    data = make()
    with pytest.raises(BadMedia, match=says):
        load(medium(data[: round(len(data) * part)]))


def test_a_page_that_ends_exactly_where_the_file_does() -> None:
    data = files.sound("OGG", "OPUS", seconds=3)
    with pytest.raises(BadMedia, match="ends before the page that is marked as its last"):
        load(Audio(data[: data.rindex(b"OggS")]))


@pytest.mark.parametrize(
    "name",
    ["OGG OPUS", "OGG VORBIS", "MP3 ", "avi film", "mkv film", "mp4 film", "moving GIF", "TIFF jpeg {}"],
)
@pytest.mark.parametrize("more", [b"\0" * 9, b"\n", b"TAG" + b"a" * 125, b"\xff" * 40])
def test_what_stands_behind_a_file_does_no_harm(name: str, more: bytes) -> None:
    medium, make = WHOLE[name]
    load(medium(make() + more))


def test_a_still_gif_without_its_trailer() -> None:
    data = still("GIF")
    assert data.endswith(b"\0;")
    assert key(load(Video(data[:-1]))) == key(load(Video(data)))
    with pytest.raises(BadMedia, match="before its trailer"):
        load(Video(data[:-2]))


def test_a_pdf_of_which_pages_are_left() -> None:
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R 5 0 R] /Count 2 >>",
        *("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 100 100] /Contents 4 0 R >>",
          "<< /Length 25 >>\nstream\n1 0 0 rg 0 50 50 50 re f \nendstream") * 2,
    ]  # fmt: skip
    body = "".join(f"{index + 1} 0 obj\n{text}\nendobj\n" for index, text in enumerate(objects))
    data = f"%PDF-1.4\n{body}trailer\n<< /Root 1 0 R /Size 7 >>\n%%EOF\n".encode()
    assert load(Image(data)).size == (200, 200)
    with pytest.raises(BadMedia, match="cut off"):
        load(Image(data[: data.index(b"5 0 obj")]))
