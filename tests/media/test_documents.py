"""Pages of PDF and bands of GeoTIFF as images."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile
from media_files import page, raster

from isthmus.errors import BadMedia
from isthmus.media import load
from isthmus.media.raster import load_bands, stretched
from isthmus.types import Image

BANDS = np.random.default_rng(0).integers(200, 9000, (20, 30, 5)).astype(np.uint16)  # [H, W, C]


def test_pages() -> None:
    for number, colour in ((0, (254, 0, 0)), (1, (0, 0, 254))):
        picture = load(Image(page(), page=number))
        assert (picture.mode, picture.size) == ("RGB", (432, 288)), "3 x 2 inches at 144 dots an inch"
        assert picture.getpixel((200, 100)) == pytest.approx(colour, abs=3)


def pdf(content: str = "", box: str = "0 0 100 100") -> bytes:
    """A PDF of one page, without a table of contents: readers rebuild it."""
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [{box}] /Contents 4 0 R >>",
        f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
    ]
    body = "".join(f"{index + 1} 0 obj\n{text}\nendobj\n" for index, text in enumerate(objects))
    return f"%PDF-1.4\n{body}trailer\n<< /Root 1 0 R /Size 5 >>\n%%EOF\n".encode()


def test_what_is_not_painted_is_white() -> None:
    picture = load(Image(pdf("1 0 0 rg 0 50 50 50 re f")))
    assert picture.size == (200, 200)
    assert picture.getpixel((50, 50)) == (255, 0, 0)
    assert picture.getpixel((150, 150)) == (255, 255, 255)


def test_a_pdf_with_something_before_it() -> None:
    for junk in (b"\n", b"HTTP/1.1 200 OK\r\n\r\n", b"\xef\xbb\xbf", b"x" * 1000):
        picture, mine = load(Image(junk + page(), page=1)), load(Image(page(), page=1))
        assert np.array_equal(np.asarray(picture), np.asarray(mine))
    refused(b"x" * 1020 + page(), "not an image that can be read")
    PIL.Image.new("RGB", (5, 4)).save(buffer := io.BytesIO(), "JPEG", comment=b"%PDF-1.4")
    assert load(Image(buffer.getvalue())).size == (5, 4), "no picture is taken for a PDF"


def test_large_pages_are_drawn_smaller() -> None:
    assert load(Image(pdf(box="0 0 14400 7200"))).size == (4096, 2048)
    assert load(Image(pdf(box="0 0 10 3"))).size == (20, 6)


def refused(data: bytes, says: str, **options: Any) -> None:
    with pytest.raises(BadMedia, match=says) as error:
        load(Image(data, **options))
    assert str(error.value).startswith(f"<{len(data):,} bytes>: ")
    assert "0x" not in str(error.value)


def test_pdfs_that_cannot_be_drawn() -> None:
    refused(page(), "page 2 of a PDF of 2 pages, which are counted from 0", page=2)
    refused(page(), "page -1 of a PDF of 2 pages", page=-1)
    refused(b"%PDF-1.4", "does not open as a PDF")
    refused(b"%PDF-1.4" + b"\0" * 5000, "does not open as a PDF")


def test_options_of_other_images() -> None:
    PIL.Image.new("RGB", (4, 4)).save(buffer := io.BytesIO(), "PNG")
    refused(buffer.getvalue(), "only a PDF has pages to choose from, and only a TIFF bands", page=1)
    refused(buffer.getvalue(), "only a PDF has pages", bands=(0,))
    refused(page(), "only a TIFF bands", bands=(0,))


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits", "zstd"])
@pytest.mark.parametrize("options", [{}, {"tile": (16, 16)}, {"predictor": True}], ids=str)
@pytest.mark.parametrize("layout", ["contig", "separate", "pages"])
def test_rasters(compression: str | None, options: dict[str, Any], layout: str) -> None:
    if "predictor" in options and compression not in ("zlib", "lzw", "zstd"):
        options = {}
    values = BANDS if layout == "contig" else BANDS.transpose(2, 0, 1)
    planar = None if layout == "pages" else layout
    data = raster(values, photometric="minisblack", planarconfig=planar, compression=compression, **options)
    np.testing.assert_array_equal(load_bands(data, "a", None), BANDS.transpose(2, 0, 1)[:3])
    np.testing.assert_array_equal(load_bands(data, "a", (4, 0)), BANDS.transpose(2, 0, 1)[[4, 0]])
    shown = np.asarray(load(Image(data, bands=(4, 1, 0))))
    np.testing.assert_array_equal(shown, np.stack([stretched(BANDS[..., band]) for band in (4, 1, 0)], axis=-1))
    assert np.array_equal(np.asarray(load(Image(data, bands=(2,))))[..., 1], stretched(BANDS[..., 2]))


def test_stretching() -> None:
    ramp = np.arange(101, dtype=np.uint16).reshape(1, -1) * 50
    shown = stretched(ramp)[0]
    assert (shown[:3].max(), shown[50], shown[-3:].min()) == (0, 128, 255)
    assert stretched(np.full((2, 2), 7.0)).tolist() == [[0, 0], [0, 0]]
    assert stretched(np.array([[np.nan, 1.0], [2.0, np.inf]])).tolist() == [[255, 0], [255, 255]]
    assert stretched(np.full((1, 2), np.nan)).tolist() == [[255, 255]]


def test_eight_bits_stay_and_one_band_is_grey() -> None:
    colours = np.random.default_rng(1).integers(0, 256, (8, 9, 3)).astype(np.uint8)
    assert np.array_equal(np.asarray(load(Image(raster(colours, photometric="rgb")))), colours)
    assert np.array_equal(np.asarray(load(Image(raster(colours[..., 0])))), np.repeat(colours[..., :1], 3, axis=-1))
    white_is_zero = raster(colours[..., 0], photometric="miniswhite")
    assert np.array_equal(np.asarray(load(Image(white_is_zero)))[..., 0], 255 - colours[..., 0])


def test_pillows_tiffs_read_the_same() -> None:
    noise = PIL.Image.effect_noise((31, 17), 80)
    for picture in (noise, noise.convert("RGB"), noise.convert("P")):
        for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
            picture.save(buffer := io.BytesIO(), "TIFF", compression=compression)
            assert np.array_equal(np.asarray(load(Image(buffer.getvalue()))), np.asarray(picture.convert("RGB")))


def test_nodata_is_white() -> None:
    values = np.arange(100, dtype=np.float32).reshape(10, 10)
    values[0, 0] = -9999
    data = raster(values, extratags=[(42113, 2, 0, "-9999", True)])
    assert np.isnan(load_bands(data, "a", None)[0, 0, 0])
    picture = load(Image(data))
    assert picture.getpixel((0, 0)) == (255, 255, 255)
    assert picture.getpixel((1, 0)) == (0, 0, 0)


def test_rasters_that_are_refused() -> None:
    data = raster(BANDS, photometric="minisblack", planarconfig="contig")
    refused(data, r"bands \[5\] of 5, which are counted from 0", bands=(5,))
    refused(data, r"bands \[0, -1, 0\] of 5", bands=(0, -1, 0))
    refused(data, "made of one band or three, not 2", bands=(0, 1))
    refused(data, "made of one band or three, not 0", bands=())
    refused(data[: len(data) // 2], "damaged")
    refused(b"II*\0", "damaged")
    small = raster(np.zeros((4, 4, 30), np.float32), photometric="minisblack", planarconfig="contig")
    refused(that_says(small, ImageWidth=5000, ImageLength=5100), "5000 x 5100 pixels; at most 25,000,000")
    refused(that_says(small, ImageWidth=2000, ImageLength=2000), "480,000,000 bytes of bands; at most 400,000,000")
    tiled = raster(BANDS[..., 0], tile=(16, 16))
    refused(that_says(tiled, ImageLength=3000), "declares 376 strips or tiles and the file holds 4")
    refused(that_says(small, ImageWidth=0), "0 x 4 pixels: there is nothing to see|damaged")
    refused(raster(np.zeros((4, 4), complex)), "values are of a kind that is not decoded")
    PIL.Image.new("CMYK", (4, 4)).save(buffer := io.BytesIO(), "TIFF")
    refused(buffer.getvalue(), "neither grey nor red, green and blue")


def that_says(data: bytes, **tags: int) -> bytes:
    """A TIFF with other numbers in some of its tags."""
    changed = bytearray(data)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        for name, value in tags.items():
            tag = file.pages[0].tags[name]
            size = {3: 2, 4: 4}[int(tag.dtype)]
            changed[tag.valueoffset : tag.valueoffset + size] = value.to_bytes(size, "little")
    return bytes(changed)


def test_a_bomb_behind_a_small_size() -> None:
    large = raster(np.zeros((5000, 5000), np.uint8), compression="zlib", rowsperstrip=5000)
    with contextlib.suppress(BadMedia):
        assert load(Image(that_says(large, ImageWidth=4, ImageLength=4, RowsPerStrip=4))).size == (4, 4)
