"""Images of every kind that arrive: right, odd, damaged and hostile."""

from __future__ import annotations

import contextlib
import io
import random
import time
from pathlib import Path

import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_files import png_that_says

from isthmus.errors import BadMedia
from isthmus.media import load, load_image
from isthmus.media.caps import MAX_BYTES
from isthmus.media.image import rgb
from isthmus.types import Image

NOISE = PIL.Image.frombytes("RGB", (12, 9), random.Random(0).randbytes(12 * 9 * 3))
RED = PIL.Image.new("RGB", (6, 4), "red")


def encoded(picture: PIL.Image.Image, form: str = "PNG", **options: object) -> bytes:
    picture.save(buffer := io.BytesIO(), form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_formats(form: str, tmp_path: Path) -> None:
    data = encoded(RED, form)
    (path := tmp_path / "odd name.xyz").write_bytes(data)
    for source in (data, path, str(path)):
        picture = load(Image(source))
        assert (picture.mode, picture.size) == ("RGB", (6, 4))
        assert max(abs(a - b) for a, b in zip(picture.getpixel((2, 2)), (255, 0, 0), strict=True)) < 6


def test_drawn_pictures() -> None:
    assert load(Image(lambda: PIL.Image.new("L", (3, 3), 200))).getpixel((1, 1)) == (200, 200, 200)
    assert load_image(RED) is RED


def test_one_pixel() -> None:
    assert load_image(encoded(PIL.Image.new("RGB", (1, 1), "blue"))).getpixel((0, 0)) == (0, 0, 255)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA", "L", "1", "RGB", "I;16"])
def test_transparency_is_white_and_greys_keep_their_scale(mode: str) -> None:
    if mode == "P":
        picture = PIL.Image.new("P", (4, 4), 0)
        picture.putpalette([255, 0, 0, 0, 255, 0])
        data, expected = encoded(picture, transparency=0), (255, 255, 255)
    elif mode == "RGB":
        data, expected = encoded(RED, transparency=(255, 0, 0)), (255, 255, 255)
    elif mode == "I;16":
        data, expected = encoded(PIL.Image.new("I;16", (4, 4), 257 * 100)), (100, 100, 100)
    elif mode in ("RGBA", "LA", "PA"):
        picture = PIL.Image.new("RGBA", (4, 4), (0, 0, 0, 0)).convert(mode)
        data, expected = encoded(picture if mode != "PA" else picture.convert("RGBA")), (255, 255, 255)
    else:
        data, expected = encoded(PIL.Image.new(mode, (4, 4), 0)), (0, 0, 0)
    picture = load_image(data)
    assert picture.mode == "RGB"
    assert picture.getpixel((1, 1)) == expected


def test_half_transparent_is_half_white() -> None:
    assert rgb(PIL.Image.new("RGBA", (2, 2), (0, 0, 0, 128))).getpixel((0, 0)) == (127, 127, 127)


def test_cmyk_photographs() -> None:
    assert load_image(encoded(PIL.Image.new("CMYK", (4, 4), (0, 0, 0, 0)), "JPEG")).getpixel((1, 1)) == (255, 255, 255)


@pytest.mark.parametrize(("orientation", "place"), [(1, (0, 0)), (3, (1, 1)), (6, (1, 0)), (8, (0, 1))])
def test_exif_turns_the_picture_upright(orientation: int, place: tuple[int, int]) -> None:
    picture = PIL.Image.new("RGB", (32, 16), "black")
    picture.paste((255, 255, 255), (0, 0, 16, 8))  # a white quarter, top left as stored
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    upright = load_image(encoded(picture, "JPEG", exif=exif, quality=95))
    assert upright.size == ((32, 16) if orientation in (1, 3) else (16, 32))
    quarter = (upright.width // 4 + place[0] * upright.width // 2, upright.height // 4 + place[1] * upright.height // 2)
    assert min(upright.getpixel(quarter)) > 200


def test_bad_exif_harms_nothing() -> None:
    data = encoded(RED, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05" + b"\xff" * 12)
    assert load_image(data).size == (6, 4)


def test_the_first_frame_of_a_moving_gif() -> None:
    frames = [PIL.Image.new("RGB", (4, 4), colour) for colour in ("red", "green", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert load_image(data).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("width", "height", "says"),
    [
        (5001, 5000, "5001 x 5000 pixels; at most 25,000,000"),
        (13_377, 13_377, "at most 25,000,000|over 25,000,000"),
        (50_000, 50_000, "over 25,000,000 pixels"),
        (0, 4, "not an image|damaged"),
        (2**31 - 1, 1, "pixels"),
    ],
)
def test_bombs_are_refused_before_decoding(width: int, height: int, says: str) -> None:
    start = time.perf_counter()
    with pytest.raises(BadMedia, match=says):
        load_image(png_that_says(width, height))
    assert time.perf_counter() - start < 2


def test_the_largest_picture_that_is_decoded() -> None:
    assert load_image(encoded(PIL.Image.new("1", (5000, 5000)))).size == (5000, 5000)


def test_damage_is_named(tmp_path: Path) -> None:
    noise = PIL.Image.effect_noise((64, 64), 90)
    for form in ("PNG", "JPEG", "WEBP", "GIF", "BMP"):
        data = encoded(noise.convert("RGB"), form)
        (path := tmp_path / f"cut.{form.lower()}").write_bytes(data[: len(data) // 2])
        with pytest.raises(BadMedia, match=f"cut.{form.lower()}: "):
            load_image(path)


@pytest.mark.parametrize(
    "data", [b"", b"hello, this is text", b"\x89PNG\r\n\x1a\n", b"%PDF-1.4", b"<svg/>", b"%!PS-Adobe"]
)
def test_what_is_no_image(data: bytes, tmp_path: Path) -> None:
    (path := tmp_path / "notes.png").write_bytes(data)
    with pytest.raises(BadMedia, match=r"notes\.png: not an image|notes\.png: damaged"):
        load_image(path)


def test_messages_hold_no_addresses() -> None:
    with pytest.raises(BadMedia) as error:
        load_image(b"not an image at all")
    assert "0x" not in str(error.value)


def test_missing_large_and_odd_sources(tmp_path: Path) -> None:
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    for source, says in (
        (tmp_path / "large.png", "over the cap"),
        (b"\0" * (MAX_BYTES + 1), "over the cap"),
        (tmp_path / "none.png", "no such file"),
        (tmp_path, "no such file"),
        ("a\0b", "no such file|cannot be read"),
        ("x" * 9999, "no such file|cannot be read"),
        (3, "not int"),
        (None, "not NoneType"),
    ):
        with pytest.raises(BadMedia, match=says):
            load_image(source)


@settings(max_examples=100, deadline=2000)
@given(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP"]), st.data())
def test_mutated_files_never_crash(form: str, data: st.DataObject) -> None:
    file = bytearray(encoded(NOISE, form))
    for _ in range(data.draw(st.integers(1, 6))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadMedia):
        assert load_image(bytes(file[: data.draw(st.integers(1, len(file)))])).mode == "RGB"


def test_a_lack_of_memory_is_not_the_pictures_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*args: object) -> None:
        raise MemoryError

    PIL.Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    monkeypatch.setattr(PIL.ImageOps, "exif_transpose", full)
    with pytest.raises(MemoryError):
        load_image(tmp_path / "a.png")
