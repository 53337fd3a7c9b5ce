"""WebDataset: tar files whose members of one base name make one sample (`000.jpg`, `000.txt`, `000.json`).

Pictures and sounds stay where they are, as slices of the tar; texts are read. Nothing is unpacked, so no member can
leave its folder; links, devices and doubled names are refused one by one.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from isthmus.data.containers import Found
from isthmus.errors import BadData
from isthmus.types import Slice

ENDINGS = (".tar",)
TEXTS = ("txt", "text", "caption", "json", "cls", "id")
LONGEST = 20_000_000  # bytes of a text


def rows(path: Path) -> Iterator[Found]:
    """The samples in their order. Raises `BadData` for a file that is no tar or breaks off."""
    place = ""
    try:
        with tarfile.open(path, "r:") as tar:
            for place, members in groupby((own for own in tar if not own.isdir()), key=lambda own: _split(own.name)[0]):
                where = f"{path}, {place}"
                try:
                    yield where, {"id": place, **_row(tar, path, list(members))}
                except (BadData, ValueError, RecursionError) as error:
                    yield where, BadData(f"{where}: {error}")
    except (tarfile.TarError, EOFError) as error:
        raise BadData(f"{path}: after {place or 'its beginning'}, not a tar file ({error})") from error


def _split(name: str) -> tuple[str, str]:
    """Base name and ending, which begins at the first dot of the last part of the path.

    >>> _split("train/0001.seg.png")
    ('train/0001', 'seg.png')
    """
    folder, slash, last = name.rpartition("/")
    base, _, ending = last.partition(".")
    return folder + slash + base, ending.lower()


def _row(tar: tarfile.TarFile, path: Path, members: list[tarfile.TarInfo]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for own in members:
        ending = _split(own.name)[1]
        if not own.isreg():
            raise BadData(f"{own.name} is a link or device, and only files are read")
        if ending in row:
            raise BadData(f"{own.name} stands in it twice")
        if ending not in TEXTS:
            row[ending] = Slice(path, own.offset_data, own.size)
            continue
        if own.size > LONGEST:
            raise BadData(f"{own.name} is a text of {own.size:,} bytes")
        file = tar.extractfile(own)
        assert file is not None, "a regular member has content"
        text = file.read().decode("utf-8-sig")
        row[ending] = json.loads(text) if ending == "json" else text
    facts = row.pop("json", {})
    if not isinstance(facts, dict):
        raise BadData("its json is not an object")
    return facts | row
