"""GeoTIFF and other TIFF: bands of any number type, of which one or three become a picture."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image

from isthmus.errors import BadMedia
from isthmus.media import caps, sandbox, whole

NODATA = 42113  # GDAL's tag for the value that stands for nothing
CUT = (2, 98)  # percentiles that become black and white, as in QGIS
OF = 1_000_000  # values, evenly spread, that they are taken of


def load_bands(data: bytes, name: str, bands: tuple[int, ...] | None) -> npt.NDArray[Any]:
    """Bands [C, H, W] of a TIFF in its own number type, NaN (as float32) where its nodata value stands.

    By default its first three, or its only one. Raises `BadMedia` for one over the caps or bands that are not there.
    """
    if bands is not None and not (bands and all(isinstance(band, int) for band in bands)):
        raise BadMedia(f"{name}: bands are numbers from 0 on, not {bands!r}")
    found = sandbox.decode("raster", data, name, bands=None if bands is None else list(bands))
    values: npt.NDArray[Any] = found["values"]
    if (nothing := found["nodata"]) is not None:
        values = np.where(values == nothing, np.float32("nan"), values.astype(np.float32))
    return values


def picture(data: bytes, name: str, bands: tuple[int, ...] | None) -> PIL.Image.Image:
    """One band as grey or three as red, green and blue; what is missing is white.

    8-bit values are kept. Of others, each band is stretched so that its 2nd to 98th percentile fill black to white.
    """
    if bands is not None and len(bands) not in (1, 3):
        raise BadMedia(f"{name}: a picture is made of one band or three, not {len(bands)}")
    values = load_bands(data, name, bands)
    shown = values if values.dtype == np.uint8 else np.stack([stretched(band) for band in values])
    return PIL.Image.fromarray(np.ascontiguousarray(np.broadcast_to(shown, (3, *shown.shape[1:])).transpose(1, 2, 0)))


def stretched(band: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """A band in 0..255 between its percentiles `CUT`; NaN and infinite values are white."""
    band = band.astype(np.float32)
    known = np.isfinite(band)
    if not known.any():
        return np.full(band.shape, 255, np.uint8)
    values = band[known]
    low, high = np.percentile(values[:: 1 + len(values) // OF], CUT)
    if high <= low:
        low, high = float(band[known].min()), float(band[known].max())
    scaled = (band - low) / (high - low) if high > low else np.zeros_like(band)
    return np.where(known, np.nan_to_num(scaled).clip(0, 1) * 255, 255).round().astype(np.uint8)


def decode(data: bytes, bands: list[int] | None) -> dict[str, Any]:
    """`values` [C, H, W] of the bands and the `nodata` value, if there is one; runs in a worker."""
    tifffile = caps.need("tifffile", "a TIFF")
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        height, width, each = int(page.imagelength), int(page.imagewidth), int(page.samplesperpixel)
        caps.check_pixels(width, height)
        if page.dtype is None or page.dtype.kind not in "uif" or page.imagedepth != 1:
            raise BadMedia("its values are of a kind that is not decoded. Kinds: integers and floats")
        pages = [page] if each > 1 else _like(file, page)
        count = each if each > 1 else len(pages)
        chosen = bands if bands is not None else list(range(3 if count >= 3 else 1))
        if not all(0 <= band < count for band in chosen):
            raise BadMedia(f"bands {chosen} of {count}, which are counted from 0")
        size = width * height * page.dtype.itemsize * (each if each > 1 else len(chosen))
        if size > caps.MAX_RASTER_BYTES:
            raise BadMedia(f"{size:,} bytes of bands; at most {caps.MAX_RASTER_BYTES:,} are decoded. Cut out a part")
        for part in pages if each == 1 else [page]:
            if (declared := math.prod(part.chunked)) > (held := len(part.dataoffsets)):
                raise BadMedia(f"its header declares {declared:,} strips or tiles and the file holds {held:,}")
            if part.compression != 1:  # of plain values decoders see it, and the count of the last may be too large
                ends = (at + size for at, size in zip(part.dataoffsets, part.databytecounts, strict=True))
                whole.check_size(max(ends, default=0), len(data))
        try:
            if each == 1:
                values = np.stack([pages[band].asarray(maxworkers=1) for band in chosen])
            else:
                every = page.asarray(maxworkers=1)
                values = every[chosen] if page.planarconfig == 2 else np.moveaxis(every[..., chosen], -1, 0)
        except ValueError as error:
            if "imagecodecs" in str(error):
                raise BadMedia("its compression needs imagecodecs: pip install 'isthmus[media]'") from None
            raise
        if values.shape != (len(chosen), height, width):
            raise BadMedia("damaged, its bands are not as large as it says")
        values, shown = _shown(page, values)
        return {"values": values, "nodata": None if shown else _nodata(page)}


def _like(file: Any, first: Any) -> list[Any]:
    """The pages that are bands of the same picture: as large as the first, and none of its smaller copies."""
    pages = []
    for index, page in enumerate(file.pages):
        if index >= caps.MAX_CHANNELS:
            break
        if page.shape == first.shape and page.dtype == first.dtype and not page.is_reduced and not page.is_mask:
            pages.append(page)
    return pages


def _shown(page: Any, values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], bool]:
    """The values as they are meant to be seen, and whether that changed them: palettes, and white as 0."""
    if page.photometric == 3 and page.colormap is not None:
        return (page.colormap[:, values[0]] >> 8).astype(np.uint8), True
    if page.photometric == 0 and values.dtype.kind == "u":
        return np.iinfo(values.dtype).max - values, True
    if page.photometric in (5, 8):
        raise BadMedia("colours that are neither grey nor red, green and blue. Convert it to RGB")
    return values, False


def _nodata(page: Any) -> float | None:
    tag = page.tags.get(NODATA)
    try:
        value = float(str(tag.value).strip("\0 ")) if tag is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None
