"""Parquet, as the Hugging Face hub keeps data sets: media lie in it as bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from isthmus.data.containers import Found
from isthmus.errors import BadData

ENDINGS = (".parquet",)
BATCH = 64  # rows read at once; each may hold several pictures


def rows(path: Path) -> Iterator[Found]:
    """The rows in their order. Raises `BadData` for a file that is not Parquet or breaks off."""
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise BadData(f"{path}: Parquet needs pyarrow: pip install 'isthmus[data]'") from error
    number = 0
    try:
        with parquet.ParquetFile(path, memory_map=True) as table:
            for batch in table.iter_batches(batch_size=BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
    except (pyarrow.ArrowException, OSError) as error:
        raise BadData(f"{path}: after row {number}, not Parquet ({' '.join(str(error).split())[:200]})") from error
