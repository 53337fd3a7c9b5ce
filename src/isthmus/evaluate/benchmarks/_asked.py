"""What benchmarks' folders have in common: pictures in folders, in hubs' Parquet files, and files of answers."""

from __future__ import annotations

import functools
import io
import json
import math
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.errors import BadData, BadMedia
from isthmus.evaluate.files import Row, document
from isthmus.evaluate.questions import Question, inside, picture
from isthmus.types import Image

if TYPE_CHECKING:
    import PIL.Image

SPLITS = ("train", "validation", "val", "val2014", "val2017", "dev", "test", "testdev", "testA", "testB")
LONG_AGO = (1980, 1, 1)  # the first day that a zip can tell
LONGEST = 32_767  # characters of an Excel cell
Answered = Sequence[tuple[Question, str]]


@dataclass(frozen=True)
class Cell:
    """A picture in a column of a Parquet file, which is read when it is looked at; `place` of a list of them."""

    path: Path
    row: int
    column: str
    place: int | None = None

    def __call__(self) -> PIL.Image.Image:
        """The picture. Raises `BadMedia` for a cell that holds none."""
        from isthmus.media import load

        return load(Image(self.data()))

    def data(self) -> bytes:
        """The encoded bytes. Raises `BadMedia` for a cell that holds none."""
        group, row = _group(self.path, self.row)
        value = _cells(self.path, group, self.column)[row].as_py()
        value = value if self.place is None else value[self.place]
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            raise BadMedia(f"{self.path}, row {self.row + 1}: no bytes of a medium in {self.column}")
        return data


def hubs(folder: Path, *splits: str, under: str = "") -> list[Row]:
    """The rows of the Parquet files below a folder, of the first of the splits that is there, pictures as `Cell`s.

    Files are named as `datasets` does (`validation-00000-of-00003.parquet`); those of no known split count as any.
    `under` is a word of their paths below the folder, where some have it. Each row knows its file's folder (`_under`).

    Raises `BadData` without such files, and for one that is not Parquet.
    """
    files = [file for file in sorted(folder.rglob("*.parquet")) if not file.name.startswith(".")]
    chosen = [file for file in files if under in file.relative_to(folder).parent.as_posix()]
    files = chosen or files
    named = {file: split_of(file) for file in files}
    for split in splits:
        if some := [file for file in files if named[file] == split]:
            return [row for file in some for row in parquet_rows(file)]
    if some := [file for file in files if not named[file]]:
        return [row for file in some for row in parquet_rows(file)]
    what = f"splits {', '.join(sorted({*named.values()}))}, and not {' or '.join(splits)}" if files else "no file"
    raise BadData(f"{folder}: {what} in *.parquet")


def split_of(file: Path) -> str:
    """The split in a file's name; empty without one.

    >>> split_of(Path("en/dev-00000-of-00001.parquet")), split_of(Path("mmstar.parquet"))
    ('dev', '')
    """
    start = re.split(r"[-.]", file.name)[0]
    return start if start in SPLITS else ""


def parquet_rows(file: Path) -> list[Row]:
    """The rows of one Parquet file, with a `Cell` for each picture. Raises `BadData` for one that is not Parquet."""
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise BadData(f"{file}: Parquet needs more: pip install 'isthmus[data]' ({error})") from error
    try:
        with parquet.ParquetFile(file) as own:
            pictures = {field.name for field in own.schema_arrow if _held(field.type)}
            leaves = [own.schema.column(i).path for i in range(len(own.schema))]
            plain = [leaf for leaf in leaves if leaf.split(".")[0] not in pictures or not leaf.endswith("bytes")]
            lost = pictures - {leaf.split(".")[0] for leaf in plain}
            whole = [leaf for leaf in leaves if leaf.split(".")[0] in lost]  # only bytes tell here what is empty
            found: list[Row] = own.read(columns=[*plain, *whole]).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise BadData(f"{file}: not a Parquet file ({error})") from error
    for number, row in enumerate(found):
        row["_under"] = file.parent.name
        for name in pictures:
            value = row.get(name)
            if isinstance(value, list):
                row[name] = [Cell(file, number, name, place) for place in range(len(value))]
            else:
                row[name] = None if value is None else Cell(file, number, name)
    return found


def _held(kind: Any) -> bool:
    """Whether a column holds pictures: bytes, as `datasets` has them beside a path, or several of these."""
    from pyarrow import types

    if types.is_list(kind) or types.is_large_list(kind):
        return _held(kind.value_type)
    if types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


@functools.lru_cache(maxsize=512)
def _bounds(path: Path) -> tuple[int, ...]:
    """How many rows each group of a file has."""
    import pyarrow.parquet as parquet

    told = parquet.read_metadata(path)
    return tuple(told.row_group(i).num_rows for i in range(told.num_row_groups))


def _group(path: Path, row: int) -> tuple[int, int]:
    """The group of a row, and its place in it."""
    for number, rows in enumerate(_bounds(path)):
        if row < rows:
            return number, row
        row -= rows
    raise BadMedia(f"{path}: no row {row} more in it")


@functools.lru_cache(maxsize=4)
def _cells(path: Path, group: int, column: str) -> Any:
    """A column of a group of rows."""
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        with parquet.ParquetFile(path) as file:
            return file.read_row_group(group, columns=[column]).column(0)
    except (OSError, pyarrow.ArrowException) as error:
        raise BadMedia(f"{path}: {column} cannot be read ({error})") from error


def shown(value: object, folder: Path, where: str) -> Image:
    """The image of a cell: one that is read later, or what `picture` takes."""
    return Image(value) if isinstance(value, Cell) else picture(value, folder, where)


def somewhere(folder: Path, names: Iterable[str], where: str) -> Image:
    """The image of the first of the names that is there, else of the first (`questions.absent` tells of it)."""
    return Image(inside(folder, names, where))


def objects(path: Path, key: str) -> list[Row]:
    """The rows that a JSON file lists, below a key or by itself. Raises `BadData` for another form, naming the file."""
    held = document(path)
    listed = held.get(key) if isinstance(held, dict) else held
    if not isinstance(listed, list) or not all(isinstance(row, dict) for row in listed):
        raise BadData(f"{path}: expected a list of objects{f' under {key}' if isinstance(held, dict) else ''}")
    return listed


def have(row: Row, keys: Sequence[str], path: Path, number: int, lists: Sequence[str] = ()) -> Row:
    """The row, if it has all of the keys, each with a text or a number, those of `lists` with a list.

    Keys of pictures and sounds may hold anything but nothing. Raises `BadData` naming file, row, key and what it has.
    """
    for key in (*keys, *lists):
        value = row.get(key)
        if value is None:
            own = ", ".join(name for name in row if not name.startswith("_"))
            raise BadData(f"{path}, row {number}: no {key}. It has {own or 'nothing'}")
        kinds: Any = list if key in lists else object if key.startswith(("image", "audio")) else str | int | float
        if not isinstance(value, kinds):
            raise BadData(
                f"{path}, row {number}: {key} is {str(value)[:80]!r}, not a {'list' if key in lists else 'text'}"
            )
    return row


def amount(row: Row, key: str, where: str) -> float:
    """A number under a key. Raises `BadData` naming `where` for anything else."""
    try:
        found = float(row[key])
    except (KeyError, TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise BadData(f"{where}: {key} is {str(row.get(key))[:80]!r}, not a number")
    return found


def frequent(answers: Sequence[str]) -> str:
    """The most frequent of several answers, the first of equals.

    >>> frequent(["two", "2", "2"]), frequent([])
    ('2', '')
    """
    return Counter(answers).most_common(1)[0][0] if answers else ""


def lines(out: Path, answered: Answered) -> Path:
    """The rows that questions keep, with what was said, as `predictions.jsonl` in a folder."""
    told = (json.dumps(own.row | {"prediction": text}, ensure_ascii=False) + "\n" for own, text in answered)
    return put(out / "predictions.jsonl", "".join(told))


def put(path: Path, text: str) -> Path:
    """A file with this text; half of a character that a model said is escaped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(whole(text), encoding="utf-8")
    return path


def whole(text: str) -> str:
    """A text in which half of a character, as a model may say, is escaped, so that any file can hold it.

    >>> whole("a\\ud800b")
    'a\\\\ud800b'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def upload(out: Path, answered: Answered, name: str, form: Callable[[Question, str], Any], public: bool) -> Path | None:
    """Write the rows, and a list for the benchmark's server; tells what is to be scored, None without public truths."""
    put(out / name, json.dumps([form(own, text) for own, text in answered], ensure_ascii=False) + "\n")
    rows = lines(out, answered)
    return rows if public else None


def sheet(path: Path, rows: Sequence[Row]) -> Path:
    """An Excel workbook of rows, whose texts stay texts whatever a model said."""
    import openpyxl
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    book = openpyxl.Workbook()
    page = book.worksheets[0]
    page.append(list(rows[0]))
    for number, row in enumerate(rows, 2):
        for column, value in enumerate(row.values(), 1):
            if isinstance(value, str):
                value = ILLEGAL_CHARACTERS_RE.sub("", whole(value))[:LONGEST]
            cell = page.cell(number, column, value)
            if isinstance(value, str):
                cell.data_type = "s"  # an answer that begins with = is no formula
    book.properties.created = book.properties.modified = datetime(*LONG_AGO)
    book.save(held := io.BytesIO())
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(held) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():  # without the time, so that the same answers are the same file
            new.writestr(zipfile.ZipInfo(name, (*LONG_AGO, 0, 0, 0)), old.read(name), zipfile.ZIP_DEFLATED)
    return path
