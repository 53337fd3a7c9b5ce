"""What `isthmus score` prints: for people a table of figures, for a listing the benchmarks and their forms."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from isthmus.evaluate.benchmarks import PACKAGE
from isthmus.evaluate.scored import MODES, Scored
from isthmus.registry import constants, find, names


def show(benchmark: str, mode: str, found: Scored, console: Console) -> None:
    """The figures, what went unscored and why, and the notes."""
    table = Table(
        Column("metric", overflow="fold"),
        title=f"{benchmark}, {mode}{' mode' * (mode in MODES)}",
        title_justify="left",
        show_edge=False,
    )
    for column in ("value", "95 % interval", "n"):
        table.add_column(column, justify="right")
    for name, figure in found.metrics.items():
        ends = f"[{number(figure.low)}, {number(figure.high)}]" if math.isfinite(figure.low) else "-"
        table.add_row(name, number(figure.value), ends, f"{figure.n:,}")
    console.print(table, markup=False)
    console.print(f"unscored: {len(found.unscored):,}", highlight=False)
    for why, count in found.reasons().items():
        console.print(f"  {count:,}  {why}", highlight=False, markup=False)
    for note in found.notes:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)


def number(value: float) -> str:
    """Four digits behind the point below 10, as the field's tables can have them, and two above.

    >>> number(0.86766), number(1531.313), number(float("nan"))
    ('0.8677', '1531.31', '-')
    """
    if not math.isfinite(value):
        return "-"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def listed(benchmark: str | None, console: Console, as_json: bool) -> None:
    """The benchmarks, or one of them: what it is, whose rule, and an example line of each form of its files."""
    if benchmark is not None:
        find(PACKAGE, benchmark)  # raises with the nearest name
    chosen = [name for name in names(PACKAGE) if benchmark in (None, name)]
    found: dict[str, dict[str, Any]] = {name: constants(PACKAGE, name) for name in chosen}
    keys = ("ABOUT", "SOURCE", "PREDICTIONS", "REFERENCES")
    if as_json:
        rows = [{"name": name} | {key.lower(): own[key] for key in keys} for name, own in found.items()]
        print(json.dumps(rows, indent=1))
        return
    for name, own in found.items():
        console.print(f"\n[bold]{name}[/]  {own['ABOUT']}", highlight=False)
        console.print(f"  {own['SOURCE']}", highlight=False, markup=False, style="dim", soft_wrap=True)
        for what in ("PREDICTIONS", "REFERENCES"):
            for form, example in own[what].items():
                console.print(f"  {what.lower()}: {form}", highlight=False, markup=False, soft_wrap=True)
                console.print(f"    {example}", highlight=False, markup=False, soft_wrap=True, style="cyan")


def written(page: str) -> str:
    """A page of the documentation with its table of benchmarks as the folder has them."""
    begin, end = "<!-- benchmarks -->\n", "<!-- end -->"
    rows = ["| benchmark | what it asks | rule of |", "|---|---|---|"]
    for name in names(PACKAGE):
        own = constants(PACKAGE, name)
        rows.append(f"| `{name}` | {own['ABOUT']} | {own['SOURCE']} |")
    before, rest = page.split(begin)
    return f"{before}{begin}\n" + "\n".join(rows) + f"\n\n{end}{rest.split(end)[1]}"


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.write_text(written(place.read_text(encoding="utf-8")), encoding="utf-8")
