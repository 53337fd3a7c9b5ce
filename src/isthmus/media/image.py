"""Images: a path, bytes or a drawing function becomes an upright RGB picture; so do pages of PDF and bands of TIFF."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable

import PIL.Image
import PIL.ImageOps

from isthmus.errors import BadMedia
from isthmus.media.caps import MAX_PIXELS, MAX_REQUEST_PIXELS, check_room, read

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
Convert = Callable[[PIL.Image.Image], PIL.Image.Image]
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def load_image(
    source: object, page: int = 0, bands: tuple[int, ...] | None = None, room: int = MAX_REQUEST_PIXELS
) -> PIL.Image.Image:
    """Decode to RGB [H, W, 3], turned upright by its EXIF tag, transparency laid over white.

    Of a PDF, `page` is drawn; of a TIFF, one or three `bands` are shown (see `pdf.py`, `raster.py`). Of an animation it
    is the first frame. Raises `BadMedia` when the file is missing, not one of `FORMATS`, damaged, over `MAX_BYTES` or
    over `MAX_PIXELS` (checked before decoding: a 22 kB PNG can declare 180 million pixels). `room` is what is left of
    the pixels of a request (see `request.py`).
    """
    if callable(source):
        return rgb(source())
    if isinstance(source, PIL.Image.Image):
        return rgb(source)
    data, name = read(source, "an image is a path, bytes or a drawing function")
    is_pdf, is_tiff = _is_pdf(data), data.startswith(TIFF)
    if (page and not is_pdf) or (bands is not None and not is_tiff):
        raise BadMedia(f"{name}: only a PDF has pages to choose from, and only a TIFF bands")
    if is_pdf:
        from isthmus.media import sandbox

        return PIL.Image.fromarray(sandbox.decode("pdf", data, name, page=page)["pixels"])
    if is_tiff:
        from isthmus.media import raster

        return raster.picture(data, name, bands)
    return _still(data, name, rgb, room)


def _is_pdf(data: bytes) -> bool:
    """Whether a PDF begins within the first 1,024 bytes, as readers allow, and no picture before it."""
    pictures = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8", b"BM", *TIFF)
    return data.startswith(b"%PDF-") or (b"%PDF-" in data[:1024] and not data.startswith(pictures))


def load_rgba(source: object) -> PIL.Image.Image:
    """A still picture as `load_image` decodes it, but with its transparency: RGBA."""
    return _still(*read(source, "an image is a path or bytes"), lambda picture: picture.convert("RGBA"))


def load_svg(source: object, side: int) -> PIL.Image.Image:
    """A drawing of lines in the square of `side` pixels: RGBA. For our own data: a user's file is never drawn so."""
    import resvg_py

    data, _ = read(source, "a drawing is a path or bytes")
    return load_rgba(bytes(resvg_py.svg_to_bytes(svg_string=data.decode(), width=side, height=side)))


def _still(data: bytes, name: str, to: Convert, room: int = MAX_REQUEST_PIXELS) -> PIL.Image.Image:
    """One of `FORMATS`, upright, converted by `to`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own cap is lower than Pillow's and an error; bad EXIF harms nothing
            picture = PIL.Image.open(io.BytesIO(data), formats=FORMATS)
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise BadMedia(f"{name}: {width} x {height} pixels; at most {MAX_PIXELS:,} are decoded. Scale it down")
            check_room(width * height, room)
            picture.load()
            return to(PIL.ImageOps.exif_transpose(picture))
    except (BadMedia, MemoryError):  # the machine's lack of memory is not the picture's fault
        raise
    except PIL.Image.DecompressionBombError as error:  # Pillow refuses these before their size can be asked
        raise BadMedia(
            f"{name}: over {MAX_PIXELS:,} pixels, which is the most that is decoded. Scale it down"
        ) from error
    except PIL.UnidentifiedImageError as error:
        raise BadMedia(f"{name}: not an image that can be read. Formats: {', '.join(FORMATS)}, PDF, TIFF") from error
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
