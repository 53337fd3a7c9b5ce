"""What folders of sounds, clips and clouds have in common, and the authors' own forms of answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.evaluate.benchmarks._asked import Answered, Cell, put
from isthmus.types import Audio

if TYPE_CHECKING:
    from isthmus.media.forms import Sound


@dataclass(frozen=True)
class Heard:
    """The sound in a cell of a Parquet file, which is read when it is listened to."""

    cell: Cell

    def __call__(self) -> Sound:
        """The sound. Raises `BadMedia` for a cell that holds none."""
        from isthmus.media import load

        return load(Audio(self.cell.data()))


def told(out: Path, answered: Answered, key: str, file: str = "predictions.jsonl") -> Path:
    """The rows that questions keep, with what was said under the authors' own key."""
    rows = (json.dumps(own.row | {key: text}, ensure_ascii=False) + "\n" for own, text in answered)
    return put(out / file, "".join(rows))
