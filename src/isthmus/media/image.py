"""Images: a path, bytes or a drawing function becomes an upright RGB picture."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path

import PIL.Image
import PIL.ImageOps

from isthmus.errors import BadMedia
from isthmus.types import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
MAX_PIXELS = 25_000_000
MAX_BYTES = 20 * 2**20


def load(medium: Image) -> PIL.Image.Image:
    """The array of any medium (images today)."""
    return load_image(medium.source)


def load_image(source: object) -> PIL.Image.Image:
    """Decode to RGB [H, W, 3], turned upright by its EXIF tag, transparency laid over white.

    Raises `BadMedia` when the file is missing, not one of `FORMATS`, damaged, over `MAX_BYTES` or over `MAX_PIXELS`
    (checked before decoding: a 22 kB PNG can declare 180 million pixels).
    """
    if callable(source):
        return rgb(source())
    if isinstance(source, PIL.Image.Image):
        return rgb(source)
    data, name = _bytes(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own cap is lower than Pillow's and an error; bad EXIF harms nothing
            picture = PIL.Image.open(io.BytesIO(data), formats=FORMATS)
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise BadMedia(f"{name}: {width} x {height} pixels; at most {MAX_PIXELS:,} are decoded. Scale it down")
            picture.load()
            return rgb(PIL.ImageOps.exif_transpose(picture))
    except (BadMedia, MemoryError):  # the machine's lack of memory is not the picture's fault
        raise
    except PIL.Image.DecompressionBombError as error:  # Pillow refuses these before their size can be asked
        raise BadMedia(
            f"{name}: over {MAX_PIXELS:,} pixels, which is the most that is decoded. Scale it down"
        ) from error
    except PIL.UnidentifiedImageError as error:
        raise BadMedia(f"{name}: not an image that can be read. Formats: {', '.join(FORMATS)}") from error
    except Exception as error:  # a damaged file can raise almost anything inside a decoder
        raise BadMedia(f"{name}: damaged, it ends early or does not decode ({type(error).__name__})") from error


def rgb(picture: PIL.Image.Image) -> PIL.Image.Image:
    """RGB, with transparent parts laid over white and 16-bit grey scaled to 8."""
    if picture.mode == "RGB" and not picture.has_transparency_data:
        return picture
    if picture.mode.startswith("I"):  # Pillow would cut off at 255 what goes to 65,535
        return picture.convert("I").point(lambda value: value / 257).convert("L").convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    picture = picture.convert("RGBA")
    white = PIL.Image.new("RGBA", picture.size, "white")
    return PIL.Image.alpha_composite(white, picture).convert("RGB")


def _bytes(source: object) -> tuple[bytes, str]:
    if isinstance(source, bytes):
        if len(source) > MAX_BYTES:
            raise BadMedia(f"<{len(source):,} bytes>: over the cap of {MAX_BYTES:,}")
        return source, f"<{len(source):,} bytes>"
    if not isinstance(source, str | os.PathLike):
        raise BadMedia(f"an image is a path, bytes or a drawing function, not {type(source).__name__}")
    path = Path(source)
    try:
        if not path.is_file():
            raise BadMedia(f"{path}: no such file")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise BadMedia(f"{path}: {size:,} bytes, over the cap of {MAX_BYTES:,}")
        return path.read_bytes(), str(path)
    except (OSError, ValueError) as error:
        raise BadMedia(f"{str(path)[:200]}: cannot be read ({type(error).__name__})") from error
