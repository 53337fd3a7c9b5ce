"""Reports: the best is bold, others are tested in pairs, nothing that was written by others can act in the page."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import itertools
import json
import math
import random
import re
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from typer.testing import CliRunner

from isthmus import cli
from isthmus.errors import BadData
from isthmus.evaluate import board
from isthmus.evaluate.board import page as board_page
from isthmus.evaluate.board import text as board_text

NASTY = '</script><script>alert(1)</script><img src=x onerror=alert(2)> & "quoted"'


def run(folder: Path, model: str, scores: list[float | None], benchmark: str = "pope", **more: Any) -> Path:
    """A run's folder with a line for each score, as `isthmus eval` writes it."""
    place = folder / benchmark
    (place / "media").mkdir(parents=True)
    PIL.Image.new("RGB", (8, 8), "red").save(place / "media" / "a.png")
    lines = []
    for i, score in enumerate(scores):
        line = {"id": str(i), "prompt": f"Question {i}?", "answer": None if score is None else "yes", "truth": "yes"}
        line |= {"score": score, "parts": ["odd" if i % 2 else "even"], "image": str(i), "media": []}
        line["media"] = [{"kind": "image", "file": "media/a.png"}] if i == 0 else []
        line |= {"unscored": "broken"} if score is None else {}
        lines.append(line | {key: value(i) for key, value in more.items()})
    (place / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    scored = [score for score in scores if score is not None]
    value = sum(scored) / len(scored) if scored else None
    figure = {"value": value, "low": 0.1, "high": 0.9, "n": len(scored)}
    missing = len(scores) - len(scored)
    metrics = {"accuracy": figure, "odd/accuracy": figure, "even/accuracy": figure} if scored else {}
    held = {"benchmark": benchmark, "mode": "official", "metrics": metrics, "headline": "accuracy", "notes": []}
    held["unscored"] = {"count": missing, "reasons": {"broken": missing} if missing else {}}
    whole = {"model": model, "benchmarks": {benchmark: held}}
    if (folder / "results.json").exists():
        whole["benchmarks"] = json.loads((folder / "results.json").read_text())["benchmarks"] | whole["benchmarks"]
    (folder / "results.json").write_text(json.dumps(whole))
    return folder


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """A good model, one that is clearly worse, and one of which a third is unscored."""
    good = run(tmp_path / "a", "good", [1.0] * 27 + [0.0] * 3)
    poor = run(tmp_path / "b", "poor", [1.0] * 10 + [0.0] * 20)
    half = run(tmp_path / "c", "half", [1.0] * 17 + [0.0] * 3 + [None] * 10)
    return [good, poor, half]


def test_the_best_is_bold_and_the_others_are_tested_against_it(three: list[Path]) -> None:
    some = board.runs(three)
    (column,) = board.columns(some)
    assert [cell.best for cell in column.cells] == [True, False, False]
    poor, half = column.cells[1].pair, column.cells[2].pair
    assert poor is not None
    assert half is not None
    assert (poor.test, poor.n, half.n) == ("McNemar, exact", 30, 20)
    assert poor.p == pytest.approx(2 * 2 * 0.5**17), "17 pairs, all one way, two-sided, of two tests"
    assert half.p == pytest.approx(2 * 0.5**3)
    told = board_text.markdown(some, [column])
    assert "| good | **0.9000** [0.1000, 0.9000] |" in told
    assert "| poor | 0.3333‡ [" in told
    assert "| half | 0.8500† [" in told, "of a third there is no score"


def test_questions_about_one_picture_are_turned_together() -> None:
    rng = random.Random(0)

    def rows(scores: list[float]) -> dict[str, Any]:
        return {str(i): {"score": score, "image": str(i // 4)} for i, score in enumerate(scores)}

    a, b = ([float(rng.random() < share) for _ in range(40)] for share in (0.8, 0.5))
    found = board.paired(rows(a), rows(b))
    assert found.test == "permutation of pairs that share a medium"
    sums = [sum(a[i + j] - b[i + j] for j in range(4)) for i in range(0, 40, 4)]
    every = [
        abs(sum(s * own for s, own in zip(turn, sums, strict=True))) for turn in itertools.product((1, -1), repeat=10)
    ]
    assert found.p == pytest.approx(sum(own >= abs(sum(sums)) for own in every) / len(every))
    assert board.paired(rows(a), rows(a)).p == 1
    assert math.isnan(board.paired(rows(a), {}).p)


def test_less_is_better_for_errors(tmp_path: Path) -> None:
    paths = [run(tmp_path / name, name, [1.0, 0.0], "librispeech") for name in ("a", "b")]
    for path, value in zip(paths, (0.3, 0.1), strict=True):
        held = json.loads((path / "results.json").read_text())
        own = held["benchmarks"]["librispeech"]
        own["metrics"] = {"wer": {"value": value, "low": 0, "high": 1, "n": 2}}
        own["headline"] = "wer"
        (path / "results.json").write_text(json.dumps(held))
    (column,) = board.columns(board.runs(paths))
    assert [cell.best for cell in column.cells] == [False, True]


def test_too_little_judged_is_no_headline(tmp_path: Path) -> None:
    path = run(tmp_path / "a", "a", [1.0] * 8 + [None] * 2, "mm-vet")
    ((cell,),) = [column.cells for column in board.columns(board.runs([path]))]
    assert math.isnan(cell.value)
    assert cell.why == "only 80% judged"
    (row, *_) = csv.DictReader(io.StringIO(board_text.table(board.runs([path]))))
    assert (row["value"], row["n"], row["unscored"]) == ("", "8", "2")
    assert not [*board_page._parts(board.runs([path]), board.columns(board.runs([path])))]


def test_the_page_holds_all_and_nothing_in_it_can_act(three: list[Path], tmp_path: Path) -> None:
    nasty = run(
        tmp_path / "d", NASTY, [1.0] * 30, prompt=lambda i: NASTY, answer=lambda i: NASTY, confidence=lambda i: 0.9
    )
    for name in ("mme", "scenes"):
        for path in [*three, nasty]:
            run(path, path.name, [1.0] * 5, name)
    some = board.runs([*three, nasty])
    page = board_page.html(some, board.columns(some)).decode()
    assert page.count("<script") == 2
    assert "<img" not in page.replace("createElement", "")
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    held = json.loads(data)
    assert len(held["rows"]) == 40
    assert len(held["rows"][0]["a"]) == 4
    assert held["rows"][0]["a"][3][1] == NASTY
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "innerHTML" not in script
    assert page.count("<polygon") == 4, "three benchmarks that all have"
    assert "expected calibration error 0.100" in page, "0.9 sure, always right"
    assert "http:" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert len({own[1] for own in held["media"]}) == 1


def test_what_does_not_fit_into_the_table_is_told_below_it(three: list[Path]) -> None:
    some = board.runs(three)
    columns = board.columns(some)
    (line,) = board_text.notes(some, columns)
    start = "pope, official (the models' figures are of different samples): good: n = 30; poor: n = 30, p = "
    assert line.startswith(start)
    assert line.endswith("half: n = 20, 10 unscored, p = 0.25 (McNemar, exact, on 20 samples)")
    assert f"- {line}\n" in board_text.markdown(some, columns)
    assert f"{board_text.escaped(line)}\\par\n" in board_text.latex(some, columns)
    assert line.replace("'", "&#39;") in board_page.html(some, columns).decode()
    (even,) = board_text.notes(some[:2], board.columns(some[:2]))
    assert even.startswith("pope, official: n = 30; poor: p = ")


def told(folder: Path, **more: Any) -> Path:
    """Change what a run's results tell of its only benchmark."""
    held = json.loads((folder / "results.json").read_text())
    for own in held["benchmarks"].values():
        own |= more
    (folder / "results.json").write_text(json.dumps(held))
    return folder


def test_other_ways_of_asking_are_other_columns(tmp_path: Path) -> None:
    plain, once = run(tmp_path / "a", "a", [1.0] * 20), run(tmp_path / "b", "b", [0.0] * 20)
    told(plain, asked={"way": "generate", "circular": False, "limit": None})
    told(once, asked={"way": "likelihood", "circular": True, "limit": None})
    columns = board.columns(board.runs([plain, once]))
    assert [own.mode for own in columns] == ["official", "official, circular, likelihood"]
    assert not any(cell.best or cell.pair for own in columns for cell in own.cells)
    some = board.runs([plain, once])
    assert "| model | pope (accuracy) | pope (accuracy, circular, likelihood) |" in board_text.markdown(some, columns)
    rows = [*csv.DictReader(io.StringIO(board_text.table(some)))]
    assert {(row["model"], row["mode"]) for row in rows} == {("a", "official"), ("b", "official, circular, likelihood")}
    bars = [(head, [bar.model for _, own in rows for bar in own]) for _, head, rows in board_page._parts(some, columns)]
    assert bars == [("accuracy", [0, 0]), ("accuracy, circular, likelihood", [1, 1])]


def test_one_model_s_runs_of_different_benchmarks_are_one_row(tmp_path: Path) -> None:
    paths = [run(tmp_path / name, "a", [1.0, 0.0], name) for name in ("pope", "mme", "gqa")]
    told(paths[2], asked={"sha256": "of another checkpoint"})
    some = board.runs([*paths, run(tmp_path / "again", "a", [1.0], "pope")])
    assert [(one.model, [*one.benchmarks]) for one in some] == [
        ("a (pope)", ["pope", "mme"]),
        ("a (gqa)", ["gqa"]),
        ("a (again)", ["pope"]),
    ]
    page = board_page.html(some, board.columns(some)).decode()
    (data,) = re.findall(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert next(row["m"] for row in json.loads(data)["rows"] if row["b"] == "mme") == [["image", 1]], "its own folder's"
    assert "No radar" in page


def test_what_nobody_judged_withholds_no_figure_that_needs_no_judge(tmp_path: Path) -> None:
    path = run(tmp_path / "a", "a", [1.0, 0.0, None], "air-bench")
    (column,) = board.columns(board.runs([path]))
    assert (column.cells[0].value, board_text.signs(column.cells[0])) == (0.5, "†")
    silent = run(tmp_path / "b", "b", [None, None], "mm-vet")
    (row,) = csv.DictReader(io.StringIO(board_text.table(board.runs([silent]))))
    assert (row["benchmark"], row["metric"], row["value"], row["unscored"]) == ("mm-vet", "", "", "2")


def test_a_lucky_few_are_not_the_best(tmp_path: Path) -> None:
    whole, few = run(tmp_path / "a", "whole", [1.0] * 15 + [0.0] * 5), run(tmp_path / "b", "few", [1.0])
    told(few, asked={"limit": 1}, notes=["only one"])
    some = board.runs([whole, few])
    (column,) = board.columns(some)
    assert [(cell.best, cell.part, board_text.signs(cell)) for cell in column.cells] == [
        (True, False, ""),
        (False, True, "§"),
    ]
    assert "few: n = 1, p = 1 (McNemar, exact, on 1 samples), note: only one" in board_text.markdown(some, [column])


def test_who_is_ahead_on_what_both_were_asked_is_not_behind(tmp_path: Path) -> None:
    whole = run(tmp_path / "a", "whole", [0.0] * 20 + [1.0] * 60)
    few = told(run(tmp_path / "b", "few", [1.0] * 12 + [0.0] * 8), asked={"limit": 20, "of": 80})
    some = board.runs([whole, few])
    (column,) = board.columns(some)
    assert (column.cells[0].best, board_text.signs(column.cells[1])) == (True, "§")
    assert column.cells[1].pair is not None
    assert column.cells[1].pair.p < 0.05
    assert "ahead there" in board_text.markdown(some, [column])
    alone = board.columns(board.runs([few]))[0].cells[0]
    assert alone.part, "of 80 questions 20 were asked, whoever stands beside it"


def test_what_did_not_come_to_an_end_is_told(tmp_path: Path) -> None:
    good, bad = run(tmp_path / "a", "a", [1.0]), run(tmp_path / "b", "b", [1.0], "mme")
    for name in ("pope", "vqav2"):
        (bad / name / "shards").mkdir(parents=True)
    line = {"id": "1", "answer": None, "failed": "status 500"}
    (bad / "pope" / "shards" / "00000.jsonl").write_text(json.dumps(line) + "\n")
    pope, _, vqa = board.columns(board.runs([good, bad]))
    assert pope.cells[1].why == "not finished: 1 of 1 failed, status 500"
    assert (vqa.benchmark, vqa.cells[0].why, vqa.cells[1].why) == ("vqav2", "not asked", "not finished")


def test_csv_and_latex_are_safe_to_open(three: list[Path], tmp_path: Path) -> None:
    some = board.runs([run(tmp_path / "e", "=cmd|'/c calc'!A1", [1.0]), *three])
    rows = list(csv.DictReader(io.StringIO(board_text.table(some))))
    assert rows[0]["model"] == "'=cmd|'/c calc'!A1"
    assert {row["metric"] for row in rows} == {"accuracy", "odd/accuracy", "even/accuracy"}
    assert rows[-1]["unscored"] == "10"
    told = board_text.latex(
        board.runs([run(tmp_path / "f", "50%_a&b", [1.0])]), board.columns(board.runs([tmp_path / "f"]))
    )
    assert r"50\%\_a\&b & 1.0000" in told, "alone, it is not the best of any"


def test_a_leaderboard_makes_no_false_claim(tmp_path: Path) -> None:
    other = run(tmp_path / "a", "a", [1.0] * 20), run(tmp_path / "b", "b", [0.0] * 20, prompt=lambda i: f"Another {i}?")
    (column,) = board.columns(board.runs(other))
    pair = column.cells[1].pair
    assert pair is not None
    assert (pair.n, math.isnan(pair.p)) == (0, True), "the ids are the same, the questions are not"
    held = json.loads((tmp_path / "b" / "results.json").read_text())
    held["benchmarks"]["pope"]["mode"] = "lenient"
    (tmp_path / "b" / "results.json").write_text(json.dumps(held))
    both = board.columns(board.runs(other))
    assert [(own.mode, own.cells[1].why) for own in both] == [("official", "not asked"), ("lenient", "")]
    assert board.less_is_better("wikitext/word_perplexity,none")
    cells = [board.Cell(0.5, 0.4, 0.6, 9)]
    assert board_page._round([board.Column("pope", "accuracy", "", cells)]) != []
    assert board_page._round([board.Column("librispeech", "wer", "", cells)]) == []


def test_nothing_in_a_run_breaks_the_page(tmp_path: Path) -> None:
    text = "@SCRIPT@ @DATA@ {{ script }} \ud800 </script>"
    (tmp_path / "secret.png").write_bytes(b"secret")
    media = [{"kind": "image", "file": "../../../secret.png"}]
    path = run(tmp_path / "a" / "eval", text, [1.0, 0.0], prompt=lambda i: text, media=lambda i: media)
    again = run(tmp_path / "b" / "eval", text, [1.0, 0.0])
    some = board.runs([path, again])
    assert some[0].model != some[1].model
    page = board_page.html(some, board.columns(some), media=True).decode()
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert "c2VjcmV0" not in data, "a file beside the run's folder is not in it"
    assert page.count("addEventListener") == 4
    for write in (board_text.markdown, board_text.latex):
        write(some, board.columns(some)).encode()
    board_text.table(some).encode()
    for text in ("[]", '"x"', "null", '{"metrics": {}}', '{"benchmarks": {"a": null}}', '{"benchmarks": {"a": {}}}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(BadData, match="no results of a run"):
            board.runs([tmp_path / "bad.json"])
    lines = path / "pope" / "samples.jsonl"
    lines.write_text('{"id": "1", "score": 1}')
    assert len(board.runs([path])[0].samples["pope"]) == 1
    lines.write_text('{"id": "1", "score": 1, "confidence": 2}\n')
    with pytest.raises(BadData, match="line 1: damaged"):
        board.runs([path])


def test_the_command(three: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.app, ["report", *map(str, three)])
    assert done.exit_code == 0, done.output
    assert "<h1>Leaderboard</h1>" in (tmp_path / "report.html").read_text()
    done = CliRunner().invoke(cli.app, ["report", str(three[0]), "--format", "markdown"])
    assert done.output.startswith("| model | pope (accuracy) |")


def test_runs_that_are_none_and_runs_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"nowhere: no run .*Make one: isthmus eval MODEL"):
        board.runs([tmp_path / "nowhere"])
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(BadData, match="no results of a run"):
        board.runs([tmp_path / "a.json"])
    same = [run(tmp_path / name, "model", [1.0]) for name in ("x", "y")]
    assert [own.model for own in board.runs(same)] == ["model (x)", "model (y)"]
    (tmp_path / "x" / "pope" / "samples.jsonl").write_text("{oops\n")
    with pytest.raises(BadData, match=r"samples\.jsonl, line 1: damaged"):
        board.runs(same)
    figures = {
        "benchmark": "pope",
        "mode": "official",
        "metrics": {"accuracy": {"value": 0.5, "low": 0, "high": 1, "n": 2}},
    }
    (tmp_path / "llava.json").write_text(json.dumps(figures | {"unscored": {"count": 0, "reasons": {}}}))
    (column,) = board.columns(board.runs([tmp_path / "llava.json"]))
    assert (column.benchmark, column.metric, column.cells[0].value) == ("pope", "accuracy", 0.5)
