"""The tables of docs/performance.md, from the results: `python benchmarks/_tables.py` prints them."""

from __future__ import annotations

import json
from typing import Any

from _common import RESULTS


def read(name: str) -> list[dict[str, Any]]:
    """A result's rows."""
    return list(json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")))


def engine() -> str:
    """Ours beside both peers, by workload."""
    lines = ["| workload | | ours | `Trainer` | `SFTTrainer` | ours / the faster peer |", "|---|---|---|---|---|---|"]
    found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in read("engine"):
        workload, _, what = row["name"].partition(": ")
        found.setdefault((workload, what.partition(", beside")[0]), {})[row["peer_name"]] = row
    for (workload, what), peers in found.items():
        ours, ratio = peers["Trainer"]["ours"], min(row["ratio"] for row in peers.values())
        figures = [f"{value:,.4g}" for value in (ours, peers["Trainer"]["peer"], peers["SFTTrainer"]["peer"])]
        lines.append(f"| {workload} | {what} | {' | '.join(figures)} | {ratio:.2f} |")
    return "\n".join(lines)


def growth() -> str:
    """What each case took."""
    lines = [
        "| LLM | samples | tokens of a sample, soft among them | CPU s | tokens/CPU s | MFU | peak memory, MB |"
        " above weights |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in read("growth"):
        tokens, seconds = row["tokens"], row["CPU seconds"] if row["device"] == "cpu" else row["seconds"]
        above = "-" if row["MB above weights"] is None else f"{row['MB above weights']:,}"
        lines.append(
            f"| {row['size']} | {row['batch']} | {tokens // row['batch']}, {row['soft']} | {seconds:.2f} |"
            f" {tokens / seconds:.0f} | {row['MFU']:.2f} | {row['MB']:,} | {above} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(engine(), growth(), sep="\n\n")
