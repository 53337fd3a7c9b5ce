"""What one request may hold beside the caps of each medium: so many media, so many pixels together."""

from __future__ import annotations

import PIL.Image

from isthmus import media
from isthmus.errors import BadMedia
from isthmus.media import caps
from isthmus.media.forms import Clip, Decoded
from isthmus.types import Image, Medium


class Request:
    """Decodes the `count` media of one request, one after another. Raises `BadMedia` for more than `caps.MAX_MEDIA`."""

    def __init__(self, count: int) -> None:
        if count > caps.MAX_MEDIA:
            raise BadMedia(f"{count} media in one conversation; at most {caps.MAX_MEDIA} are taken. Start a new one")
        self.room = caps.MAX_REQUEST_PIXELS

    def load(self, medium: Medium) -> Decoded:
        """As `isthmus.media.load`, and raises `BadMedia` where all pixels so far pass `caps.MAX_REQUEST_PIXELS`.

        A picture that says its size in its header is refused before it is decoded; any other, and a video, after.
        """
        media.check(medium)
        if isinstance(medium, Image):
            found: Decoded = media.load_image(medium.source, medium.page, medium.bands, self.room)
        else:
            found = media.load(medium)
        pixels = 0
        if isinstance(found, PIL.Image.Image):
            pixels = found.width * found.height
        elif isinstance(found, Clip):
            pixels = found.frames[..., 0].size
        caps.check_room(pixels, self.room)
        self.room -= pixels
        return found
