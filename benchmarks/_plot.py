"""The picture in docs/performance.md of how cost grows, from benchmarks/results/growth.json.

python benchmarks/_plot.py      writes docs/performance.svg
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _common import RESULTS
from growth import MILLIONS

SVG = RESULTS.parents[1] / "docs" / "performance.svg"
SWEEPS = {  # sweep -> what lies along x, and how a case's place there is written
    "length": ("tokens of a sample", lambda row: row["text"] + row["soft"]),
    "batch": ("samples of 144 tokens", lambda row: row["batch"]),
    "soft tokens": ("soft tokens a picture", lambda row: row["soft"]),
    "LLM size": ("parameters, millions", lambda row: MILLIONS[row["size"]]),
}
ROWS = {"CPU seconds": "CPU seconds of a step", "MB": "peak memory, GB"}
WIDTH, HEIGHT, LEFT, TOP, GAP = 168, 120, 62, 58, 48
STYLE = """
  .card { fill: #ffffff; stroke: #d5d9e0 }
  text { font-family: system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; font-size: 12px }
  text { fill: #1d2430 }
  .title { font-size: 13.5px; font-weight: 600 } .mid { text-anchor: middle } .end { text-anchor: end }
  .soft { fill: #4c5768 } .axis { stroke: #8a94a5; fill: none } .line { fill: none; stroke: #2f6db5; stroke-width: 2 }
  .dot { fill: #2f6db5 }
  @media (prefers-color-scheme: dark) {
    .card { fill: #151a22; stroke: #39424f } text { fill: #e6eaf0 } .soft { fill: #aab4c3 }
    .axis { stroke: #7d8899 } .line { stroke: #6d9fdb } .dot { fill: #6d9fdb }
  }
"""


def svg(rows: Sequence[dict[str, Any]]) -> str:
    """The whole picture: a column for each sweep, time above and memory below; both axes begin at zero."""
    width, height = LEFT + len(SWEEPS) * (WIDTH + GAP) - 20, TOP + len(ROWS) * (HEIGHT + 76) + 4
    title, about = (
        "How a training step's cost grows",
        "Time and memory of a step against length, batch, soft tokens, size",
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' role="img" aria-labelledby="t d">\n<title id="t">{title}</title>\n<desc id="d">{about}.</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="card" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="12"/>',
    ]
    cpu = [row for row in rows if row["device"] == "cpu"]
    for column, (sweep, (along, place)) in enumerate(SWEEPS.items()):
        points = sorted((place(row), row) for row in cpu if row["sweep"] == sweep)
        for line, (field, what) in enumerate(ROWS.items()):
            x, y = LEFT + column * (WIDTH + GAP), TOP + line * (HEIGHT + 76)
            scale = 1024 if field == "MB" else 1
            parts += _panel(x, y, [(at, row[field] / scale) for at, row in points])
            parts.append(f'<text class="soft mid" x="{x + WIDTH / 2:g}" y="{y + HEIGHT + 32}">{along}</text>')
            if column == 0:
                parts.append(f'<text class="title" x="18" y="{y - 16}">{what}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(x: float, y: float, points: Sequence[tuple[float, float]]) -> list[str]:
    """Axes, the line through the points, and the figures at both axes' ends."""
    right, top = max(at for at, _ in points), 1.1 * max(value for _, value in points)
    spots = [(x + WIDTH * at / right, y + HEIGHT * (1 - value / top)) for at, value in points]
    path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in spots)
    drawn = [f'<path class="axis" d="M{x} {y}V{y + HEIGHT}H{x + WIDTH}"/>', f'<path class="line" d="{path}"/>']
    drawn += [f'<circle class="dot" cx="{a:.1f}" cy="{b:.1f}" r="3.2"/>' for a, b in spots]
    last = -100.0
    for (at, _), (a, _) in zip(points, spots, strict=True):
        if a - last > 26:  # figures that would lie on one another are left out
            drawn.append(f'<text class="mid" x="{a:.1f}" y="{y + HEIGHT + 16}">{at:g}</text>')
            last = a
    low, high = points[0][1], max(value for _, value in points)
    for value in (high, low) if (high - low) / top > 0.12 else (high,):
        drawn.append(f'<text class="end" x="{x - 6}" y="{y + HEIGHT * (1 - value / top) + 4:.1f}">{value:.3g}</text>')
    return drawn


def main() -> None:
    """Draw it."""
    rows = json.loads((RESULTS / "growth.json").read_text(encoding="utf-8"))
    Path(SVG).write_text(svg(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
