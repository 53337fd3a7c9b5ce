"""A page of a PDF as a picture, drawn by PDFium."""

from __future__ import annotations

from typing import Any

from isthmus.errors import BadMedia
from isthmus.media import caps, whole

DOTS = 144 / 72  # pixels a point: 1190 x 1684 for A4
LONGEST = 4096  # pixels of a side; larger pages are drawn smaller


def decode(data: bytes, page: int) -> dict[str, Any]:
    """`pixels` uint8 [H, W, 3] on white; runs in a worker. Raises `BadMedia` for a page that is not there."""
    pdfium = caps.need("pypdfium2", "a PDF")
    whole.check_pdf(data)
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        locked = "password" in str(error).lower()
        raise BadMedia("it asks for a password" if locked else "damaged, it does not open as a PDF") from None
    with document:
        if document.get_formtype():
            document.init_forms()  # what was filled in is shown
        if not 0 <= page < len(document):
            raise BadMedia(f"page {page} of a PDF of {len(document)} pages, which are counted from 0")
        sheet = document[page]
        width, height = sheet.get_size()
        if not (width > 0 and height > 0):
            raise BadMedia(f"page {page} is {width:g} x {height:g} points: there is nothing to see")
        scale = min(DOTS, LONGEST / max(width, height))
        caps.check_pixels(max(1, round(width * scale)), max(1, round(height * scale)))
        return {"pixels": sheet.render(scale=scale, rev_byteorder=True).to_numpy()[:, :, :3]}
