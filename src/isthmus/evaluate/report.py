"""The report of a run: one HTML file that needs nothing else, and a table for the terminal.

The file holds the facts, the loss curves, the scores beside their baselines, pictures with what the model said about
them, and how to go on. Whatever a model or a dataset wrote is escaped, and the page's own policy (CSP) allows it to
load nothing and run nothing. All geometry is worked out here; `report.html.j2` only places it.
"""

from __future__ import annotations

import base64
import math
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

import rich.box
from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.console import Console
from rich.table import Table
from rich.text import Text

from isthmus.errors import IsthmusError
from isthmus.evaluate.scoring import WORD_ERRORS, Answer, Row, about, right

WIDTH, HEIGHT = 360, 216  # of a loss curve's picture: small enough for its labels to be read on a phone
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 36  # margins around the plot itself
DOTS = 600  # at most so many raw points are drawn of a curve


class Point(NamedTuple):
    """One optimizer step: its number, seconds since the stage began, loss, and tokens per second."""

    step: int
    seconds: float
    loss: float
    tokens_per_second: float


@dataclass
class Curve:
    """How the loss of one stage went."""

    stage: str
    points: list[Point]


class Tick(NamedTuple):
    """A place on an axis, in the picture's units, and what is written there."""

    at: float
    label: str


@dataclass(frozen=True)
class Plot:
    """A curve ready to be placed: ticks, SVG paths, and what to say under it; the paths are empty without points."""

    stage: str
    summary: str
    raw: str = ""
    line: str = ""
    x_ticks: tuple[Tick, ...] = ()
    y_ticks: tuple[Tick, ...] = ()


class Said(NamedTuple):
    """An answer and whether it is right."""

    answer: Answer
    right: bool


class Card(NamedTuple):
    """A picture as a data URI with what was said about it."""

    sample: str
    uri: str
    said: list[Said]


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    curves: Sequence[Curve],
    rows: Sequence[Row],
    pictures: Sequence[tuple[Answer, bytes]],
    facts: Sequence[tuple[str, str]],
    command: str,
) -> Path:
    """Write the report and give its path.

    `pictures` are answers to show with the PNG that they are about (answers about the same one share a card), `facts`
    labels and values for the top, `command` how to chat with the model. The file appears whole or not at all: if it
    cannot be written (a full disk), `IsthmusError` says so and an earlier report stays as it was.
    """
    cards = _cards(pictures)
    verdicts = [said.right for card in cards for said in card.said]
    content = page(
        "report.html.j2",
        title=title,
        facts=facts,
        lead=lead(rows),
        plots=[plot(curve) for curve in curves],
        box={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
        medium=about(rows),
        benchmarks=[(name, list(group)) for name, group in groupby(rows, lambda row: row.benchmark)],
        cards=cards,
        right=sum(verdicts),
        wrong=len(verdicts) - sum(verdicts),
        command=command,
    )
    return write(Path(path), content)


def page(template: str, **values: Any) -> bytes:
    """A template of this folder with its values, all of them escaped."""
    environment = Environment(
        loader=PackageLoader("isthmus", "evaluate"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.filters["place"] = lambda share: percent(min(share, 1.0))  # an error rate may exceed 1
    return environment.get_template(template).render(**values).encode("utf-8", errors="replace")


def print_table(rows: Sequence[Row], console: Console) -> None:
    """Print the scores with their baselines; the text of datasets is printed as it is, never as markup or escapes."""
    title = "Results, in %, with 95 % intervals"
    table = Table(title=title, title_justify="left", padding=(0, 1, 0, 0), box=rich.box.SIMPLE_HEAD)
    wide = console.width >= 76  # narrower, figures fold: cut off they would mislead
    table.add_column("questions", no_wrap=wide, overflow="fold")
    table.add_column("n", justify="right", no_wrap=True)
    table.add_column("model", no_wrap=wide, overflow="fold")
    table.add_column(f"another {about(rows)}", no_wrap=wide, overflow="fold")
    table.add_column("majority answer", overflow="fold")
    for benchmark, group in groupby(rows, lambda row: row.benchmark):
        table.add_row(Text(_printable(benchmark), style="bold"))
        for row in group:
            balanced = {"balanced accuracy": ", balanced", WORD_ERRORS: ", error rate"}.get(row.metric, "")
            table.add_row(
                Text(f" {_printable(row.kind)}{balanced}"),
                f"{row.n:,}",
                Text(scored(row.value, row.low, row.high) + (" ?" if row.doubt else "")),
                Text(scored(row.swapped, row.swapped_low, row.swapped_high)),
                Text(f"{percent(row.majority)} {_printable(row.majority_answer)}"),
            )
    console.print(table)
    if any(row.doubt for row in rows):
        console.print("? not clearly better than both baselines: the intervals do not decide it", highlight=False)


def percent(share: float) -> str:
    """A share in per cent with one decimal.

    >>> percent(0.8349)
    '83.5'
    """
    return f"{100 * share:.1f}"


def scored(value: float | None, low: float | None, high: float | None) -> str:
    """A score with its interval, or a dash where nothing was measured.

    >>> scored(0.7, 0.485, 0.841), scored(None, None, None)
    ('70.0 [48.5, 84.1]', '-')
    """
    if value is None or low is None or high is None:
        return "-"
    return f"{percent(value)} [{percent(low)}, {percent(high)}]"


def lead(rows: Sequence[Row]) -> str:
    """One sentence on how many scores are clearly better than their baselines; empty without rows.

    >>> lead([Row("b", "name", "accuracy", 50, 0.6, 0.46, 0.72, 0.5, "dog", 50, 0.1, 0.04, 0.21)])
    'The one score is not clearly better than its baselines.'
    """
    clear = sum(not row.doubt for row in rows)
    if len(rows) <= 1:
        return f"The one score is {'' if clear else 'not '}clearly better than its baselines." if rows else ""
    count = "All" if clear == len(rows) else "None" if clear == 0 else str(clear)
    return f"{count} of the {len(rows)} scores {'is' if clear == 1 else 'are'} clearly better than their baselines."


def duration(seconds: float) -> str:
    """A time span for people.

    >>> duration(8.24), duration(90), duration(7265)
    ('8.2 s', '1 min 30 s', '2 h 01 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02} min"


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers, a step of 1, 2 or 5 times a power of ten apart, the first at or below `low`, the last past `high`.

    >>> nice_ticks(0.13, 2.4)
    [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    >>> nice_ticks(3, 3)
    [2.0, 2.5, 3.0, 3.5, 4.0]
    """
    if high <= low:
        pad = abs(low) / 3 or 1.0
        low, high = low - pad, high + pad
    power = 10.0 ** math.floor(math.log10((high - low) / about))
    step = next(power * factor for factor in (1, 2, 5, 10) if (high - low) / (power * factor) <= about)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(i * step, 12) for i in range(first, last + 1)]


def smooth(values: Sequence[float], window: int, places: Sequence[int]) -> list[float]:
    """At each place the mean of the `window` (odd) values centred on it, of those that exist near the ends.

    Centred, so that unlike an exponential average it does not lag behind.

    >>> smooth([0, 3, 6, 0, 0], 3, [0, 1, 3])
    [1.5, 3.0, 2.0]
    """
    half = window // 2
    return [fmean(values[max(0, i - half) : i + half + 1]) for i in places]


def plot(curve: Curve) -> Plot:
    """The curve in the picture's units: raw losses as dots, their running mean over about a 20th as a line."""
    points = [Point(*point) for point in curve.points if math.isfinite(point[2])]
    lost = len(curve.points) - len(points)
    left_out = f"{lost:,} of {len(curve.points):,} losses were not finite" if lost else ""
    if not points:
        return Plot(curve.stage, left_out or "no steps were recorded")
    window = len(points) // 20 | 1  # odd
    every = math.ceil(len(points) / DOTS)
    places = sorted({*range(0, len(points), every), len(points) - 1})
    means = smooth([point.loss for point in points], window, places)
    xs, ys = nice_ticks(points[0].step, points[-1].step, 4), nice_ticks(*_range(points))
    first, last = (points[0].step, points[-1].step) if points[0].step < points[-1].step else (xs[0], xs[-1])

    def across(step: float) -> float:
        return LEFT + (step - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def up(loss: float) -> float:
        return TOP + (ys[-1] - loss) / (ys[-1] - ys[0]) * (HEIGHT - TOP - BOTTOM)

    line = [f"{across(points[i].step):.1f} {up(mean):.1f}" for i, mean in zip(places, means, strict=True)]
    return Plot(
        stage=curve.stage,
        summary="; ".join(_summary(points, window, every, left_out)),
        raw="".join(f"M{across(p.step):.1f} {up(p.loss):.1f}h0" for p in points[::every]),
        line="M" + "L".join(line),
        x_ticks=tuple(Tick(round(across(x), 1), f"{x:,.10g}") for x in xs if first <= x <= last),
        y_ticks=tuple(Tick(round(up(y), 1), f"{y:,.10g}") for y in ys),
    )


def _range(points: Sequence[Point]) -> tuple[float, float]:
    """The smallest and the largest loss."""
    losses = [point.loss for point in points]
    return min(losses), max(losses)


def _summary(points: Sequence[Point], window: int, every: int, left_out: str) -> Iterator[str]:
    """What is said under a curve."""
    speed = median(point.tokens_per_second for point in points)
    yield f"{len(points):,} steps in {duration(points[-1].seconds)}, {speed:,.0f} tokens/s"
    end, over = (
        fmean(point.loss for point in points[-window:]),
        f"over the last {window}" if window > 1 else "at the end",
    )
    yield f"loss {points[0].loss:.3g} at step {points[0].step:,}, {end:.3g} {over}"
    if window > 1:
        yield f"line: mean of {window} steps"
    if every > 1:
        yield f"dots: one step in {every}"
    if left_out:
        yield left_out


def _cards(pictures: Sequence[tuple[Answer, bytes]]) -> list[Card]:
    """A card for each picture, in order of first appearance."""
    cards: dict[tuple[str, bytes], Card] = {}
    for answer, png in pictures:
        uri = "data:image/png;base64," + base64.b64encode(png).decode()
        card = cards.setdefault((answer.sample, png), Card(answer.sample, uri, []))
        card.said.append(Said(answer, right(answer.answer, answer.truth, answer.kind)))
    return list(cards.values())


def _printable(text: str) -> str:
    """The text with control characters replaced: a terminal would obey them."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def write(path: Path, content: bytes) -> Path:
    """Put the content at `path` in one step, by way of a file beside it; raises `IsthmusError` if it cannot be."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise IsthmusError(
            f"the report could not be written to {path}: {error.strerror or error}. An earlier report there is "
            f"unchanged. It needs {len(content):,} bytes: free some space, or choose another place"
        ) from error
    finally:
        with suppress(OSError):  # never there, or already renamed
            temporary.unlink()
    return path
