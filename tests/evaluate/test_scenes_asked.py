"""Isthmus's own scenes as a benchmark, clean and made worse: the same each time, and no files are needed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from benchmark_folders import put

from isthmus.errors import BadData
from isthmus.evaluate.benchmarks import asking, scenes, score
from isthmus.evaluate.benchmarks._corrupted import KINDS, Corrupted
from isthmus.evaluate.questions import place
from isthmus.media import load
from isthmus.types import Image


def test_scenes_are_the_same_each_time_and_lenient_mode_reads_sentences(tmp_path: Path) -> None:
    module = asking("scenes")
    questions = module.questions(tmp_path)
    assert [own.row for own in questions] == [own.row for own in module.questions(tmp_path)]
    assert len({own.image for own in questions}) == 120
    rows = [next(own.row for own in questions if own.row["kind"] == kind) for kind in ("background", "yes/no", "count")]
    said = [f"The ground is {rows[0]['truth']}.", f"{rows[1]['truth']}, I think", "Many"]
    lines = (json.dumps(row | {"prediction": text}) + "\n" for row, text in zip(rows, said, strict=True))
    put(tmp_path / "p.jsonl", "".join(lines))
    assert score("scenes", tmp_path / "p.jsonl").metrics["accuracy"].value == 0
    lenient = score("scenes", tmp_path / "p.jsonl", mode="lenient")
    assert (lenient.metrics["accuracy"].value, list(lenient.unscored)) == (1, [rows[2]["id"]])


@pytest.mark.parametrize("kind", KINDS)
def test_corruptions_grow_with_their_severity_and_are_the_same_each_time(kind: str) -> None:
    (image,) = scenes.samples("layouts", 1)[0].media
    assert isinstance(image, Image)
    clean = np.asarray(load(image), float)
    shown = [np.asarray(load(Image(Corrupted(image, kind, severity))), float) for severity in (1, 3, 5)]
    assert (shown[0] == np.asarray(load(Image(Corrupted(image, kind, 1))))).all()
    assert {own.shape for own in shown} == {clean.shape}
    changes = [np.abs(own - clean).mean() for own in shown]
    assert 0 < changes[0] < changes[1] < changes[2]


def test_what_is_left_of_accuracy_is_of_the_same_questions(tmp_path: Path) -> None:
    ways = [("clean", 0, "yes", "yes"), ("fog", 1, "yes", "yes"), ("fog", 5, "yes", "no")]
    rows = [
        {
            "id": f"{kind}/{severity}/{name}",
            "question_of": name,
            "sample": name,
            "corruption": kind,
            "severity": severity,
        }
        | {"kind": "yes/no", "truth": truth, "prediction": said}
        for name in ("0/1", "1/1")
        for kind, severity, truth, said in ways
    ]
    rows.append(rows[0] | {"id": "clean/2/1", "question_of": "2/1", "prediction": "no"})
    put(tmp_path / "p.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    found = score("corruptions", tmp_path / "p.jsonl")
    values = {name: figure.value for name, figure in found.metrics.items()}
    assert values == {
        "clean/accuracy": pytest.approx(2 / 3), "corrupted/accuracy": 0.5, "relative_accuracy": 0.5,
        "fog/accuracy": 0.5, "fog_1/accuracy": 1, "fog_5/accuracy": 0,
    }  # fmt: skip
    assert found.notes == ["1 questions were not answered in every way and are not in relative_accuracy"]
    put(tmp_path / "q.jsonl", json.dumps(rows[1] | {"severity": "much"}))
    with pytest.raises(BadData, match="row 1: the severity is a whole number, not 'much'"):
        score("corruptions", tmp_path / "q.jsonl")


def test_scenes_need_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ISTHMUS_BENCHMARKS", raising=False)
    assert place("scenes") == place("corruptions", "hub") == Path()
    with pytest.raises(BadData, match="Put its files there"):
        place("rsvqa", "nowhere")
