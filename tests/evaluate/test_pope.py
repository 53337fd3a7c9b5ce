"""POPE's official rule, its three splits, and the forms in which answers are published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isthmus.errors import BadData
from isthmus.evaluate.benchmarks import score
from isthmus.evaluate.benchmarks.pope import SPLITS

SAID = ["Yes", "No, there is no dog.", "There is not", "None. no", "yes. No", "no"]
TRUE = ["yes", "no", "yes", "yes", "no", "no"]


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def truths(count: int = 6) -> list[dict[str, object]]:
    return [{"question_id": i + 1, "image": f"{i // 3}.jpg", "text": "?", "label": TRUE[i % 6]} for i in range(count)]


def test_figures_follow_the_official_rule_with_the_ratio_of_yes_among_predictions(tmp_path: Path) -> None:
    said = write(tmp_path / "p.jsonl", [{"question_id": i, "text": text} for i, text in enumerate(SAID)])
    found = score("pope", said, write(tmp_path / "r.json", truths())).metrics
    # read as yes, no, no, yes, yes, no: of three yes two are true, and of three truths two were found
    figures = {name: round(figure.value, 4) for name, figure in found.items()}
    assert figures == {"accuracy": 0.6667, "precision": 0.6667, "recall": 0.6667, "f1": 0.6667, "yes_ratio": 0.5}
    assert {name: figure.n for name, figure in found.items()}["precision"] == 3


def test_a_model_that_always_says_yes_has_a_yes_ratio_of_one(tmp_path: Path) -> None:
    said = write(tmp_path / "p.jsonl", [{"answer": "yes", "label": label} for label in TRUE])
    found = score("pope", said).metrics
    assert (found["yes_ratio"].value, found["accuracy"].value) == (1, 0.5)


@pytest.mark.parametrize("how", ["category", "order", "questions", "files"])
def test_answers_of_three_splits_are_told_apart(how: str, tmp_path: Path) -> None:
    folder = tmp_path / "coco"
    folder.mkdir()
    answers: list[dict[str, object]] = []
    for number, split in enumerate(SPLITS):
        write(folder / f"coco_pope_{split}.json", truths(6))
        some = ["yes" if (text == "yes") == (i >= number) else "no" for i, text in enumerate(TRUE)]
        answers += [
            {"question_id": 100 * number + i, "text": text} | ({"category": split} if how == "category" else {})
            for i, text in enumerate(some)
        ]
    said = tmp_path / "p.jsonl"
    if how == "questions":
        shuffled = answers[6:] + answers[:6]
        of = [{"question_id": 100 * n + i, "category": split} for n, split in enumerate(SPLITS) for i in range(6)]
        write(folder / "questions.jsonl", of)  # type: ignore[arg-type]
        write(said, shuffled)
    elif how == "files":
        said = tmp_path / "answers"
        said.mkdir()
        for number, split in enumerate(SPLITS):
            write(said / f"{split}.jsonl", answers[6 * number : 6 * number + 6])
    else:
        write(said, answers)
    found = score("pope", said, folder).metrics
    own = {split: round(found[f"{split}/accuracy"].value * 6) for split in SPLITS}
    assert own == {"adversarial": 6, "popular": 5, "random": 4}
    assert found["accuracy"].value == pytest.approx(15 / 18)
    assert found["accuracy"].n == 18
    assert found["mean_f1"].value == pytest.approx(sum(found[f"{split}/f1"].value for split in SPLITS) / 3)
    assert found["mean_f1"].low < found["mean_f1"].value < found["mean_f1"].high


def test_other_numbers_of_answers_than_questions_are_refused(tmp_path: Path) -> None:
    said = write(tmp_path / "p.jsonl", [{"text": "yes"}] * 5)
    with pytest.raises(BadData, match=r"5 answers, and .* 6 questions"):
        score("pope", said, write(tmp_path / "r.json", truths()))
    with pytest.raises(BadData, match="row 1: none of the keys label"):
        score("pope", said)


def test_what_says_neither_is_unscored_in_lenient_mode_alone(tmp_path: Path) -> None:
    said = write(tmp_path / "p.jsonl", [{"text": text, "label": "yes"} for text in ("I see it", "YES!", "**No**")])
    lenient = score("pope", said, mode="lenient")
    assert list(lenient.unscored.values()) == ["neither yes nor no is said"]
    assert lenient.metrics["accuracy"].value == 0.5
    assert score("pope", said).metrics["accuracy"].value == 1, "only No, not and no mean no"
