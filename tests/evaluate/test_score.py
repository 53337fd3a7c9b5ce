"""`isthmus score`: what every benchmark's file has and does, how files are read, and the figures' intervals."""

from __future__ import annotations

import inspect
import json
import math
from pathlib import Path

import openpyxl
import pytest
from typer.testing import CliRunner

from isthmus.cli import app
from isthmus.errors import BadData, UnknownName
from isthmus.evaluate import files
from isthmus.evaluate.benchmarks import PACKAGE, score
from isthmus.evaluate.scored import Scored, mean, of_sums, proportion, yes_no
from isthmus.registry import constants, find, names

EVERY = names(PACKAGE)
ROWS = [{"id": 1, "text": "a, b"}, {"id": 2, "text": 'said "no"'}]


@pytest.mark.parametrize("name", EVERY)
def test_every_benchmark_says_what_it_is_and_what_its_files_look_like(name: str) -> None:
    own = constants(PACKAGE, name)
    assert own["ABOUT"]
    assert own["SOURCE"]
    assert own["PREDICTIONS"], "an example line of each form"
    assert all(isinstance(line, str) and line for what in ("PREDICTIONS", "REFERENCES") for line in own[what].values())
    more = ["part"] if "PART" in own else []
    assert [*inspect.signature(find(PACKAGE, name).score).parameters] == ["predictions", "references", "mode", *more]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("text", ["", "{", "[]", "[1, 2]", "not json at all"])
def test_a_file_that_cannot_be_used_is_an_error_that_names_it(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text(text, encoding="utf-8")
    part = "a folder" if "PART" in constants(PACKAGE, name) else None
    with pytest.raises(BadData, match="own"):
        score(name, tmp_path / "own.json", tmp_path / "own.json", part=part)


def test_missing_files_and_unknown_names_are_told(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="no such file of predictions"):
        score("pope", tmp_path / "none.json")
    with pytest.raises(UnknownName, match="Did you mean 'pope'"):
        score("pop", tmp_path)
    (tmp_path / "a.json").write_text("[]", encoding="utf-8")
    with pytest.raises(UnknownName, match="no mode 'strict'"):
        score("pope", tmp_path / "a.json", mode="strict")


FORMS = {
    "a.json": json.dumps(ROWS),
    "one_key.json": json.dumps({"results": ROWS}),
    "a.jsonl": "\n".join(map(json.dumps, ROWS)),
    "commas.json": ",\n".join(map(json.dumps, ROWS)) + ",",
    "bom.json": "\ufeff" + json.dumps(ROWS),
    "a.csv": 'id,text\n1,"a, b"\n2,"said ""no"""\n',
    "a.tsv": 'id\ttext\n1\ta, b\n2\t"said ""no"""\n',
}


@pytest.mark.parametrize("name", FORMS)
def test_the_same_rows_come_out_of_every_form(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FORMS[name], encoding="utf-8")
    assert [row | {"id": int(row["id"])} for row in files.rows(tmp_path / name)] == ROWS
    assert files.by_id(tmp_path / name, ids=["id"], texts=["text"]) == {"1": "a, b", "2": 'said "no"'}


def test_a_sheet_is_read_with_its_empty_cells_left_out(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for line in (["id", "text", "C"], [1, "a, b", None], [2, 'said "no"', None], [None, None, None]):
        book.active.append(line)
    book.save(tmp_path / "a.xlsx")
    assert files.rows(tmp_path / "a.xlsx") == ROWS


def test_only_a_line_feed_ends_a_row_and_what_is_no_workbook_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("id\ttext\n1\ta\u2028b\x0cc\n", encoding="utf-8")
    assert files.rows(tmp_path / "a.tsv") == [{"id": "1", "text": "a\u2028b\x0cc"}]
    (tmp_path / "a.xlsx").write_text("id,text", encoding="utf-8")
    with pytest.raises(BadData, match=r"a\.xlsx: not an Excel workbook"):
        files.rows(tmp_path / "a.xlsx")
    (tmp_path / "b.csv").write_text("id,text\n", encoding="utf-8")
    with pytest.raises(BadData, match="is empty, it has no rows"):
        files.rows(tmp_path / "b.csv")


def test_values_by_id_are_read_from_a_mapping_and_a_doubled_id_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"7": "a dog", "9": "a cat"}', encoding="utf-8")
    assert files.by_id(tmp_path / "a.json", ids=["id"], texts=["text"]) == {"7": "a dog", "9": "a cat"}
    (tmp_path / "b.json").write_text('[{"id": 1, "text": "a"}, {"id": 1, "text": "b"}]', encoding="utf-8")
    with pytest.raises(BadData, match="row 2: the id 1 stands twice"):
        files.by_id(tmp_path / "b.json", ids=["id"], texts=["text"])


def test_what_is_not_json_is_named_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": 1}\n{"id": 2}\n{"id": }\n', encoding="utf-8")
    with pytest.raises(BadData, match=r"a\.jsonl, line 3: not JSON"):
        files.rows(tmp_path / "a.jsonl")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadData, match="not text in UTF-8"):
        files.rows(tmp_path / "b.json")


def test_intervals_allow_for_questions_that_share_a_picture() -> None:
    hits = [True, False] * 50
    alone = proportion(hits)
    pairs = [i // 2 % 2 == 0 for i in range(100)]
    shared = proportion(pairs, [i // 2 for i in range(100)])
    assert shared.value == alone.value == 0.5
    assert shared.high - shared.low > 1.3 * (alone.high - alone.low)
    values = mean([float(hit) for hit in pairs], [i // 2 for i in range(100)])
    assert values.low == pytest.approx(shared.low, abs=0.03)


def test_the_same_figures_come_out_each_time_and_one_sample_has_no_bootstrap() -> None:
    assert mean([0.1, 0.5, 0.9]) == mean([0.1, 0.5, 0.9])
    assert math.isnan(mean([0.5]).low)
    assert of_sums(lambda s: s[..., 0], []).n == 0


def test_precision_without_a_positive_prediction_is_no_figure() -> None:
    found = yes_no([True, False], [False, False])
    assert math.isnan(found["precision"].value)
    assert found["precision"].n == 0
    assert (found["recall"].value, found["f1"].value, found["yes_ratio"].value) == (0, 0, 0)


def test_json_holds_the_figures_and_what_went_unscored() -> None:
    scored = Scored({"accuracy": proportion([True, False])}, {"7": "no prediction", "8": "no prediction", "9": "late"})
    found = scored.to_dict("pope", "official")
    assert found["unscored"] == {"count": 3, "reasons": {"no prediction": 2, "late": 1}}
    accuracy = found["metrics"]["accuracy"]
    assert list(accuracy) == ["value", "low", "high", "n"]
    assert [round(value, 3) for value in accuracy.values()] == [0.5, 0.095, 0.905, 2]
    json.dumps(Scored({"x": mean([0.5])}).to_dict("b", "official"), allow_nan=False)


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_the_command_prints_one_object_or_a_table(tmp_path: Path) -> None:
    truths = write(tmp_path / "r.jsonl", [{"question_id": i, "image": "a", "label": "yes"} for i in range(4)])
    said = write(tmp_path / "p.jsonl", [{"text": text} for text in ("Yes", "No", "yes.", "Hm")])
    command = ["score", "pope", "--predictions", str(said), "--references", str(truths)]
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert found.keys() == {"benchmark", "mode", "metrics", "unscored"}
    assert found["metrics"]["accuracy"]["value"] == 0.75
    lenient = json.loads(CliRunner().invoke(app, [*command, "--json", "--mode", "lenient"]).stdout)
    assert lenient["unscored"] == {"count": 1, "reasons": {"neither yes nor no is said": 1}}
    assert lenient["metrics"]["accuracy"]["n"] == 3
    assert "yes_ratio" in CliRunner().invoke(app, command).stdout


def test_the_list_names_every_benchmark_with_its_forms() -> None:
    shown = CliRunner().invoke(app, ["score", "--list"]).stdout
    assert all(name in shown for name in EVERY)
    rows = json.loads(CliRunner().invoke(app, ["score", "--list", "--json"]).stdout)
    assert [row["name"] for row in rows] == EVERY
