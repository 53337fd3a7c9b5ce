"""Whether a file is all there: what its own marks and sizes say against how long it is, where decoders do not ask.

Each raises `BadMedia` for a file that was cut off, and says nothing where its format cannot tell.
"""

from __future__ import annotations

import re
import struct

from isthmus.errors import BadMedia

AGAIN = "Fetch it again, or write it again"
BOXES = (b"moov", b"mdat", b"moof", b"mfra", b"free", b"skip", b"wide", b"meta", b"sidx", b"uuid")
SEGMENT = 0x18538067  # of Matroska: all but its first header
IN_IT = {0x1A45DFA3, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1F43B675, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367}
FILLERS = {0xEC, 0xBF}
LACKS = 0.01  # of an MP3: programs that edit one may leave its header as it was


def check_size(declared: int, held: int) -> None:
    """What a header declares, in bytes, against what is there."""
    if declared > held:
        raise BadMedia(f"cut off: its header declares {declared:,} bytes and the file holds {held:,}. {AGAIN}")


def check_ogg(data: bytes) -> None:
    """The last page of an OGG ends within the file and says that it is the last (RFC 3533)."""
    place, last = 0, False
    while (place := data.find(b"OggS", place)) >= 0:
        check_size(place + 27, len(data))
        count = data[place + 26]
        last = bool(data[place + 5] & 4)
        check_size(place := place + 27 + count + sum(data[place + 27 : place + 27 + count]), len(data))
    if not last:
        raise BadMedia(f"cut off: it ends before the page that is marked as its last. {AGAIN}")


def check_mp3(data: bytes) -> None:
    """The bytes that an MP3's Xing or Info header counts, from that header on, but for a hundredth."""
    start = 0
    if data[:3] == b"ID3" and len(data) > 10:
        start = 10 + sum((byte & 127) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
    head = data[start : start + 64]
    place = max(head.find(b"Xing"), head.find(b"Info"))
    if place < 4 or place + 16 > len(head):
        return
    (flags,) = struct.unpack_from(">I", head, place + 4)
    if flags & 2:
        (declared,) = struct.unpack_from(">I", head, place + 8 + 4 * (flags & 1))
        if (held := len(data) - start) < declared * (1 - LACKS):
            check_size(declared, held)


def check_riff(data: bytes) -> None:
    """The size of a RIFF, unless it was written to where no size can be put in later."""
    (size,) = struct.unpack_from("<I", data, 4)
    if size != 2**32 - 1:
        check_size(size, len(data))  # not 8 more: some writers count the whole file


def check_boxes(data: bytes) -> None:
    """The outermost boxes of an MP4 or MOV."""
    place = 0
    while place + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        if size == 1 and place + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, place + 8)
        if name in BOXES:
            check_size(place + size, len(data))
        elif place + size > len(data):
            return
        if size < 8:  # 0: it ends with the file
            return
        place += size


def check_matroska(data: bytes) -> None:
    """The segment of a Matroska or WebM, or its elements, as far as they say how long they are: streams do not."""
    place = 0
    while place < len(data):
        name, place = _number(data, place, keep=True)
        if name != SEGMENT and name not in IN_IT | FILLERS:
            return
        size, place = _number(data, place, keep=False)
        if size is not None:
            check_size(place + size, len(data))
            place += size
        if (size is None) != (name == SEGMENT):  # what stands in a segment of unknown size may still say its own
            return


def _number(data: bytes, place: int, keep: bool) -> tuple[int | None, int]:
    """A number of EBML and where it ends; `keep` leaves its length's mark in, as names have it. All ones is unknown."""
    check_size(place + 1, len(data))
    length = 9 - data[place].bit_length()
    check_size(place + length, len(data))
    value = int.from_bytes(data[place : place + length])
    mark = 1 << 7 * length
    if not keep:
        value &= mark - 1
    return (None if not keep and value == mark - 1 else value), place + length


def check_gif(data: bytes) -> None:
    """A GIF ends with its trailer; without it, frames may be gone, but for a still one, which old programs left so."""
    place, frames, loops = 13 + _palette(data[10:11]), 0, False
    while place < len(data):
        block = data[place]
        place += 1
        if block == 0x3B:
            return
        if block == 0x21:
            loops |= data[place : place + 1] == b"\xff"
            place += 1
        elif block == 0x2C:
            place += 10 + _palette(data[place + 8 : place + 9])
            frames += 1
        else:
            continue  # as decoders do with what is no block
        while place < len(data) and data[place]:
            place += 1 + data[place]
        place += 1
    if frames != 1 or loops or place > len(data):
        raise BadMedia(f"cut off: it ends before its trailer, so frames may be gone. {AGAIN}")


def _palette(flags: bytes) -> int:
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0


def check_pdf(data: bytes) -> None:
    """After the last object of a PDF stands its end; without it, readers make do with the objects that are left."""
    end = max(data.rfind(b"%%EOF"), data.rfind(b"startxref"))
    if re.search(rb"\d obj\b", data[max(0, end) :]):
        raise BadMedia(f"cut off: its last object is not followed by the mark of its end. {AGAIN}")
