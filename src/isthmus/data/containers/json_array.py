"""One JSON array of objects, as LLaVA's `llava_v1_5_mix665k.json`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from isthmus.data.containers import Found
from isthmus.errors import BadData

ENDINGS = (".json",)


def rows(path: Path) -> Iterator[Found]:
    """The objects in their order. Raises `BadData` where the file stops being a JSON array."""
    import ijson

    number = 0
    try:
        with path.open("rb") as file:
            for number, row in enumerate(ijson.items(file, "item", use_float=True), 1):
                where = f"{path}, entry {number}"
                yield where, row if isinstance(row, dict) else BadData(f"{where}: not an object")
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise BadData(f"{path}: after entry {number}, not JSON ({' '.join(str(error).split())[:200]})") from error
    if number == 0:
        raise BadData(f"{path}: not a JSON array of objects. One object a line is .jsonl")
