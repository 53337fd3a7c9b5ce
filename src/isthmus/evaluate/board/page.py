"""The leaderboard as one HTML file that needs nothing else: table, plots, and a browser of samples with their media.

Whatever a model or a dataset wrote is escaped, or put into the page by its script as text alone; the page's own policy
(CSP) lets it load nothing, and run that script only. All geometry is worked out here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from isthmus.evaluate.board import Column, Run, enough, less_is_better, mode
from isthmus.evaluate.board.text import legend, notes, signs
from isthmus.evaluate.metrics.calibration import ece
from isthmus.evaluate.report import page
from isthmus.evaluate.told import number

ROOM = 48 * 2**20  # bytes of media in the page
LINES = 50_000  # samples in the page
BINS = 10  # of a reliability diagram
SIDE, RADIUS, ROUND = 340, 110, 170  # of the radar: its picture, its largest circle, its middle
BOX, EDGE = 220, 30  # of a reliability diagram: its sides, its margin
KINDS = {".png": "image/png", ".jpg": "image/jpeg", ".gif": "image/gif", ".wav": "audio/wav"}


@dataclass(frozen=True)
class Axis:
    """A benchmark in a radar: where its name stands."""

    name: str
    x: float
    y: float
    end_x: float
    end_y: float
    anchor: str


@dataclass(frozen=True)
class Bar:
    """A figure of a part with its interval, in percent of the plot's width, and as text."""

    model: int
    value: float
    low: float
    high: float
    told: str


def html(some: Sequence[Run], columns: Sequence[Column], media: bool = True) -> bytes:
    """The page; without `media`, pictures and sounds are left out."""
    held, left_out = _samples(some, media)
    script = (Path(__file__).parent / "board.js").read_text(encoding="utf-8")
    data = json.dumps(held, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    return page(
        "board.html.j2",
        title="Leaderboard" if len(some) > 1 else some[0].model,
        models=[run.model for run in some],
        columns=columns,
        number=number,
        signs=signs,
        nan=math.isnan,
        legend=legend(),
        notes=notes(some, columns),
        axes=_axes(_round(columns)),
        radar=_radar(columns, len(some)),
        no_radar=len(columns) >= 3 and len(_round(columns)) < 3,
        calibrations=list(_calibrations(some)),
        parts=list(_parts(some, columns)),
        data=Markup(data),  # JSON in which no tag can begin
        script=Markup(script),
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        left_out=left_out,
        count=len(held["rows"]),
        box=BOX,
        edge=EDGE,
        side=SIDE,
        middle=ROUND,
        radius=RADIUS,
    )


def _round(columns: Sequence[Column]) -> list[Column]:
    """The columns that a radar can hold: shares, of which more is better, that all models have."""
    return [
        own
        for own in columns
        if not less_is_better(own.metric)  # and a small score out of 100 has an interval that is wider
        and all(0 <= cell.value <= 1 and not cell.high > 1 for cell in own.cells)
    ]


def _axes(columns: Sequence[Column]) -> list[Axis]:
    if len(columns) < 3:
        return []
    found = []
    for i, own in enumerate(columns):
        x, y = _at(i, len(columns), 1.0)
        out_x, out_y = _at(i, len(columns), 1.12)
        anchor = "middle" if abs(x - ROUND) < 1 else "start" if x > ROUND else "end"
        found.append(Axis(own.benchmark, round(out_x, 1), round(out_y + 4, 1), round(x, 1), round(y, 1), anchor))
    return found


def _at(place: int, count: int, share: float) -> tuple[float, float]:
    angle = 2 * math.pi * place / count - math.pi / 2
    return ROUND + RADIUS * share * math.cos(angle), ROUND + RADIUS * share * math.sin(angle)


def _radar(columns: Sequence[Column], models: int) -> list[str]:
    """Of each model the corners of its line; none where fewer than three benchmarks can be shown."""
    shown = _round(columns)
    if len(shown) < 3:
        return []
    return [
        " ".join("{:.1f},{:.1f}".format(*_at(i, len(shown), own.cells[m].value)) for i, own in enumerate(shown))
        for m in range(models)
    ]


def _calibrations(some: Sequence[Run]) -> Iterator[dict[str, Any]]:
    """Of each model and benchmark with confidences: how often what it was so sure of was right."""
    for number_, run in enumerate(some):
        for name, lines in run.samples.items():
            rows = [(row["confidence"], row["score"]) for row in lines.values() if "confidence" in row]
            rows = [(sure, hit) for sure, hit in rows if hit in (0, 1)]
            if len(rows) < BINS:
                continue
            dots = []
            for low in range(BINS):
                own = [(sure, hit) for sure, hit in rows if max(math.ceil(sure * BINS) - 1, 0) == low]  # as in `ece`
                if own:
                    sure, right = (sum(side) / len(own) for side in zip(*own, strict=True))
                    dots.append((round(EDGE + BOX * sure, 1), round(BOX * (1 - right) + 10, 1), len(own), sure, right))
            error = ece([sure for sure, _ in rows], [hit for _, hit in rows], BINS)
            yield {"model": number_, "name": run.model, "benchmark": name, "dots": dots, "ece": error, "n": len(rows)}


def _parts(some: Sequence[Run], columns: Sequence[Column]) -> Iterator[tuple[str, str, list[tuple[str, list[Bar]]]]]:
    """Of each benchmark with parts: each part with the models' bars."""
    for column in columns:
        figures: dict[str, list[Bar]] = {}
        held = [
            (m, own["metrics"])
            for m, run in enumerate(some)
            if (own := run.benchmarks.get(column.benchmark))
            and mode(own) == column.mode
            and enough(run, column.benchmark)
        ]
        for m, metrics in held:
            for name, own in metrics.items():
                part, cut, metric = name.rpartition("/")
                if cut and metric == column.metric and own["value"] is not None:
                    figures.setdefault(part, []).append(_bar(m, own))
        most = max((bar.high for bars in figures.values() for bar in bars), default=0)
        scale = 100 / (1.0 if most <= 1 else most) if most else 0
        rows = [
            (part, [Bar(bar.model, bar.value * scale, bar.low * scale, bar.high * scale, bar.told) for bar in bars])
            for part, bars in figures.items()
        ]
        if rows:
            yield column.benchmark, column.head, rows


def _bar(model: int, own: dict[str, Any]) -> Bar:
    value = float(own["value"])
    low, high = (value if own[end] is None else float(own[end]) for end in ("low", "high"))
    told = f"{number(value)} [{number(low)}, {number(high)}], n = {own['n']:,}"
    return Bar(model, max(value, 0.0), max(low, 0.0), max(high, 0.0), told)


def _samples(some: Sequence[Run], media: bool) -> tuple[dict[str, Any], str]:
    """What the page's script shows: questions, each with all models' answers, and media once each; what is left out."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    files: dict[Path, int] = {}
    held: list[list[str]] = []
    room, without = ROOM, 0
    for m, run in enumerate(some):
        for name, lines in run.samples.items():
            for key, line in lines.items():
                own = rows.get((name, key))
                if own is None:
                    own = {
                        "b": name,
                        "i": key,
                        "q": line["prompt"],
                        "t": line["truth"],
                        "p": line["parts"],
                        "m": [],
                        "a": [],
                    }
                    rows[name, key] = own
                    for medium in line["media"] if len(rows) <= LINES and media else ():
                        inside = run.places.get(name, run.folder) / name
                        place = inside / medium["file"] if "file" in medium else None
                        if (
                            place is None
                            or inside.resolve() not in place.resolve().parents
                            or place.suffix not in KINDS
                            or not place.is_file()
                        ):
                            own["m"].append([medium["kind"], -1])
                            continue
                        if place not in files and place.stat().st_size <= room:
                            room -= place.stat().st_size
                            files[place] = len(held)
                            held.append([KINDS[place.suffix], base64.b64encode(place.read_bytes()).decode()])
                        without += place not in files
                        own["m"].append([medium["kind"], files.get(place, -1)])
                own["a"].append([m, line["answer"], line["score"], line.get("unscored", "")])
    told = []
    if len(rows) > LINES:
        told.append(f"{len(rows) - LINES:,} of {len(rows):,} samples are left out of this page")
    if without:
        told.append(f"{without:,} media are left out: those in this page are {ROOM // 2**20} MB at most")
    whole = {"models": [run.model for run in some], "media": held, "rows": [*rows.values()][:LINES]}
    return whole, "; ".join(told)
