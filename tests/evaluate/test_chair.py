"""CHAIR: singulars with their oddities, double words, the three figures, and the forms that captions come in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nltk.tokenize.punkt import PunktSentenceTokenizer

from isthmus.errors import BadData
from isthmus.evaluate.benchmarks import chair, score
from isthmus.evaluate.metrics import punkt
from isthmus.evaluate.metrics.singular import singular


@pytest.fixture(autouse=True)
def _sentences_without_the_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(punkt, "_sentences", PunktSentenceTokenizer)  # no abbreviations: else the same


def write(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("children", "child"),
        ("knives", "knife"),
        ("leaves", "leaf"),
        ("process", "proces"),
        ("has", "ha"),
        ("towards", "toward"),
        ("as", "as"),  # how "christmas" ends
        ("scissors", "scissors"),
        ("ties", "ty"),
        ("four", "fmy"),
        ("reanalyses", "reanalyasis"),
        ("bases", "basis"),
        ("dogs'", "dog's"),
    ],
)
def test_singulars_are_those_of_the_official_rules(word: str, expected: str) -> None:
    assert singular(word) == expected


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A baby elephant and a baby.", ["elephant", "person"]),
        ("The seat of the toilet", ["toilet"]),
        ("A seat", ["chair"]),
        ("Wine glasses, glasses", ["wine glass"]),
        ("A bus and two buses", ["bus"]),  # "bus" loses its s
        ("Motor bikes and motor cycles", ["motorcycle"]),  # "motor bike" is a double word that stands for nothing
        ("A train on the train tracks. A passenger train", ["train", "train"]),
        ("A bow tie; his tie", ["tie", "tie"]),
        ("an iPhone", []),
        ("", []),
    ],
)
def test_a_caption_mentions_kinds_of_object(caption: str, expected: list[str]) -> None:
    assert chair.objects(caption) == expected


CAPTIONS = [
    {"image_id": 1, "caption": "A man and his dog with a frisbee."},  # dog, frisbee are not there
    {"image_id": 2, "caption": "Two cats on a couch."},
    {"image_id": 2, "caption": "A view."},
]
OBJECTS = {"1": ["person", "car"], "2": ["cat", "couch", "book"]}


def figures(predictions: Path, references: Path | None, mode: str = "official") -> dict[str, float]:
    return {name: figure.value for name, figure in score("chair", predictions, references, mode).metrics.items()}


def test_the_figures_are_the_official_ones(tmp_path: Path) -> None:
    found = figures(write(tmp_path / "p.json", CAPTIONS), write(tmp_path / "r.json", OBJECTS))
    assert found["chair_s"] == pytest.approx(1 / 3)
    assert found["chair_i"] == pytest.approx(2 / 5)
    assert found["recall"] == pytest.approx(3 / 8), "of 2 + 3 + 3 things, counted for each caption"
    assert found["objects_per_caption"] == pytest.approx(5 / 3)


def test_every_form_gives_the_same(tmp_path: Path) -> None:
    truths = write(tmp_path / "r.json", OBJECTS)
    expected = figures(write(tmp_path / "p.json", CAPTIONS[:2]), truths)
    evaluated = {str(i): {"image_id": row["image_id"], "caption": row["caption"]} for i, row in enumerate(CAPTIONS[:2])}
    lines = tmp_path / "p.jsonl"
    lines.write_text("\n".join(
        json.dumps({"question_id": 7, "image": f"COCO_val2014_{row['image_id']:012}.jpg", "text": row["caption"]})
        for row in CAPTIONS[:2]
    ))  # fmt: skip
    inside = [row | {"mscoco_gt_words": OBJECTS[str(row["image_id"])]} for row in CAPTIONS[:2]]
    listed = tmp_path / "r.jsonl"
    listed.write_text("\n".join(json.dumps({"image_id": name, "objects": some}) for name, some in OBJECTS.items()))
    forms = [
        (lines, listed),
        (write(tmp_path / "a.json", {"overall": {"CIDEr": 1.0}, "imgToEval": evaluated}), truths),
        (write(tmp_path / "b.json", {str(row["image_id"]): row["caption"] for row in CAPTIONS[:2]}), truths),
        (lines, truths),
        (write(tmp_path / "c.json", {"sentences": inside, "overall_metrics": {"CHAIRs": 0}}), None),
    ]
    assert [figures(*form) for form in forms] == [expected] * len(forms)


def test_objects_are_those_of_masks_and_of_reference_captions(tmp_path: Path) -> None:
    folder = tmp_path / "annotations"
    folder.mkdir()
    masks = [{"image_id": 1, "category_id": 18, "segmentation": [[1.5, 2]]}, {"image_id": 9, "category_id": 18}]
    write(folder / "instances_val2014.json", {"annotations": masks, "categories": [{"id": 18, "name": "dog"}]})
    write(folder / "captions_val2014.json", {"annotations": [{"image_id": 1, "caption": "Frisbees of a boy"}]})
    said = write(tmp_path / "p.json", CAPTIONS[:1])
    for place in (folder, tmp_path):
        assert figures(said, place)["chair_i"] == 0
    assert figures(said, folder / "instances_val2014.json")["chair_i"] == pytest.approx(2 / 3)
    (folder / "captions_val2014.json").unlink()
    with pytest.raises(BadData, match=r"captions_\*\.json"):
        score("chair", said, folder)


def test_what_cannot_be_read_is_unscored_or_noted(tmp_path: Path) -> None:
    rows = [
        *CAPTIONS,
        {"image_id": 3, "caption": "A dog"},
        {"image_id": 1, "caption": None},
        {"image_id": 2, "caption": " "},
    ]
    said, truths = write(tmp_path / "p.json", rows), write(tmp_path / "r.json", OBJECTS)
    official, lenient = score("chair", said, truths), score("chair", said, truths, "lenient")
    assert official.reasons() == {"no caption": 1}
    assert official.metrics["chair_s"].n == 5
    assert official.metrics["chair_s"].value == pytest.approx(2 / 5)
    assert [note.split()[0] for note in official.notes] == ["1", "1"]
    assert set(lenient.reasons()) == {"no caption", "an empty caption", "the picture is not among the references"}
    assert lenient.metrics["chair_s"].n == 3


@pytest.mark.parametrize(
    ("captions", "truths", "message"),
    [
        ([], OBJECTS, "is empty"),
        ([{"id": 1}], OBJECTS, "row 1: none of the keys caption"),
        ([{"caption": "A dog"}], OBJECTS, "row 1: none of the keys image_id"),
        ([{"image_id": 77, "caption": "A dog"}], OBJECTS, "same split"),
        (CAPTIONS, {"1": "person"}, "a list of names"),
        (CAPTIONS, {"annotations": [{"image_id": 1}]}, "annotation 1"),
    ],
)
def test_files_of_something_else_are_named(captions: object, truths: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=message):
        score("chair", write(tmp_path / "p.json", captions), write(tmp_path / "r.json", truths))


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "chair.pkl").write_bytes(b"\x80\x04N.")
    with pytest.raises(BadData, match="pickle is not read"):
        score("chair", write(tmp_path / "p.json", CAPTIONS), tmp_path / "chair.pkl")


@pytest.mark.slow
def test_sentences_are_parted_by_punkt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert punkt.tokens("St. Louis has a dog. It isn't mine.")[:6] == ["St.", "Louis", "has", "a", "dog", "."]
