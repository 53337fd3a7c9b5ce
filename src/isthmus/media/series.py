"""Sensor series: a path, bytes, a `Signal`, an array or a function that makes one."""

from __future__ import annotations

import csv
import datetime
import io
import itertools
import math
import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import BadMedia
from isthmus.media import caps, npy, sandbox
from isthmus.media.forms import Signal
from isthmus.types import Series

FORMATS = ("CSV", "Parquet", "NPY")
TIMES = ("time", "times", "timestamp", "datetime", "date", "t", "seconds", "time_s", "time [s]", "time (s)")
UNITS = {"ms": 1e3, "us": 1e6, "µs": 1e6, "μs": 1e6, "ns": 1e9}  # of a second
EPOCH = (1e9, 3e9)  # seconds since 1970: from 2001 to 2065
NO_SECONDS = 1e11  # 3,170 years: nothing was measured for as long
MISSING = ("", "nan", "na", "n/a", "null", "none", "-")


def load_series(medium: Series) -> Signal:
    """The channels of a table (a column each) or of an array [C, T], with their times in seconds.

    Times are numbers of seconds (of other units, see `in_seconds`), or dates, which are counted from the first. Where
    there is no column of them, the rows stand at `medium.rate` a second (by default 1). Empty cells, `NA` and `NaN` are
    missing values.

    Raises `BadMedia` when the file is missing, not one of `FORMATS`, damaged, or over `caps.MAX_CHANNELS` and
    `caps.MAX_VALUES` (declared, and again when it is read); and for a cell that is no number, by its line and column.
    """
    if medium.rate is not None and not 0 < medium.rate < math.inf:
        raise BadMedia(f"{medium.rate} samples a second; a rate is above 0")
    source: Any = medium.source() if callable(medium.source) else medium.source
    if isinstance(source, Signal):
        return source
    if isinstance(source, np.ndarray):
        return of_array(source, medium)
    data, name = caps.read(source, "a series is a path, bytes, a Signal, an array or a function that makes one")
    try:
        if data.startswith(npy.MAGIC):
            return of_array(npy.read(data, _check_shape), medium)
        if not data.startswith(b"PAR1"):
            return of_csv(data, medium)
    except BadMedia as error:
        raise BadMedia(f"{name}: {error}") from None
    found = sandbox.decode("parquet", data, name, time=medium.time)
    try:
        return _signal(found["values"], found.get("times"), tuple(found["names"]), medium)
    except BadMedia as error:
        raise BadMedia(f"{name}: {error}") from None


def of_array(array: npt.NDArray[Any], medium: Series) -> Signal:
    """The series in an array [C, T], or [T] of one channel."""
    _check_shape(array.shape)
    if medium.time is not None:
        raise BadMedia(f"an array has no column called {medium.time!r}. Say its rate")
    values = np.atleast_2d(array)
    return _signal(values, None, tuple(f"channel {index}" for index in range(len(values))), medium)


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) not in (1, 2):
        raise BadMedia(f"a series is [channels, times], not {list(shape)}")
    caps.check_values(*(shape if len(shape) == 2 else (1, *shape)))


def _signal(values: Any, times: Any, names: tuple[str, ...], medium: Series) -> Signal:
    if np.isnan(values).all():
        raise BadMedia("every value is missing")
    timed = times is not None or medium.rate is not None
    if times is None:
        times = np.arange(values.shape[1]) / (medium.rate or 1.0)
    elif medium.rate is not None:
        raise BadMedia("it has times of its own, so rate does not apply. Resample it with even(rate)")
    return Signal(values, times, names, timed)


def of_csv(data: bytes, medium: Series) -> Signal:
    """The series in a table of text: comma, semicolon or tab between its cells, names in the first row or none."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        formats = ", ".join(FORMATS)
        raise BadMedia(f"not a series that can be read, nor UTF-8 (byte {error.start}). Formats: {formats}") from None
    first = next((line for line in io.StringIO(text) if line.strip()), "")
    delimiter = max(",;\t", key=first.count)
    rows = _rows(csv.reader(io.StringIO(text), delimiter=delimiter, strict=True))
    first_line, head = next(rows, (0, []))
    if not head:
        raise BadMedia("0 rows: there is nothing in it")
    named = any(_number(cell) is None and _date(cell) is None for cell in head)
    names = [cell.strip() for cell in head] if named else [f"column {index}" for index in range(len(head))]
    where = time_column(names, medium.time)
    channels = [name for index, name in enumerate(names) if index != where]
    caps.check_values(len(channels), 1)
    table = _plain(text, delimiter, first_line if named else 0, len(names), where)
    if table is None:
        table = _table(rows if named else itertools.chain([(first_line, head)], rows), names, where)
    elif where is not None:
        table[:, where] = in_seconds(table[:, where], names[where])
    times = None if where is None else table[:, where]
    values = table if where is None else np.delete(table, where, axis=1)
    if len(channels) > 1 and named and not channels[-1] and np.isnan(values[:, -1]).all():  # a comma ends each line
        channels, values = channels[:-1], values[:, :-1]
    caps.check_values(len(channels), len(table))
    return _signal(values.T, times, tuple(channels), medium)


def in_seconds(times: npt.NDArray[np.float64], name: str) -> npt.NDArray[np.float64]:
    """A column's times in seconds: as they are, or by the unit at its name's end, or of clocks that count from 1970.

    Raises `BadMedia` for times that are too late to be seconds where neither tells the unit.

    >>> in_seconds(np.array([1.7e12, 1.7e12 + 500]), "timestamp") - 1.7e9
    array([0. , 0.5])
    >>> in_seconds(np.array([0.0, 20.0]), "t_ms")
    array([0.  , 0.02])
    """
    if unit := re.search(r"[\s_.([](ms|us|µs|μs|ns)[)\]]?$", name):
        return times / UNITS[unit[1]]
    if not (np.abs(times) > NO_SECONDS).any():
        return times
    for each in (1e3, 1e6, 1e9):
        if ((times >= EPOCH[0] * each) & (times <= EPOCH[1] * each)).all():
            return times / each
    raise BadMedia(
        f"{name!r}: times up to {np.abs(times).max():g} are no seconds. Put the unit at the end of the column's name: "
        f'{name}_ms, {name}_us or {name}_ns, and ask for it: time="{name}_ns"'
    )


def _plain(text: str, delimiter: str, skipped: int, width: int, where: int | None) -> npt.NDArray[np.float64] | None:
    """The numbers [T, columns] of a table that holds nothing else, read fast; none for any other table."""
    try:
        rows = caps.MAX_VALUES // max(1, width - (where is not None)) + 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of a table without rows
            table = np.loadtxt(
                io.StringIO(text), delimiter=delimiter, comments=None, skiprows=skipped, ndmin=2, max_rows=rows
            )
    except (ValueError, UserWarning):
        return None
    if table.shape[1] != width or not (np.abs(table) <= np.finfo(np.float32).max).all():
        return None
    return None if where is not None and (np.diff(table[:, where]) < 0).any() else table


def _table(rows: Iterator[tuple[int, list[str]]], names: list[str], where: int | None) -> npt.NDArray[np.float64]:
    """The numbers [T, columns] of any table, NaN where one is missing; `where` is the column of the times, if any."""
    values: list[float] = []
    lines: list[int] = []
    start: datetime.datetime | None = None
    for line, cells in rows:
        if len(cells) != len(names):
            raise BadMedia(f"line {line:,}: {len(cells)} cells, where the first row has {len(names)}")
        if where is not None:
            time = _time(cells[where], line)
            if lines and isinstance(time, float) != (start is None):
                raise BadMedia(f"line {line:,}: the times are seconds here and dates there")
            if isinstance(time, datetime.datetime):
                start = start or time
                time = (time - start).total_seconds()
            cells[where] = repr(time)
        try:
            values += [float(cell) if cell else math.nan for cell in cells]
        except ValueError:
            values += [_value(cell, name, line) for cell, name in zip(cells, names, strict=True)]
        lines.append(line)
        if len(values) > caps.MAX_VALUES + len(lines):
            break  # the caller says so
    if not lines:
        raise BadMedia("0 rows: there is nothing in it")
    table = np.array(values).reshape(-1, len(names))
    if len(bad := np.argwhere(np.abs(table) > np.finfo(np.float32).max)):
        row, column = bad[0]
        raise BadMedia(f"line {lines[row]:,}: {names[column]!r} is {table[row, column]:g}, which float32 cannot hold")
    if where is not None and len(late := np.flatnonzero(np.diff(table[:, where]) < 0)):
        raise BadMedia(f"line {lines[late[0] + 1]:,}: its time lies before that of the line above. Sort the rows")
    if where is not None and start is None:
        table[:, where] = in_seconds(table[:, where], names[where])
    return table


def _rows(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """The rows that hold anything, with their lines."""
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise BadMedia(f"line {reader.line_num:,}: not a table of text ({error})") from None


def time_column(names: list[str], asked: str | None) -> int | None:
    """Which column holds the times: the one asked for, or the first of `TIMES`. Raises `BadMedia` for none such."""
    if asked is not None:
        if asked not in names:
            raise BadMedia(f"no column {asked!r}. Columns: {', '.join(map(repr, names[:20]))}")
        return names.index(asked)
    return next((index for index, name in enumerate(names) if name.casefold() in TIMES), None)


def _number(cell: str) -> float | None:
    if cell.strip().casefold() in MISSING:
        return math.nan
    try:
        return float(cell)
    except ValueError:
        return None


def _date(cell: str) -> datetime.datetime | None:
    try:
        date = datetime.datetime.fromisoformat(cell.strip())
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=datetime.UTC)


def _value(cell: str, name: str, line: int) -> float:
    if (number := _number(cell)) is None:
        raise BadMedia(f"line {line:,}: {name!r} is {cell[:80]!r}, not a number. Leave a missing value empty")
    return number


def _time(cell: str, line: int) -> float | datetime.datetime:
    number = _number(cell)
    time = _date(cell) if number is None else number
    if time is None or (isinstance(time, float) and not math.isfinite(time)):
        raise BadMedia(
            f"line {line:,}: the time is {cell[:80]!r}, neither seconds nor a date like 2026-01-31T12:00:00.5"
        )
    return time
