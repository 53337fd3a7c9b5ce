"""Bytes become arrays here and nowhere else, under one set of caps (`caps.py`)."""

from __future__ import annotations

from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from isthmus.errors import BadMedia
from isthmus.media.image import load_image
from isthmus.types import Audio, Image, Medium, Points, Series, Video

if TYPE_CHECKING:
    import PIL.Image

    from isthmus.media.forms import Clip, Cloud, Decoded, Signal, Sound

__all__ = ["load", "load_image", "picture"]


@overload
def load(medium: Image) -> PIL.Image.Image: ...
@overload
def load(medium: Audio) -> Sound: ...
@overload
def load(medium: Video) -> Clip: ...
@overload
def load(medium: Points) -> Cloud: ...
@overload
def load(medium: Series) -> Signal: ...
def load(medium: Medium) -> Decoded:
    """What a medium holds: an RGB `PIL.Image`, or a `Sound`, `Clip`, `Cloud` or `Signal` (see `isthmus.media.forms`).

    Raises `BadMedia` for one that cannot be decoded within the caps; its message names the medium.
    """
    check(medium)
    match medium:
        case Image():
            return load_image(medium.source, medium.page, medium.bands)
        case Audio():
            from isthmus.media.audio import load_audio

            return load_audio(medium)
        case Video():
            from isthmus.media.video import load_video

            return load_video(medium)
        case Points():
            from isthmus.media.points import load_points

            return load_points(medium)
        case Series():
            from isthmus.media.series import load_series

            return load_series(medium)


def check(medium: Medium) -> None:
    """Raises `BadMedia` for a medium of which something is of another type than is declared."""
    if not isinstance(medium, Medium):
        raise BadMedia(f"a medium is an Image, Audio, Video, Points or Series, not {type(medium).__name__}")
    name = f"{str(medium.source)[:200]}: " if isinstance(medium.source, str | Path) else ""
    for key, value in vars(medium).items():
        if key not in _TYPES or (value is None and key not in ("page", "seed")):
            continue
        kinds, what = _TYPES[key]
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise BadMedia(f"{name}{key}: {value!r}, {what} is needed")
    if isinstance(medium, Image) and not all(isinstance(band, Integral) for band in medium.bands or ()):
        raise BadMedia(f"{name}bands: {medium.bands!r}, one or three whole numbers are needed")


_NUMBER, _WHOLE = (Real, "a number"), (Integral, "a whole number")
_TYPES: dict[str, tuple[Any, str]] = {
    "page": _WHOLE, "bands": ((tuple, list), "a tuple of one or three bands"), "start": _NUMBER, "end": _NUMBER,
    "frames": _WHOLE, "fps": _NUMBER, "count": _WHOLE, "seed": _WHOLE, "time": (str, "the name of a column"),
    "rate": _NUMBER,
}  # fmt: skip


def picture(medium: Medium) -> PIL.Image.Image:
    """The picture of an image. Raises `BadMedia` as `load` does, and for a medium of another kind."""
    if not isinstance(medium, Image):
        raise BadMedia(f"a medium of the kind {medium.kind}, where a picture is wanted")
    return load(medium)
