"""AMBER: questions whose positive class is "no", descriptions, and the authors' small numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isthmus.errors import BadData
from isthmus.evaluate.benchmarks import _amber_nouns, score

RELATION = {"sea": ["water", "lake"], "lake": ["water"], "dog": [], "person": ["man", "people"], "bird": [], "boat": []}
TYPES = {
    1005: ("discriminative-attribute-state", "no"),
    1006: ("discriminative-attribute-number", "yes"),
    1007: ("discriminative-attribute-action", "no"),
    1008: ("discriminative-hallucination", "no"),
    1009: ("discriminative-hallucination", "no"),
    1010: ("discriminative-relation", "yes"),
    1011: ("relation", "no"),
}
SAID = {1005: "No", 1006: "Yes", 1007: "Yes", 1008: "No", 1009: "No.", 1010: "No", 1011: "no"}
DESCRIBED = [
    {"id": 1, "type": "generative", "truth": ["sea", "person"], "hallu": ["dog", "boat"]},
    {"id": 2, "type": "generative", "truth": ["bird"], "hallu": ["boat"]},
]


@pytest.fixture(autouse=True)
def _words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every word a noun in its base form; a ship is like a boat."""
    monkeypatch.setattr(_amber_nouns, "tokens", str.split)
    monkeypatch.setattr(_amber_nouns, "_tagger", lambda: lambda words: ["NN"] * len(words))
    monkeypatch.setattr(
        _amber_nouns, "_synonyms", lambda: lambda one, other: {one, other} in ({"people", "person"}, {one})
    )
    monkeypatch.setattr(_amber_nouns.wordnet, "lemma", lambda word: word)


def folder(tmp_path: Path) -> Path:
    place = tmp_path / "data"
    place.mkdir()
    asked = [{"id": name, "type": kind, "truth": truth} for name, (kind, truth) in TYPES.items()]
    (place / "annotations.json").write_text(json.dumps(DESCRIBED + asked))
    (place / "relation.json").write_text(json.dumps(RELATION))
    (place / "safe_words.txt").write_text("sign\norange")
    return place


def write(tmp_path: Path, rows: list[dict[str, object]]) -> Path:
    path = tmp_path / "said.json"
    path.write_text(json.dumps(rows))
    return path


QUESTIONS: list[dict[str, object]] = [{"id": name, "response": text} for name, text in SAID.items()]


def test_questions_are_scored_with_no_as_the_positive_class(tmp_path: Path) -> None:
    found = score("amber", write(tmp_path, QUESTIONS), folder(tmp_path))
    figures = {name: round(figure.value, 3) for name, figure in found.metrics.items()}
    # said No: 1005 and 1008 rightly, 1010 wrongly; five truths are no; right are 1005, 1006, 1008
    assert figures["accuracy"] == 0.429
    assert figures["precision"] == 0.666, "2 / 3.001"
    assert figures["recall"] == 0.4
    assert figures["f1"] == 0.5
    assert found.metrics["precision"].n == 3
    assert figures["existence/f1"] == 0.666, "2 * 1 * 0.5 / (1.5 + 0.001), of precision 1 / 1.001 = 99.9 %"
    assert figures["attribute/accuracy"] == 0.666
    assert figures["relation/accuracy"] == 0
    assert found.notes == [
        "2 answers that are neither exactly Yes nor exactly No count as wrong, as in the official code"
    ]


def test_lenient_mode_reads_words_and_leaves_out_what_has_neither(tmp_path: Path) -> None:
    rows = [*QUESTIONS[:-1], {"id": 1011, "response": "maybe"}]
    found = score("amber", write(tmp_path, rows), folder(tmp_path), "lenient")
    assert found.unscored == {"1011": "neither yes nor no is said"}
    assert found.metrics["existence/f1"].value == 1
    assert found.metrics["accuracy"].value == pytest.approx(4 / 6)


def test_descriptions_are_held_against_what_was_seen(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"id": 1, "response": "water people dog sign tree boat"},  # tree is no word of AMBER's, nor sign
        {"id": 2, "response": "bird lake"},
    ]
    found = score("amber", write(tmp_path, rows), folder(tmp_path))
    figures = {name: round(figure.value, 3) for name, figure in found.metrics.items()}
    # mentions: water, people, dog, boat; bird, lake. Not seen: dog, boat, lake
    assert figures == {"chair": 0.5, "cover": 1.0, "hal": 1.0, "cog": 0.666}
    assert found.metrics["chair"].n == 6


def test_questions_about_one_picture_are_one_cluster(tmp_path: Path) -> None:
    place, said = folder(tmp_path), write(tmp_path, QUESTIONS)
    apart = score("amber", said, place).metrics["accuracy"]
    (place / "query").mkdir()
    queries = [{"id": name, "image": "AMBER_1.jpg", "query": "?"} for name in TYPES]
    (place / "query/query_all.json").write_text(json.dumps(queries))
    together = score("amber", said, place).metrics["accuracy"]
    assert together.value == apart.value
    assert apart.low == apart.low
    assert together.low != together.low, "one picture has no interval"


def test_an_empty_cell_is_a_wrong_answer_officially(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [*QUESTIONS[:-1], {"id": 1011}]
    found = score("amber", write(tmp_path, rows), folder(tmp_path))
    assert found.metrics["accuracy"].n == 7
    assert "1011" in score("amber", write(tmp_path, rows), tmp_path / "data", "lenient").unscored


def test_both_together_give_ambers_score(tmp_path: Path) -> None:
    rows = [*QUESTIONS, {"id": 2, "response": "bird"}]
    found = score("amber", write(tmp_path, rows), folder(tmp_path))
    assert found.metrics["amber_score"].value == pytest.approx((1 - 0 + found.metrics["f1"].value) / 2)
    assert found.unscored == {"1": "no prediction"}


def test_only_the_queries_that_were_asked_can_be_missing(tmp_path: Path) -> None:
    rows = [row for row in QUESTIONS if row["id"] == 1008]
    found = score("amber", write(tmp_path, rows), folder(tmp_path))
    assert found.unscored == {"1009": "no prediction"}


def test_a_sheet_that_holds_the_truth_needs_no_references(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"index": name, "category": kind, "answer": truth.capitalize(), "prediction": SAID[name]}
        for name, (kind, truth) in TYPES.items()
    ]
    outside = score("amber", write(tmp_path, QUESTIONS), folder(tmp_path)).metrics
    inside = score("amber", write(tmp_path, rows)).metrics
    assert {name: one.value for name, one in inside.items()} == {name: one.value for name, one in outside.items()}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "is empty"),
        ([{"id": 1005}], "row 1: none of the keys response"),
        ([{"nr": 1005, "response": "No"}], "row 1: none of the keys id"),
        ([{"id": 1005, "response": "No"}] * 2, "row 2: the id 1005 stands twice"),
        ([{"id": 5, "response": "No"}], "same split"),
    ],
)
def test_files_of_something_else_are_named(rows: list[dict[str, object]], message: str, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=message):
        score("amber", write(tmp_path, rows), folder(tmp_path))


@pytest.mark.parametrize("missing", ["annotations.json", "relation.json", "safe_words.txt"])
def test_a_folder_that_lacks_a_file_is_named(missing: str, tmp_path: Path) -> None:
    place = folder(tmp_path)
    (place / missing).unlink()
    with pytest.raises(BadData, match=missing):
        score("amber", write(tmp_path, [{"id": 1, "response": "sea"}]), place)


def test_descriptions_without_the_folder_are_told_what_they_need(tmp_path: Path) -> None:
    place = folder(tmp_path) / "annotations.json"
    with pytest.raises(BadData, match=r"relation\.json"):
        score("amber", write(tmp_path, [{"id": 1, "response": "sea"}]), place)


def test_what_differs_from_the_authors_machine_is_noted() -> None:
    nouns = _amber_nouns.Nouns(RELATION, [], _amber_nouns._by_spacy, _amber_nouns._by_wordnet)
    assert [note.split()[0] for note in nouns.notes()] == ["nouns", "synonyms"]
