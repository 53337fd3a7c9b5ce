"""Files as they are published, packed by gzip or zip."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from isthmus.errors import BadData


@contextmanager
def unpacked(path: Path | None) -> Iterator[Path | None]:
    """The file that was packed, or the folder of several, for as long as it is read; any other path as it is.

    Raises `BadData` for what is not packed so, or damaged.
    """
    ending = path.suffix.lower() if path is not None and path.is_file() else ""
    if path is None or ending not in (".gz", ".zip"):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            place = _gunzipped(path, Path(folder)) if ending == ".gz" else _unzipped(path, Path(folder))
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError) as error:
            raise BadData(f"{path}: cannot be unpacked ({error})") from error
        try:
            yield place
        except BadData as error:
            raise BadData(str(error).replace(str(place), str(path))) from error


def _gunzipped(path: Path, folder: Path) -> Path:
    with gzip.open(path) as whole, (folder / path.stem).open("wb") as file:
        shutil.copyfileobj(whole, file)
    return folder / path.stem


def _unzipped(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path) as whole:
        whole.extractall(folder)
    found = [one for one in folder.rglob("*") if one.is_file() and "__MACOSX" not in one.parts]
    return found[0] if len(found) == 1 else folder
