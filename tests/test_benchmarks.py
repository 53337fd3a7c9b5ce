"""What benchmarks have written can be read by anyone: the fields are there and the ratios follow from the figures."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
OURS_ALONE = {"communication", "growth", "split"}  # nobody beside whom to be measured
SCORES = {"experts", "speech"}  # how often a model is right, and no rates
RESULTS = sorted(path for path in (FOLDER / "results").glob("*.json") if path.stem not in OURS_ALONE | SCORES)
FIELDS = {"name", "ours", "peer", "peer_name", "ratio", "unit", "machine"}
SMALL_IS_GOOD = ("loss", "MB", "MFLOP", "seconds")


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a file of the benchmarks, and forgets it and its neighbours afterwards."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if (FOLDER / f"{name}.py").exists():
            del sys.modules[name]


def test_every_benchmark_has_its_result() -> None:
    assert {"engine", "generation", "training_step"} <= {path.stem for path in RESULTS}
    assert all((FOLDER / "results" / f"{name}.json").exists() for name in OURS_ALONE | SCORES)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_ratio_above_one_means_ours_is_better(path: Path) -> None:
    rows = json.loads(path.read_text(encoding="utf-8"))
    assert rows
    assert len({row["name"] for row in rows}) == len(rows)
    for row in rows:
        assert row.keys() - {"how"} == FIELDS
        better = row["peer"] / row["ours"] if row["unit"] in SMALL_IS_GOOD else row["ours"] / row["peer"]
        assert row["ratio"] == pytest.approx(better, abs=1e-3)
        assert "torch" in row["machine"]
        assert "/" not in row["machine"]


def test_every_benchmark_is_of_a_known_form() -> None:
    """One that writes rows of another form than these tests read would fail only once it has been run."""
    others = {path.stem for path in FOLDER.glob("[!_]*.py")} - {path.stem for path in RESULTS}
    assert others == OURS_ALONE | SCORES


def test_the_plot_is_of_the_result(benchmark: Any) -> None:
    plot = benchmark("_plot")
    drawn = (FOLDER.parent / "docs" / "performance.svg").read_text(encoding="utf-8")
    assert plot.svg(json.loads((FOLDER / "results" / "growth.json").read_text(encoding="utf-8"))) == drawn, (
        "python benchmarks/_plot.py"
    )


def test_needed_arithmetic_is_what_the_counter_counts(benchmark: Any) -> None:
    """Against torch's own count of a step of a tiny LLM, whose attention counts every pair, seen or not."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from isthmus.train.cost import _product

    growth = benchmark("growth")
    growth.SIZES, growth.WORDS = {"135M": (32, 64, 2, 4, 2)}, 100
    case = growth.Case("length", text=24, batch=1, soft=0)
    run, work, tokens = growth.step(case)
    known = {torch.ops.aten.addmm_: _product}
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, custom_mapping=known) as counter:
        run()
    attention = 2 * 12 * 32 * (tokens**2 - tokens * (tokens + 1) / 2)  # layers, width, the pairs that are masked
    first = 2 * tokens * (32 * (32 + 16 + 16) + 3 * growth.RANK * 32)  # to the first layer's input, which is text
    assert counter.get_total_flops() == work + attention - first
