"""What our training step spends its time on, by kind of operation: one step of `engine.py`'s mix of lengths.

    python benchmarks/split.py [--threads N]      writes benchmarks/results/split.json

CPU seconds of each operation itself, by torch's profiler, over a few steps after the first. The profiler adds a few
microseconds to each of some ten thousand operations, so what is many and small looks larger than it is.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter

import torch
from _common import RESULTS, machine
from engine import WORK, Side
from torch.profiler import ProfilerActivity, profile

STEPS = 4
KINDS = {  # the first that an operation's name contains
    "attention": ("scaled_dot_product",),
    "matrix products": ("::mm", "addmm", "bmm", "::linear", "::matmul"),
    "softmax and the rest of the loss": ("softmax", "::max", "gather", "logsumexp", "nll_loss"),
    "optimizer": ("fused_adamw", "foreach", "linalg_vector_norm", "Optimizer"),
    "elementwise": (
        "::mul", "::add", "::sub", "silu", "::pow", "::mean", "rsqrt", "::neg", "::sum", "::div", "::cos", "::sin",
        "gelu", "rms_norm",
    ),
    "copies and filling": ("copy_", "::cat", "fill_", "::zero", "masked", "index", "clone", "contiguous", "split"),
}  # fmt: skip


def kind(operation: str) -> str:
    """Which kind of operation this is."""
    return next((name for name, parts in KINDS.items() if any(p in operation for p in parts)), "dispatch, views, rest")


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--operations", action="store_true", help="print torch's own table as well")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    side = Side("ours", WORK["lengths, random order"])
    side.run.model.train()
    rng = random.Random(0)

    def step(number: int) -> None:
        index = {sample.id: i for i, sample in enumerate(side.samples)}
        batch = side.mixture.batch([index[sample.id] for sample in side.plan[number]], rng)
        side.goal(*batch)[0].backward()

    step(0)
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for number in range(1, 1 + STEPS):
            step(number)
    spent: Counter[str] = Counter()
    for event in found.key_averages():
        spent[kind(event.key)] += event.self_cpu_time_total
    total = sum(spent.values())
    shares = {name: round(value / total, 4) for name, value in spent.most_common()}
    if options.operations:
        print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=40), file=sys.stderr)
    what = {"shares of a step's CPU time": shares, "steps": STEPS, "samples": STEPS * side.work.batch}
    RESULTS.joinpath("split.json").write_text(json.dumps(what | {"machine": machine()}, indent=1) + "\n", "utf-8")
    print(json.dumps(what, indent=1))


if __name__ == "__main__":
    main()
