"""Tables in Parquet as a series: numbers, whole numbers and truth values, and one column of times."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import BadMedia
from isthmus.media import caps
from isthmus.media.series import in_seconds, time_column

ROWS = 65_536  # read at once


def decode(data: bytes, time: str | None) -> dict[str, Any]:
    """`values` [C, T], `names` and, if there is a column of them, `times`; runs in a worker."""
    pa = caps.need("pyarrow", "Parquet")
    pq = caps.need("pyarrow.parquet", "Parquet")
    file = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False, memory_map=False)
    fields = list(file.schema_arrow)
    names = [field.name for field in fields]
    where = time_column(names, time)
    channels = [name for index, name in enumerate(names) if index != where]
    caps.check_values(len(channels), file.metadata.num_rows)
    for index, field in enumerate(fields):
        of = pa.types
        if not (
            of.is_integer(field.type)
            or of.is_floating(field.type)
            or of.is_boolean(field.type)
            or (index == where and of.is_timestamp(field.type))
        ):
            raise BadMedia(f"column {field.name!r} holds {str(field.type)[:80]}, not numbers")
    blocks: list[npt.NDArray[np.float32]] = []
    times: list[npt.NDArray[np.float64]] = []
    start = None
    for batch in file.iter_batches(ROWS, use_threads=False):
        columns = batch.columns
        if where is not None:
            column = columns.pop(where)
            if column.null_count:
                raise BadMedia("a time is missing")
            if pa.types.is_timestamp(column.type):
                ticks = column.cast(pa.timestamp("ns")).cast(pa.int64()).to_numpy()
                start = ticks[0] if start is None and len(ticks) else start
                times.append((ticks - start) / 1e9)
            else:
                times.append(_floats(column, np.float64))
        blocks.append(np.array([_floats(column, np.float32) for column in columns]).reshape(len(channels), -1))
        caps.check_values(len(channels), sum(block.shape[1] for block in blocks) or 1)
    if not blocks or (rows := sum(block.shape[1] for block in blocks)) != file.metadata.num_rows:
        raise BadMedia(
            f"its footer declares {file.metadata.num_rows:,} rows and the file holds {rows if blocks else 0:,}"
        )
    found: dict[str, Any] = {"values": np.concatenate(blocks, axis=1), "names": channels}
    if where is None:
        return found
    dated = pa.types.is_timestamp(fields[where].type)
    return found | {"times": np.concatenate(times) if dated else in_seconds(np.concatenate(times), names[where])}


def _floats(column: Any, dtype: Any) -> npt.NDArray[Any]:
    """A column's numbers, NaN where there is none."""
    import pyarrow as pa

    values = column.cast(pa.float64() if not pa.types.is_floating(column.type) else column.type, safe=False)
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype)
