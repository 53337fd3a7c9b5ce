"""Forms that people and tools give files, whatever the benchmark: packed, in other words, with slips of a hand."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from isthmus import cli
from isthmus.errors import BadData, UnknownName
from isthmus.evaluate import keys
from isthmus.evaluate.benchmarks import score

Write = Callable[[str, Any], Path]
LABELS = [
    {"question_id": i, "image": f"{i}.jpg", "text": "Is there?", "label": yes}
    for i, yes in enumerate(["yes", "no", "yes"])
]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def put(name: str, content: Any) -> Path:
        if not isinstance(content, str | bytes):
            content = "".join(json.dumps(row) + "\n" for row in content) if name.endswith("l") else json.dumps(content)
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / name

    return put


def value(benchmark: str, predictions: Path, references: Path | None = None, metric: str = "accuracy") -> float:
    return score(benchmark, predictions, references).metrics[metric].value


SAID = [{"question_id": i, "text": said} for i, said in enumerate(["Yes", "No", "No"])]


def test_packed_files(write: Write, tmp_path: Path) -> None:
    labels, lines = write("labels.jsonl", LABELS), write("a.jsonl", SAID)
    plain = value("pope", lines, labels)
    assert plain == pytest.approx(2 / 3)
    packed = write("a.jsonl.gz", gzip.compress(lines.read_bytes()))
    assert value("pope", packed, labels) == plain
    with zipfile.ZipFile(tmp_path / "labels.zip", "w") as file:
        file.write(labels, "coco/labels.jsonl")
    assert value("pope", packed, tmp_path / "labels.zip") == plain
    with pytest.raises(BadData, match=r"a\.jsonl\.gz: cannot be unpacked"):
        score("pope", write("a.jsonl.gz", b"no gzip"), labels)
    with pytest.raises(BadData, match=r"b\.jsonl\.gz, row 1: none of the keys"):
        score("pope", write("b.jsonl.gz", gzip.compress(b'{"question_id": 1, "text": "Yes"}\n')))


def test_a_comma_too_many(write: Write) -> None:
    labels = write("labels.jsonl", LABELS)
    others = '{"question_id": 1, "text": "No"},\n{"question_id": 2, "text": "No"}'
    said = f'[{{"question_id": 0, "text": "Yes, ] it is,",}},\n{others},]'
    assert value("pope", write("a.json", said), labels) == pytest.approx(2 / 3)
    with pytest.raises(BadData, match="line 2: not JSON"):
        score("pope", write("b.json", '[{"question_id": 0},\n {"question_id"}]'), labels)


@pytest.mark.parametrize("key", [*keys.SAID, "text", "answer"])
def test_every_key_of_an_answer_is_known_everywhere(write: Write, key: str) -> None:
    assert value(
        "pope", write("p.jsonl", [{"question_id": i, key: "no"} for i in range(3)]), write("l.jsonl", LABELS)
    ) == pytest.approx(1 / 3)
    assert (
        value(
            "seed-bench",
            write("s.jsonl", [{"question_id": "1_0", key: "A"}]),
            write("q.jsonl", [{"question_id": "1_0", "answer": "A"}]),
        )
        == 1
    )
    assert (
        value(
            "vqav2",
            write("v.jsonl", [{"question_id": 1, key: "dog"}]),
            write("t.jsonl", [{"question_id": 1, "answers": ["dog"] * 10}]),
        )
        == 1
    )
    assert (
        value(
            "mmmu",
            write("m.jsonl", [{"id": "validation_Art_1", key: "B"}]),
            write("d.json", {"validation_Art_1": {"question_type": "multiple-choice", "ground_truth": "B"}}),
        )
        == 1
    )
    if key not in ("text", "answer"):
        assert value("mmbench", write("b.jsonl", [{"index": 1, key: "A", "answer": "A", "A": "x", "B": "y"}])) == 1


@pytest.mark.parametrize("key", keys.TRUTHS)
def test_every_key_of_a_truth_is_known_everywhere(write: Write, key: str) -> None:
    for name, said in (
        ("pope", "yes"),
        ("seed-bench", "A"),
        ("mmbench", "A"),
        ("vqav2", "dog"),
        ("mmmu", "A"),
        ("mmstar", "A"),
    ):
        row = {"question_id": 1, "prediction": said, key: said} | ({"A": "x", "B": "y"} if name == "mmbench" else {})
        assert value(name, write("a.jsonl", [row])) == 1, name
    assert value("pope", write("c.json", {"predictions": ["yes", "no"], "references": ["yes", "yes"]})) == 0.5


def test_what_pipelines_of_transformers_give(write: Write) -> None:
    labels = write("labels.jsonl", LABELS)
    batches = [[{"generated_text": said}] for said in ("Yes", "No", "No")]
    assert value("pope", write("a.json", batches), labels) == pytest.approx(2 / 3)
    chats = [{"generated_text": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "No"}]}] * 3
    assert value("pope", write("b.json", chats), labels) == pytest.approx(1 / 3)
    best = [[{"score": 0.9, "answer": "dog"}, {"score": 0.1, "answer": "cat"}]]
    assert value("vqav2", write("c.json", best), write("t.jsonl", [{"question_id": 1, "answers": ["dog"] * 10}])) == 1
    entailed = [
        [
            {"label": "ENTAILMENT", "score": 0.9},
            {"label": "NEUTRAL", "score": 0.1},
            {"label": "CONTRADICTION", "score": 0.0},
        ]
    ] * 2
    assert value("entailment", write("d.json", entailed), metric="entailed") == 1
    with pytest.raises(BadData, match="label_0, label_1, label_2 do not say which is which"):
        score(
            "entailment",
            write("e.json", [[{"label": f"LABEL_{i}", "score": s} for i, s in enumerate((0.9, 0.1, 0.0))]] * 2),
        )
    assert value("pope", write("f.json", ["Yes", "No", "No"]), labels) == pytest.approx(2 / 3)
    assert value(
        "bleu",
        write("g.json", [{"translation_text": "a dog runs home now"}]),
        write("r.txt", "a dog runs home now\n"),
        "bleu",
    ) == pytest.approx(100)


def test_a_file_of_one_row_that_holds_a_list(write: Write) -> None:
    assert value(
        "bleu", write("a.json", {"prediction": "a cat sat on it", "references": ["a cat sat on it"]}), metric="bleu"
    ) == pytest.approx(100)
    people = [{"answer": "dog", "answer_id": i} for i in range(10)]
    assert value("vqav2", write("b.json", {"question_id": 1, "prediction": "dog", "answers": people})) == 1
    found = score(
        "coco-captions",
        write("c.json", {"predictions": ["a cat", "a dog"], "references": [["a cat"], ["a dog", "a hound"]]}),
    )
    assert found.metrics["bleu_1"].value == pytest.approx(1)
    with pytest.raises(BadData, match="different lengths: 2 predictions, 1 references"):
        score("wer", write("d.json", {"predictions": ["a", "b"], "references": ["a"]}))


def test_tables_of_other_tools(write: Write) -> None:
    truths = write(
        "t.jsonl", [{"question_id": 1000, "answers": ["dog"] * 10}, {"question_id": 1001, "answers": ["cat"] * 10}]
    )
    assert value("vqav2", write("a.csv", "question_id,answer\n1000.0,dog\n1001.0,cow\n"), truths) == 0.5
    assert value("vqav2", write("b.csv", "question_id;answer\n1000;dog\n1001;cow\n"), truths) == 0.5
    found = score("vqav2", write("c.jsonl", [{"answer": "dog"}, {"answer": "cow"}]), truths)
    assert (found.metrics["accuracy"].value, "by their order" in found.notes[0]) == (0.5, True)


def test_logs_of_harnesses_hold_the_question_in_doc(write: Write) -> None:
    rows = [
        {
            "doc_id": i,
            "doc": {"question_id": i, "answers": [{"answer": "dog"}] * 10},
            "target": "dog",
            "filtered_resps": [said],
        }
        for i, said in enumerate(["dog", "cat"])
    ]
    assert value("vqav2", write("a.jsonl", rows)) == 0.5
    doc = {"id": "validation_Art_1", "question_type": "multiple-choice", "options": "['x', 'y']", "answer": "B"}
    assert value("mmmu", write("b.jsonl", [{"doc_id": 0, "doc": doc, "target": "B", "filtered_resps": ["B"]}])) == 1


@pytest.mark.parametrize("benchmark", ["vqav2", "textvqa", "vizwiz", "ok-vqa"])
def test_one_truth_is_no_ten_people(write: Write, benchmark: str) -> None:
    rows = [
        {"question_id": 1, "prediction": "A Dog.", "answer": "dog"},
        {"question_id": 2, "prediction": "cat", "answer": "dog"},
    ]
    found = score(benchmark, write("a.jsonl", rows))
    assert found.metrics["accuracy"].value == 0.5
    assert "2 questions have one true answer" in found.notes[0]


def test_answers_in_another_order_go_by_their_ids(write: Write) -> None:
    labels = write("labels.jsonl", LABELS)
    found = score("pope", write("a.jsonl", SAID[::-1]), labels)
    assert found.metrics["accuracy"].value == pytest.approx(2 / 3)
    assert "matched by their question_id" in found.notes[0]
    texts = [row | {"question_id": str(row["question_id"])} for row in SAID[::-1]]
    assert value("pope", write("t.jsonl", texts), labels) == pytest.approx(2 / 3)
    others = [row | {"question_id": 100 + i} for i, row in enumerate(SAID)]
    assert value("pope", write("b.jsonl", others), labels) == pytest.approx(2 / 3), "LLaVA's ids are its own"


def test_ids_that_are_none(write: Write, tmp_path: Path) -> None:
    truths = write("d.json", {"validation_Art_1": {"question_type": "multiple-choice", "ground_truth": "B"}})
    with pytest.raises(BadData, match="row 2: the id validation_Art_1 stands twice"):
        score("mmmu", write("a.jsonl", [{"id": "validation_Art_1", "response": said} for said in "BA"]), truths)
    problem = {"choices": ["x", "y"], "answer": 0, "question": "?"}
    write("problems.json", {"1": problem, "2": problem})
    write("pid_splits.json", {"train": [], "val": [], "test": ["1", "2"]})
    with pytest.raises(BadData, match="no id of the predictions"):
        score("scienceqa", write("b.jsonl", [{"question_id": "77", "text": "A"}]), tmp_path)
    assert value("mm-vet", write("c.json", {"v1_0": 0.5, "v1_1": 1.0}), metric="score") == 75


def test_names_as_people_write_them_and_notes_beside_json(write: Write) -> None:
    rows = [{"question_id": 1, "prediction": "dog", "answer": "dog"}]
    found = CliRunner().invoke(cli.app, ["score", "VQAv2", "--predictions", str(write("a.jsonl", rows)), "--json"])
    assert json.loads(found.stdout)["benchmark"] == "vqav2"
    assert "note: 1 questions have one true answer" in found.stderr
    with pytest.raises(UnknownName, match="Did you mean 'pope'"):
        score("POPEE", write("a.jsonl", rows))
    with pytest.raises(BadData, match="give it with --references"):
        score("pope", write("b.jsonl", [{"question_id": 1, "text": "yes"}]))


def test_sheets_of_vlmevalkit_are_read_by_its_rule(write: Write) -> None:
    truths, said = ("No", "No", "Yes", "Yes"), ("NO", "I see nothing here", "Yes.", "yes or no")
    lines = [f"{i},Is there?,{truth},{text}" for i, (truth, text) in enumerate(zip(truths, said, strict=True))]
    found = score("pope", write("a.csv", "\n".join(["index,question,answer,prediction", *lines])))
    figures = {name: figure.value for name, figure in found.metrics.items()}
    assert (figures["accuracy"], figures["yes_ratio"], figures["recall"]) == (0.5, 0.25, 0.5), (
        "what is unclear is wrong"
    )
    assert "2 answers hold yes and no, or neither" in found.notes[0]
    rows = [
        f"{i},OCR/a.png,OCR,{q},Yes,{text}" for i, (q, text) in enumerate([("p", "The answer is yes."), ("q", "no")])
    ]
    found = score("mme", write("b.csv", "\n".join(["index,image_path,category,question,answer,prediction", *rows])))
    assert found.metrics["ocr/accuracy"].value == 0.5
