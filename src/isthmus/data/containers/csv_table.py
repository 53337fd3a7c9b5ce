"""A table of captions or questions, with the names of its columns in its first line."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from isthmus.data.containers import Found
from isthmus.errors import BadData

ENDINGS = (".csv", ".tsv")


def rows(path: Path) -> Iterator[Found]:
    """The rows in their order. Raises `BadData` where the file stops being UTF-8 or CSV."""
    mark = "\t" if path.suffix.lower() == ".tsv" else ","
    number = 0
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            for number, row in enumerate(csv.DictReader(file, delimiter=mark, strict=True), 1):
                where = f"{path}, entry {number}"
                if None in row or None in row.values():
                    yield where, BadData(f"{where}: {len(row)} values are not the columns of the first line")
                else:
                    yield where, dict(row)
        except (csv.Error, UnicodeDecodeError) as error:
            raise BadData(f"{path}: after entry {number}, not a UTF-8 table ({error})") from error
