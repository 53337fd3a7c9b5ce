"""Scores: what is right, what the table holds, and whether 95 % intervals hold the truth 95 % of the time."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from isthmus.errors import BadData
from isthmus.evaluate.scoring import Answer, Mark, Row, estimate, right, table, wilson


def answer(
    truth: str, said: str, *, kind: str = "name", sample: str = "s", benchmark: str = "b", swapped=None
) -> Answer:
    return Answer(sample, benchmark, kind, "?", truth, said, swapped)


@pytest.mark.parametrize(
    ("said", "truth", "kind", "expected"),
    [
        ("Owl", "owl", "name", True),
        ("  the owl. \n", "owl", "name", True),
        ("an owl", "owl", "name", True),
        ("owls", "owl", "name", False),
        ("owl..", "owl", "name", False),
        ("", "owl", "name", False),
        ("a", "a", "name", True),
        ("another owl", "owl", "name", False),
        ("No.", "no", "yes/no", True),
        ("nothing", "no", "yes/no", False),
        ("A STRASSE", "straße", "name", True),
        ("dog, an owl.", "owl, dog", "objects", True),
        ("dog,owl", "owl, dog", "objects", True),
        ("dog, owl, owl", "owl, dog", "objects", False),
        ("dog", "dog, dog", "objects", False),
        ("dog, owl", "owl, dog", "name", False),
    ],
)
def test_right(said, truth, kind, expected):
    assert right(said, truth, kind) is expected


def test_an_answer_survives_json():
    for swapped in (None, "cat"):
        one = answer("owl", "Öwl \u2028 <b>", swapped=swapped)
        assert Answer.from_dict(json.loads(json.dumps(one.to_dict()))) == one


@pytest.mark.parametrize("change", [{"extra": "x"}, {"truth": None}, {"answer": 3}, {"swapped": 3}])
def test_an_odd_record_is_named(change):
    with pytest.raises(BadData, match=next(iter(change))):
        Answer.from_dict(answer("owl", "owl").to_dict() | change)


def test_a_missing_field_is_named():
    record = answer("owl", "owl").to_dict()
    del record["truth"]
    with pytest.raises(BadData, match="truth"):
        Answer.from_dict(record)


def test_wilson_against_published_values():
    """R. G. Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17, 1998."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)


def test_accuracy_of_independent_questions_is_wilsons():
    marks = [Mark(i < 15, "", str(i)) for i in range(148)]
    assert estimate(marks)[1:] == pytest.approx(wilson(15, 148))


def test_questions_of_one_picture_that_are_all_right_count_as_one():
    assert estimate([Mark(True, "", "same")] * 10)[1:] == pytest.approx(wilson(1, 1))


def coverage(draw, truth: float, runs: int) -> float:
    intervals = [estimate(draw(np.random.default_rng(seed))) for seed in range(runs)]
    return float(np.mean([low <= truth <= high for _, low, high in intervals]))


@pytest.mark.parametrize(("yes", "no"), [(0.9, 0.6), (0.97, 0.2), (0.5, 0.5)])
def test_balanced_accuracy_is_covered(yes, no):
    def draw(rng):
        marks = [Mark(bool(hit), "yes", f"y{i}") for i, hit in enumerate(rng.random(60) < yes)]
        return marks + [Mark(bool(hit), "no", f"n{i}") for i, hit in enumerate(rng.random(30) < no)]

    assert coverage(draw, (yes + no) / 2, 800) == pytest.approx(0.95, abs=0.025)  # 3 standard errors


def test_clustered_answers_are_covered():
    """Ten questions a picture, and pictures that are easy (0.9) or hard (0.3): plain Wilson covers about two thirds."""

    def draw(rng):
        easy = np.where(rng.random(40) < 0.5, 0.9, 0.3)
        hits = rng.random((40, 10)) < easy[:, None]
        return [Mark(bool(hits[s, q]), "yes" if q % 2 else "no", str(s)) for s in range(40) for q in range(10)]

    def alone(rng):
        return [replace_sample(mark, i) for i, mark in enumerate(draw(rng))]

    assert coverage(draw, 0.6, 250) == pytest.approx(0.95, abs=0.042)
    assert coverage(alone, 0.6, 250) < 0.85


def replace_sample(mark: Mark, i: int) -> Mark:
    return mark._replace(sample=str(i))


def test_the_rows_and_their_order():
    answers = [
        answer("owl", "owl", sample="1"),
        answer("dog", "owl", sample="2"),
        answer("dog", "dog", sample="3"),
        answer("yes", "yes", kind="yes/no", sample="1"),
        answer("no", "yes", kind="yes/no", sample="2"),
        answer("yes", "yes", kind="yes/no", sample="3"),
        answer("red", "red", kind="colour", benchmark="easy-vqa", sample="4"),
        answer("yes", "no", kind="yes/no", benchmark="easy-vqa", sample="4"),
    ]
    rows = table(answers, overall=("easy-vqa", "not run"))
    assert [(row.benchmark, row.kind) for row in rows] == [
        ("b", "name"),
        ("b", "yes/no"),
        ("easy-vqa", "colour"),
        ("easy-vqa", "yes/no"),
        ("easy-vqa", "all"),
    ]
    name, yes_no = rows[:2]
    assert (name.metric, name.n, name.majority_answer) == ("accuracy", 3, "dog")
    assert (name.value, name.majority) == pytest.approx((2 / 3, 2 / 3))
    assert (yes_no.metric, yes_no.value, yes_no.majority) == ("balanced accuracy", 0.5, 0.5)
    assert (rows[-1].metric, rows[-1].n, rows[-1].value) == ("accuracy", 2, 0.5)
    assert all(row.low <= row.value <= row.high for row in rows)
    assert table([]) == []


def test_always_yes_gains_nothing():
    truths = ["yes"] * 90 + ["no"] * 10
    (row,) = table([answer(t, "yes", kind="yes/no", sample=str(i)) for i, t in enumerate(truths)])
    assert row.value == row.majority == 0.5
    assert row.doubt


def test_the_swapped_baseline_counts_only_what_was_asked():
    answers = [
        answer("owl", "owl", sample=str(i), swapped="owl" if i < 2 else "dog" if i < 8 else None) for i in range(20)
    ]
    (row,) = table(answers)
    assert (row.n, row.swapped_n, row.swapped) == (20, 8, 0.25)
    assert (row.swapped_low, row.swapped_high) == pytest.approx(wilson(2, 8))
    (unasked,) = table([replace(one, swapped=None) for one in answers])
    assert (unasked.swapped_n, unasked.swapped, unasked.swapped_low, unasked.swapped_high) == (None,) * 4


def test_an_empty_swapped_answer_is_wrong_and_not_missing():
    (row,) = table([answer("owl", "owl", swapped="")])
    assert (row.swapped_n, row.swapped) == (1, 0.0)


def test_majority_of_objects_ignores_their_order():
    truths = ["owl, dog", "dog, owl", "cat", "dog"]
    (row,) = table([answer(t, "?", kind="objects", sample=str(i)) for i, t in enumerate(truths)])
    assert (row.majority, row.majority_answer) == (0.5, "dog, owl")


def test_doubt_names_each_baseline():
    row = Row("b", "name", "accuracy", 50, 0.6, 0.46, 0.72, 0.4, "dog", 50, 0.3, 0.2, 0.44)
    assert row.doubt == ""
    assert "majority" in replace(row, majority=0.46).doubt
    assert replace(row, swapped_high=0.5, medium="sound").doubt == "not clearly above another sound"
