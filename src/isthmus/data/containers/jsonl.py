"""One JSON object a line, as ShareGPT-style sets and Hugging Face's `metadata.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from isthmus.data.containers import Found
from isthmus.errors import BadData

ENDINGS = (".jsonl", ".ndjson")
LONGEST = 20_000_000  # bytes of a line


def rows(path: Path) -> Iterator[Found]:
    """The lines in their order; JSON may hold U+2028, at which `splitlines` would cut it."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST + 1):
            number += 1
            where = f"{path}, line {number}"
            if len(line) > LONGEST:
                raise BadData(f"{where}: longer than {LONGEST:,} bytes. Is this one object a line?")
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield where, BadData(f"{where}: not JSON ({error})")
                continue
            yield where, row if isinstance(row, dict) else BadData(f"{where}: not an object")
