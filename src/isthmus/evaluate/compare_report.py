"""What a comparison of connectors found: one HTML file that needs nothing else, a JSON file, a table for the terminal.

As in `report.py`, whatever data or a model wrote is escaped, the page loads and runs nothing, and all geometry is
worked out here; `compare.html.j2` only places it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import rich.box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from isthmus.evaluate.comparison import Cell
from isthmus.evaluate.report import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Tick,
    duration,
    nice_ticks,
    page,
    scored,
    smooth,
    write,
)
from isthmus.evaluate.scoring import Estimate
from isthmus.types import noun, plural

COLOURS = 8  # the page has so many, and as many dashes
DOTS = 200  # at most so many points are drawn of a curve
LINE, LETTER = 14, 6.6  # height of a label and width of a letter, in a picture's units
Box = tuple[float, float, float, float]  # left, top, right, bottom
SCALE = 8  # an axis whose largest value is so many times the smallest is logarithmic


@dataclass(frozen=True)
class Trained:
    """One stage of one connector, over its seeds."""

    stage: str
    planned: int
    steps: list[int]
    seconds: list[float]
    losses: list[float]  # the mean over seeds, as far as all of them go


@dataclass(frozen=True)
class Contender:
    """One connector: what it is, what it cost.

    Attributes:
        options: its own, as given; `dropped` are the recipe's that it does not have.
        left_out: stage -> why it cannot be run with this connector.
        parameters: trained part -> how many weights (of an adapter, where it is one).
        slots: of one medium in the text; `memory` the soft tokens beside the text that layers in the LLM look at.
        flops: matrix products of the training, the mean over seeds; `seconds` likewise.
        first_token: median seconds from features, and from a medium; the mean over seeds.
        peak_bytes: the largest resident memory of a training process; None where the system does not tell.
    """

    name: str
    options: dict[str, Any]
    dropped: list[str]
    left_out: dict[str, str]
    parameters: dict[str, int]
    slots: int
    memory: int
    flops: float
    seconds: float
    first_token: tuple[float, float]
    peak_bytes: int | None
    stages: list[Trained]

    @classmethod
    def of(
        cls,
        name: str,
        options: dict[str, Any],
        dropped: list[str],
        cost: Mapping[str, Any],
        planned: Mapping[str, int],
        facts: Sequence[Mapping[str, Any]],
    ) -> Contender:
        """From what was measured before the training (`train.cost.Cost`) and each run's `facts.json`."""
        stages = []
        for stage, steps in planned.items():
            runs = [run["stages"][stage] for run in facts]
            losses = [fmean(some) for some in zip(*(run["losses"] for run in runs), strict=False)]
            seconds = [run["seconds"] for run in runs]
            stages.append(Trained(stage, steps, [run["steps"] for run in runs], seconds, losses))
        peaks = [run["peak_bytes"] for run in facts if run["peak_bytes"]]
        first = [run["first_token_seconds"] for run in facts]
        return cls(
            name=name,
            options=options,
            dropped=dropped,
            left_out=cost["left_out"],
            parameters=cost["parameters"],
            slots=cost["slots"],
            memory=cost["memory"],
            flops=sum(cost["flops"][stage.stage] * fmean(stage.steps) for stage in stages),
            seconds=sum(fmean(stage.seconds) for stage in stages),
            first_token=(fmean(run["features"] for run in first), fmean(run["picture"] for run in first)),
            peak_bytes=max(peaks, default=None),
            stages=stages,
        )

    @property
    def trained(self) -> int:
        """All trained weights."""
        return sum(self.parameters.values())

    @property
    def notes(self) -> list[str]:
        """What a reader should know about how it was trained, beside the others."""
        own = ", ".join(f"{key}={value}" for key, value in self.options.items())
        found = [f"options: {own}" if own else "its default options"]
        found += [f"the recipe's {key} is not taken over" for key in self.dropped]
        found += [f"stage {stage} left out: {why}" for stage, why in self.left_out.items()]
        for stage in self.stages:
            short = min(stage.steps) < stage.planned
            found.append(
                f"{stage.stage}: {stage.planned:,} steps" + (f", {_each(stage)} made in time" if short else "")
            )
        return found


@dataclass(frozen=True)
class Outcome:
    """A whole comparison."""

    recipe: str
    parts: tuple[str, str]  # LLM, encoder
    budget: str
    seeds: int
    reference: str
    kinds: tuple[str, ...]  # of media, those whose connectors are compared first
    contenders: list[Contender]
    cells: list[Cell]  # the first is the mean of all

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return dataclasses.asdict(self)


class Dot(NamedTuple):
    """A contender in a plot: where, its interval from `low` to `high`, and where its name stands."""

    name: str
    colour: int
    x: float
    y: float
    low: float
    high: float
    label_x: float
    label_y: float
    anchor: str


class Line(NamedTuple):
    """A curve of a contender: an SVG path."""

    name: str
    colour: int
    path: str


@dataclass(frozen=True)
class Picture:
    """A plot ready to be placed; it has dots or lines."""

    title: str
    x_title: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    dots: list[Dot] = dataclasses.field(default_factory=list)
    lines: list[Line] = dataclasses.field(default_factory=list)


def write_outcome(path: Path, outcome: Outcome, command: str) -> Path:
    """Write the page and give its path. Raises `IsthmusError` as `report.write_report` does."""
    colours = {it.name: number % COLOURS for number, it in enumerate(outcome.contenders)}
    mean = outcome.cells[0].entries
    scores = {name: entry.score for name, entry in mean.items()}
    flops = scatter(
        "Score by training cost", "FLOPs", {c.name: c.flops for c in outcome.contenders}, scores, flop, colours
    )
    weights = {c.name: float(c.trained) for c in outcome.contenders}
    medium = noun(outcome.kinds)
    content = page(
        "compare.html.j2",
        outcome=outcome,
        medium=medium,
        media=plural(medium),
        raw="pixels" if medium == "picture" else f"the {medium}",
        mean=mean,
        lead=lead(outcome),
        colours=colours,
        pictures=[flops, scatter("Score by size", "trained parameters", weights, scores, number, colours)],
        curves=curves(outcome, colours),
        benchmarks=[(name, list(some)) for name, some in groupby(outcome.cells[1:], lambda cell: cell.benchmark)],
        reach=reach(outcome.cells),
        box={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
        command=command,
        flop=flop,
        number=number,
        memory=memory,
        duration=duration,
        milliseconds=milliseconds,
        signed=signed,
        clear=clear,
    )
    return write(path, content)


def print_outcome(outcome: Outcome, console: Console) -> None:
    """Print a line for each connector."""
    title = f"{outcome.recipe}, {outcome.budget}, seeds: {outcome.seeds}; scores in %, with 95 % intervals"
    table = Table(title=title, title_justify="left", padding=(0, 1, 0, 0), box=rich.box.SIMPLE_HEAD)
    table.add_column("connector", min_width=10)
    for heading in ("mean score", f"beside {outcome.reference}", "trained", "tokens"):
        table.add_column(heading, overflow="fold")
    for heading in ("FLOPs", "time", "first token", "memory"):
        table.add_column(heading, overflow="fold")
    for it in outcome.contenders:
        entry = outcome.cells[0].entries[it.name]
        table.add_row(
            it.name.replace("-", " ") + (" *" if it.left_out else ""),
            Text(scored(*entry.score)),
            Text("-" if entry.difference is None else signed(entry.difference)),
            number(it.trained),
            f"{it.slots}" + (f" + {it.memory}" if it.memory else ""),
            flop(it.flops),
            duration(it.seconds),
            milliseconds(it.first_token[0]),
            memory(it.peak_bytes),
        )
    console.print(table)
    for it in outcome.contenders:
        for stage, why in it.left_out.items():
            console.print(f"* {it.name} was trained without {stage}: {why}", highlight=False, markup=False)
    console.print(lead(outcome), highlight=False, markup=False)


def lead(outcome: Outcome) -> str:
    """One sentence on which connectors' mean scores are clearly above or below the reference's."""
    groups: dict[str, list[str]] = {"better": [], "worse": [], "": []}
    for name, entry in outcome.cells[0].entries.items():
        if entry.difference is not None:
            groups[clear(entry.difference)].append(name)
    said = [f"clearly {how}: {', '.join(some)}" for how, some in groups.items() if how and some]
    if groups[""]:
        said.append(f"the intervals do not decide: {', '.join(groups[''])}")
    return f"Beside {outcome.reference}: {'; '.join(said)}."


def clear(difference: Estimate) -> str:
    """`better` or `worse` where the interval says so, else nothing.

    >>> clear(Estimate(0.1, 0.02, 0.18)), clear(Estimate(0.1, -0.02, 0.22))
    ('better', '')
    """
    return "better" if difference.low > 0 else "worse" if difference.high < 0 else ""


def signed(difference: Estimate) -> str:
    """A difference in points with its interval.

    >>> signed(Estimate(0.1, -0.02, 0.22))
    '+10.0 [-2.0, +22.0]'
    """
    value, low, high = (f"{100 * x:+.1f}" for x in difference)
    return f"{value} [{low}, {high}]"


def number(count: float) -> str:
    """A count with three digits.

    >>> number(884_737), number(4_880_000), number(512)
    ('885 k', '4.88 M', '512')
    """
    return _prefixed(count, ("", " k", " M", " B"))


def flop(count: float) -> str:
    """Floating-point operations with three digits.

    >>> flop(2.34e14), flop(1e3)
    ('234 TFLOP', '1 kFLOP')
    """
    return _prefixed(count, (" ", " k", " M", " G", " T", " P", " E", " Z")) + "FLOP"


def _prefixed(value: float, prefixes: Sequence[str]) -> str:
    power = 0
    while float(f"{value:.3g}") >= 1000 and power < len(prefixes) - 1:
        value, power = value / 1000, power + 1
    return f"{float(f'{value:.3g}'):g}{prefixes[power]}"


def memory(size: int | None) -> str:
    """Bytes for people.

    >>> memory(1_870_000_000), memory(None)
    ('1.87 GB', '-')
    """
    return "-" if size is None else f"{size / 1e9:.2f} GB"


def milliseconds(seconds: float) -> str:
    """A short time.

    >>> milliseconds(0.0123)
    '12.3 ms'
    """
    return f"{float(f'{1000 * seconds:.3g}'):g} ms"


def reach(cells: Sequence[Cell]) -> float:
    """How far from zero the differences and their intervals go, in points, rounded up to tens."""
    ends = [abs(end) for cell in cells for entry in cell.entries.values() for end in entry.difference or ()]
    return max(10.0, 10.0 * math.ceil(10 * max(ends, default=0.0)))


def scatter(
    title: str,
    x_title: str,
    values: Mapping[str, float],
    scores: Mapping[str, Estimate],
    said: Callable[[float], str],
    colours: Mapping[str, int],
) -> Picture:
    """Scores in per cent, with intervals, against what they cost."""
    low, high = min(values.values()), max(values.values())
    logarithmic = low > 0 and high / low >= SCALE
    xs = _powers(low, high) if logarithmic else nice_ticks(low * 0.95, high * 1.05, 4)
    ys = nice_ticks(
        100 * min(score.low for score in scores.values()), 100 * max(score.high for score in scores.values())
    )

    def across(value: float) -> float:
        scale = math.log if logarithmic else float
        return LEFT + (scale(value) - scale(xs[0])) / (scale(xs[-1]) - scale(xs[0])) * (WIDTH - LEFT - RIGHT)

    up = _up(ys)
    places = {name: (across(values[name]), up(100 * score.value)) for name, score in scores.items()}
    dots, taken = [], [(x - 6, y - 6, x + 6, y + 6) for x, y in places.values()]
    for name, (x, y) in places.items():
        anchor, label_x, label_y, box = _label(name, x, y, taken)
        taken.append(box)
        ends = up(100 * scores[name].low), up(100 * scores[name].high)
        dots.append(Dot(name, colours[name], x, y, *ends, label_x, label_y, anchor))
    shown = xs[:: math.ceil(len(xs) / 5)]
    x_ticks = [Tick(round(across(x), 1), said(x).replace("FLOP", "").strip()) for x in shown]
    return Picture(title, x_title, x_ticks, [Tick(round(up(y), 1), f"{y:g}") for y in ys], dots=dots)


def _label(name: str, x: float, y: float, taken: Sequence[Box]) -> tuple[str, float, float, Box]:
    """Where a dot's name stands: beside it, or as near to that as it covers nothing that is taken."""
    wide = LETTER * len(name)
    shifts = sorted(range(-5 * LINE, 5 * LINE + 1, LINE // 2), key=abs)
    for shift in shifts:
        for anchor, left in (("start", x + 9), ("end", x - 9 - wide)):
            box = left, y + shift - LINE / 2, left + wide, y + shift + LINE / 2
            inside = left > LEFT and box[2] < WIDTH and box[1] > TOP - LINE and box[3] < HEIGHT - BOTTOM
            if inside and not any(_meet(box, other) for other in taken):
                return anchor, left if anchor == "start" else box[2], y + shift + 4, box
    return "start", x + 9, y + 4, (x, y, x, y)  # no room: better covered than left out


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _powers(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten, the first at or below `low`, the last at or past `high`.

    >>> _powers(3, 70)
    [2.0, 5.0, 10.0, 20.0, 50.0, 100.0]
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = [float(f"{digit}e{power}") for power in range(first, last + 1) for digit in (1, 2, 5)]
    begin = max(i for i, tick in enumerate(every) if tick <= low)
    end = min(i for i, tick in enumerate(every) if tick >= high)
    return every[begin : end + 1]


def _up(ticks: Sequence[float]) -> Callable[[float], float]:
    return lambda y: TOP + (ticks[-1] - y) / (ticks[-1] - ticks[0]) * (HEIGHT - TOP - BOTTOM)


def curves(outcome: Outcome, colours: Mapping[str, int]) -> list[Picture]:
    """A picture for each stage: every connector's loss, the mean over seeds, smoothed over about a 20th."""
    names = dict.fromkeys(stage.stage for it in outcome.contenders for stage in it.stages)
    return [picture for name in names if (picture := _curve(outcome, name, colours))]


def _curve(outcome: Outcome, stage: str, colours: Mapping[str, int]) -> Picture | None:
    found: list[tuple[str, list[int], list[float]]] = []
    for it in outcome.contenders:
        losses = next((own.losses for own in it.stages if own.stage == stage), [])
        if losses := losses[: next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), None)]:
            places = sorted({*range(0, len(losses), math.ceil(len(losses) / DOTS)), len(losses) - 1})
            found.append((it.name, places, smooth(losses, len(losses) // 20 | 1, places)))
    if not found:
        return None
    last = max(places[-1] for _, places, _ in found) + 1
    xs = nice_ticks(1, max(last, 2), 4)
    values = [value for _, _, means in found for value in means]
    ys = nice_ticks(min(values), max(values))
    up = _up(ys)

    def across(step: float) -> float:
        return LEFT + (step - 1) / max(1, last - 1) * (WIDTH - LEFT - RIGHT)

    lines = []
    for name, places, means in found:
        path = "L".join(f"{across(i + 1):.1f} {up(mean):.1f}" for i, mean in zip(places, means, strict=True))
        lines.append(Line(name, colours[name], f"M{path}" + ("h0" if len(places) == 1 else "")))
    x_ticks = [Tick(round(across(x), 1), f"{x:,g}") for x in xs if 1 <= x <= last]
    return Picture(stage, "step", x_ticks, [Tick(round(up(y), 1), f"{y:g}") for y in ys], lines=lines)


def _each(stage: Trained) -> str:
    return " to ".join(f"{steps:,}" for steps in sorted({min(stage.steps), max(stage.steps)}))
