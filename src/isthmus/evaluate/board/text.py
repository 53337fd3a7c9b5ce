"""The leaderboard as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from isthmus.evaluate.board import CLEAR, COVERAGE, Cell, Column, Pair, Run, enough, mode
from isthmus.evaluate.told import number

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def markdown(some: Sequence[Run], columns: Sequence[Column]) -> str:
    """A table with the best in bold, and what its signs mean."""
    head = ["model", *(f"{_pipes(own.benchmark)} ({_pipes(own.head)})" for own in columns)]
    rows = [head, ["---", *["---:"] * len(columns)]]
    for i, run in enumerate(some):
        rows.append([_pipes(run.model), *(_told(own.cells[i], "**", "**") for own in columns)])
    told = "".join(f"- {_pipes(line)}\n" for line in notes(some, columns))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + f"\n\n{legend()}\n\n{told}"


def latex(some: Sequence[Run], columns: Sequence[Column]) -> str:
    """A table for `booktabs`, and below it what its signs mean, with samples and tests."""
    lines = [r"\begin{tabular}{l" + "r" * len(columns) + "}", r"\toprule"]
    head = ["Model", *(f"{escaped(own.benchmark)} ({escaped(own.head)})" for own in columns)]
    lines += [" & ".join(head) + r" \\", r"\midrule"]
    for i, run in enumerate(some):
        cells = (_told(own.cells[i], r"\textbf{", "}") for own in columns)
        lines.append(" & ".join([escaped(run.model), *map(_signed, cells)]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", "", r"{\footnotesize\raggedright"]
    lines += [f"{_signed(escaped(' '.join(line.split())))}\\par" for line in [legend(), *notes(some, columns)]]
    return "\n".join([*lines, "}"]) + "\n"


def _signed(text: str) -> str:
    return text.replace("†", r"$\dagger$").replace("‡", r"$\ddagger$").replace("§", r"\S{}")


def table(some: Sequence[Run]) -> str:
    """CSV with a line for every figure of every model; without a value where too little was judged."""
    file = io.StringIO()
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(["model", "benchmark", "mode", "metric", "value", "low", "high", "n", "unscored"])
    for run in some:
        for name, held in run.benchmarks.items():
            whole = enough(run, name)
            for metric, own in (held["metrics"] or {"": dict.fromkeys(("value", "low", "high")) | {"n": 0}}).items():
                figures = [own[key] if key == "n" or whole else None for key in ("value", "low", "high", "n")]
                row = [run.model, name, mode(held), metric, *figures, held["unscored"]["count"]]
                lines.writerow([_inert(cell) for cell in row])
    return file.getvalue()


def legend() -> str:
    """What the signs of a table mean."""
    return (
        f"Best of each benchmark in bold; ‡ clearly behind it (paired test, p < {CLEAR} after Holm's correction);"
        f" † fewer than {COVERAGE:.0%} of the questions are scored; § only some were asked, which beats"
        " no model that was asked all."
        " 95 % intervals in brackets."
    )


def notes(some: Sequence[Run], columns: Sequence[Column]) -> list[str]:
    """What does not fit into a table: of each benchmark the samples, what is missing and why, and each test."""
    found = []
    for own in columns:
        there = [cell for cell in own.cells if not math.isnan(cell.value)]
        told = [f"n = {there[0].n:,}"] if there and not own.uneven else []
        for run, cell in zip(some, own.cells, strict=True):
            missing = math.isnan(cell.value)
            words = [cell.why] if missing else [f"n = {cell.n:,}"] if own.uneven else []
            words += [f"{cell.unscored:,} unscored"] if cell.unscored else []
            words += [compared(cell.pair)] if cell.pair else []
            held = run.benchmarks.get(own.benchmark, {}) if not missing or cell.asked else {}
            words += [f"note: {note}" for note in held.get("notes", [])]
            told += [f"{run.model}: {', '.join(words)}"] if words else []
        uneven = " (the models' figures are of different samples)" if own.uneven else ""
        found.append(f"{own.benchmark}{f', {own.mode}' if own.mode else ''}{uneven}: {'; '.join(told)}")
    return found


def compared(pair: Pair) -> str:
    """A comparison with the best.

    >>> compared(Pair("McNemar, exact", 30, 0.0312))
    'p = 0.0312 (McNemar, exact, on 30 samples)'
    """
    if math.isnan(pair.p):
        return pair.test
    ahead = ", and ahead there" * (pair.lead < 0)
    return f"p = {pair.p:.3g} ({pair.test}, on {pair.n:,} samples{ahead})"


def signs(cell: Cell) -> str:
    """The signs behind a figure.

    >>> signs(Cell(0.5, asked=10, unscored=5))
    '†'
    """
    behind = cell.pair is not None and cell.pair.p < CLEAR and cell.pair.lead > 0
    return "§" * cell.part + "†" * (cell.coverage < COVERAGE) + "‡" * behind


def escaped(text: str) -> str:
    """A text in LaTeX.

    >>> escaped("50% of_x")
    '50\\\\% of\\\\_x'
    """
    return "".join(LATEX.get(char, char) for char in text)


def _told(cell: Cell, begin: str, end: str) -> str:
    if math.isnan(cell.value):
        return "-"
    value = f"{begin}{number(cell.value)}{end}" if cell.best else number(cell.value)
    ends = f" [{number(cell.low)}, {number(cell.high)}]" if not math.isnan(cell.low) else ""
    return f"{value}{signs(cell)}{ends}"


def _pipes(text: str) -> str:
    return " ".join(text.replace("|", r"\|").split())


def _inert(cell: object) -> object:
    """A cell that a spreadsheet does not take for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@")) else cell
