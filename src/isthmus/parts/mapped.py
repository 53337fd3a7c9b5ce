"""A file's bytes without reading them all."""

from __future__ import annotations

import mmap
from pathlib import Path


def mapped(path: Path) -> bytes | mmap.mmap:
    """What is in a file, read where it is looked at; an empty one, which cannot be mapped, is `b""`."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""
