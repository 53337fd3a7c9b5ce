"""Forms in which predictions are published with the truth in the same row, under the keys that people use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isthmus.errors import BadData
from isthmus.evaluate.benchmarks import score

SAID = ["Yes, there is.", "No", "no", "Yes"]
TRUE = ["yes", "no", "yes", "no"]
PEOPLE = [["yes"] * 2 + ["no"] * 8, ["2"] * 10]


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("said", "true"),
    [
        *(("prediction", "answer"), ("pred", "gt"), ("prediction", "label"), ("answer", "label"), ("text", "answer")),
        *(("answer", "ground_truth"), ("response", "answer")),
    ],
)
def test_pope_rows_hold_prediction_and_truth_under_any_usual_keys(tmp_path: Path, said: str, true: str) -> None:
    rows = [{said: one, true: other} for one, other in zip(SAID, TRUE, strict=True)]
    found = score("pope", lines(tmp_path / "p.jsonl", rows)).metrics
    assert {name: figure.value for name, figure in found.items()} == dict.fromkeys(found, 0.5)


def test_pope_does_not_take_the_question_for_the_answer(tmp_path: Path) -> None:
    rows = [{"text": "Is there a dog?", "answer": one, "label": other} for one, other in zip(SAID, TRUE, strict=True)]
    assert score("pope", lines(tmp_path / "p.jsonl", rows)).metrics["yes_ratio"].value == 0.5


def test_pope_rows_that_name_several_splits_count_in_each(tmp_path: Path) -> None:
    splits = ["random,popular", "random", "adversarial", "popular"]
    rows = [
        {"index": i, "answer": TRUE[i].capitalize(), "prediction": SAID[i], "category": splits[i]} for i in range(4)
    ]
    found = score("pope", lines(tmp_path / "p.jsonl", rows)).metrics
    assert {name: found[name].value for name in ("random/accuracy", "popular/accuracy", "adversarial/accuracy")} == {
        "random/accuracy": 1,
        "popular/accuracy": 0.5,
        "adversarial/accuracy": 0,
    }
    assert (found["accuracy"].n, found["accuracy"].value) == (5, 0.6)


def test_pope_leaves_an_answer_that_is_null_unscored(tmp_path: Path) -> None:
    rows = [{"answer": "yes", "label": "yes"}, {"answer": None, "label": "no"}]
    found = score("pope", lines(tmp_path / "p.jsonl", rows))
    assert found.unscored == {"/1": "no prediction"}
    with pytest.raises(BadData, match="row 1: none of the keys prediction"):
        score("pope", lines(tmp_path / "q.jsonl", [{"label": "yes"}]))


@pytest.mark.parametrize("name", ["vqav2", "vizwiz", "textvqa"])
def test_people_s_answers_may_lie_inside(tmp_path: Path, name: str) -> None:
    rows = [{"question_id": i, "prediction": said, "answers": PEOPLE[i]} for i, said in enumerate(["yes", "2"])]
    assert score(name, lines(tmp_path / "p.jsonl", rows)).metrics["accuracy"].value == pytest.approx(0.8)


@pytest.mark.parametrize("name", ["scienceqa", "seed-bench", "mmbench", "mmstar", "mmmu"])
def test_choices_need_no_ids_beside_their_truth(tmp_path: Path, name: str) -> None:
    rows = [{"prediction": "A", "answer": "A"}, {"prediction": "A", "answer": "B"}]
    assert score(name, lines(tmp_path / "p.jsonl", rows)).metrics["accuracy"].value == 0.5


def test_scienceqa_and_mmmu_read_their_other_rows(tmp_path: Path) -> None:
    rows = [{"id": str(i), "choices": ["a", "b"], "answer": 1, "prediction": said} for i, said in enumerate("BA")]
    assert score("scienceqa", lines(tmp_path / "s.jsonl", rows)).metrics["accuracy"].value == 0.5
    several = {"id": "validation_Math_1", "question_type": "open", "answer": "['12', 'twelve']", "pred": "It is 12."}
    assert score("mmmu", lines(tmp_path / "m.jsonl", [several])).metrics["accuracy"].value == 1


def test_llava_bench_rounds_means_only_where_the_printed_digit_depends_on_it(tmp_path: Path) -> None:
    rows = [{"question_id": i, "tuple": pair} for i, pair in enumerate([[8, 6], [10, 5], [9, 9]])]
    assert score("llava-bench", lines(tmp_path / "r.jsonl", rows)).metrics["relative_score"].value == 100 * 20 / 27


def test_texts_may_be_lists_and_references_several(tmp_path: Path) -> None:
    (said := tmp_path / "p.json").write_text('["the cat sat", "hello"]')
    (true := tmp_path / "r.json").write_text('[["the cat sat down"], ["hello"]]')
    assert score("wer", said, true).metrics["wer"].value == pytest.approx(0.2)
    said.write_text('{"a": "the cat sat", "b": "hello"}')
    true.write_text('{"a": ["the cat sat down"], "b": ["hello"]}')
    assert score("wer", said, true).metrics["wer"].value == pytest.approx(0.2)


def test_entailment_s_classes_and_amber_s_answers_by_id(tmp_path: Path) -> None:
    row = {"id": 1, "entailment": 0.9, "neutral": 0.08, "contradiction": 0.02}
    assert score("entailment", lines(tmp_path / "e.jsonl", [row])).metrics["entailment_score"].value == 0.9
    (said := tmp_path / "a.json").write_text('{"1005": "No", "1006": "Yes"}')
    kinds = [{"id": 1005 + i, "type": "discriminative-hallucination", "truth": "no"} for i in range(2)]
    (true := tmp_path / "t.json").write_text(json.dumps(kinds))
    assert score("amber", said, true).metrics["accuracy"].value == pytest.approx(0.5, abs=1e-3)


def test_captions_with_their_references_need_no_ids(tmp_path: Path) -> None:
    rows = [{"hypothesis": "a dog runs", "references": ["a dog runs"]}] * 2
    assert score("coco-captions", lines(tmp_path / "c.jsonl", rows)).metrics["bleu_1"].value == pytest.approx(1)


def test_columns_of_one_object_and_scores_of_a_pipeline(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"predictions": ["the bat sat down", "yes"], "references": ["the cat sat", "yes"]}))
    assert score("wer", path).metrics["wer"].value == 0.5
    three = [("ENTAILMENT", 0.9), ("neutral", 0.08), ("contradiction", 0.02)]
    rows = [
        {"id": "1", "scores": [{"label": label, "score": value} for label, value in three]},
        {"id": "2", "labels": ["contradiction", "entailment", "neutral"], "scores": [0.1, 0.5, 0.4]},
    ]
    path.write_text(json.dumps(rows))
    assert score("entailment", path).metrics["entailment_score"].value == pytest.approx(0.7)
    path.write_text(json.dumps([{"id": "1", "scores": [0.9, 0.1]}]))
    with pytest.raises(BadData, match="row 1: scores are a list of objects with label and score"):
        score("entailment", path)
