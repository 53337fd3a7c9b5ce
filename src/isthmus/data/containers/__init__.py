"""Files of samples, one container each: `rows(path)` reads its rows one after another and never holds them all.

A row is a mapping of column -> value, as the file has it; what the columns mean, `isthmus.data.schema` knows. Encoded
media within a file are bytes, or a `Slice` of the file. A row that cannot be read is the `BadData` that says why, so
that one bad row among a million stops nothing (`isthmus.data.index`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from isthmus.errors import BadData
from isthmus.registry import find, names

Found = tuple[str, dict[str, Any] | BadData]  # where a row stands, and what it holds
HERE = "isthmus.data.containers"


def container(path: Path) -> Any:
    """The module that reads a file or folder of this name, or None.

    >>> container(Path("captions.csv")).__name__.rpartition(".")[2], container(Path("picture.png"))
    ('csv_table', None)
    """
    modules = [find(HERE, name) for name in names(HERE)]
    return next((module for module in modules if path.name.lower().endswith(module.ENDINGS)), None)


def endings() -> Iterable[str]:
    """What the names of files of samples end with."""
    return sorted(ending for name in names(HERE) for ending in find(HERE, name).ENDINGS)
