"""What benchmarks have written can be read by anyone: the fields are there and the ratios follow from the figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

RESULTS = sorted((Path(__file__).parents[1] / "benchmarks" / "results").glob("*.json"))
FIELDS = {"name", "ours", "peer", "peer_name", "ratio", "unit", "machine"}
SMALL_IS_GOOD = ("loss", "MB", "MFLOP", "seconds")


def test_every_benchmark_has_its_result() -> None:
    assert {"generation", "training_step"} <= {path.stem for path in RESULTS}


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_ratio_above_one_means_ours_is_better(path: Path) -> None:
    rows = json.loads(path.read_text(encoding="utf-8"))
    assert rows
    assert len({row["name"] for row in rows}) == len(rows)
    for row in rows:
        assert row.keys() == FIELDS
        better = row["peer"] / row["ours"] if row["unit"] in SMALL_IS_GOOD else row["ours"] / row["peer"]
        assert row["ratio"] == pytest.approx(better, abs=1e-3)
        assert "torch" in row["machine"]
        assert "/" not in row["machine"]
