"""One call of `isthmus report`: runs in, a file out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from isthmus.evaluate import board
from isthmus.evaluate.board import page, text
from isthmus.evaluate.report import write

PAGE = Path("report.html")


def written(paths: Sequence[Path], form: str, out: Path | None, media: bool, console: Console) -> Path | None:
    """Write the leaderboard of runs as `html`, `markdown`, `latex` or `csv`; without `out`, text is printed.

    Raises `BadData` for what is no run, and `IsthmusError` where the file cannot be written.
    """
    some = board.runs(paths)
    columns = board.columns(some)
    if form == "html":
        content = page.html(some, columns, media)
        out = out or PAGE
    else:
        forms = {"markdown": text.markdown, "latex": text.latex}
        told = text.table(some) if form == "csv" else forms[form](some, columns)
        if out is None:
            print(told, end="")
            return None
        content = told.encode()
    path = write(out, content)
    console.print(f"{path}  {len(content) / 2**20:.1f} MB", markup=False, highlight=False, soft_wrap=True)
    return path
