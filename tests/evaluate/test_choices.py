"""Multiple-choice and yes/no benchmarks: official readings, the forms of files, and files that cannot be used."""

from __future__ import annotations

import json
import math
from pathlib import Path
from random import Random

import pytest

from isthmus.errors import BadData
from isthmus.evaluate.benchmarks import score

openpyxl = pytest.importorskip("openpyxl")


def lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def dumped(path: Path, held: object) -> Path:
    path.write_text(json.dumps(held), encoding="utf-8")
    return path


def sheet(path: Path, rows: list[dict]) -> Path:
    """As XLSX; None leaves a cell empty."""
    book = openpyxl.Workbook()
    names = list(dict.fromkeys(name for row in rows for name in row))
    book.active.append(names)
    for row in rows:
        book.active.append([row.get(name) for name in names])
    book.save(path)
    return path


def values(found) -> dict[str, float]:
    return {name: figure.value for name, figure in found.metrics.items()}


MME = [("a.jpg", "Is it red?", "Yes", "yes, it is"), ("a.jpg", "Is it blue?", "No", "No."),
       ("b.jpg", "Is it red?", "Yes", "The answer is yes"), ("b.jpg", "Is it blue?", "No", "no")]  # fmt: skip


def test_mme_folder_of_the_eval_tool(tmp_path):
    """Three of four right and one of two pictures: 75 + 50 points; no yes or no in four characters is wrong."""
    (tmp_path / "color.txt").write_text("".join("\t".join(row) + "\n" for row in MME), encoding="utf-8")
    (tmp_path / "code_reasoning.txt").write_text("1.png\tIs it c?\tNo\tyes\n1.png\tIs it py?\tYes\tyes\n")
    found = score("mme", tmp_path)
    told = values(found)
    assert told["perception"] == 125
    assert told["color/score"] == 125
    assert told["cognition"] == 50
    assert told["total"] == 175
    assert told["color/accuracy"] == 0.75
    assert told["color/accuracy_plus"] == 0.5
    assert any("1 answers begin with neither" in note for note in found.notes)
    assert any("perception is the sum without existence" in note for note in found.notes)


def test_mme_llava_answers_and_truths(tmp_path):
    truths = tmp_path / "truths" / "color"
    truths.mkdir(parents=True)
    for name in "ab":
        (truths / f"{name}.txt").write_text(
            "Is it red?  Please answer yes or no.\tYes\nIs it blue? Please answer yes or no.\tNo\n"
        )
    said = "Answer the question using a single word or phrase."
    rows = [
        {"question_id": f"color/{image}", "prompt": f"{question}\n{said}", "text": answer, "answer_id": "x"}
        for image, question, _, answer in MME
    ]
    answers = lines(tmp_path / "a.jsonl", rows)
    assert values(score("mme", answers, tmp_path / "truths"))["perception"] == 125
    lenient = score("mme", answers, tmp_path / "truths", "lenient")
    assert values(lenient)["perception"] == 200
    assert not lenient.unscored
    short = score("mme", lines(tmp_path / "b.jsonl", rows[:3]), tmp_path / "truths")
    assert list(short.unscored.values()) == ["no prediction"]
    with pytest.raises(BadData, match="twice"):
        score("mme", lines(tmp_path / "c.jsonl", [*rows, rows[0]]), tmp_path / "truths")
    with pytest.raises(BadData, match="references has it"):
        score("mme", answers)


def test_mme_lenient_leaves_a_picture_out_whose_partner_cannot_be_read(tmp_path):
    (tmp_path / "color.txt").write_text("a\tq1\tYes\tperhaps\na\tq2\tNo\tno\nb\tq1\tYes\tyes\nb\tq2\tNo\tno\n")
    found = score("mme", tmp_path, mode="lenient")
    assert values(found)["color/score"] == 200
    assert len(found.unscored) == 2
    assert found.metrics["color/score"].n == 2


MMBENCH = [
    {"index": 7, "question": "?", "A": "cat", "B": "dog", "answer": "A", "prediction": "A", "category": "x y"},
    {"index": 1000007, "question": "?", "A": "dog", "B": "cat", "answer": "B", "prediction": "(B)", "category": "x y"},
    {"index": 8, "question": "?", "A": "red", "B": "blue", "answer": "A", "prediction": "A. red", "category": "z"},
    {"index": 1000008, "question": "?", "A": "blue", "B": "red", "answer": "B", "prediction": "blue", "category": "z"},
    {"index": 9, "question": "?", "A": "up", "B": "down", "answer": "B", "prediction": "A or B", "category": "z"},
]


def test_mmbench_circular(tmp_path):
    """7 is right in both rounds, 8 in one of two, 9 says nothing clear: 1/3, and 2/3 in the first round."""
    found = score("mmbench", sheet(tmp_path / "a.xlsx", MMBENCH))
    assert values(found) == pytest.approx(
        {"accuracy": 1 / 3, "vanilla_accuracy": 2 / 3, "x_y/accuracy": 1, "z/accuracy": 0}
    )
    assert any("1 answers choose no option" in note for note in found.notes)
    lenient = score("mmbench", sheet(tmp_path / "b.xlsx", MMBENCH), mode="lenient")
    assert lenient.metrics["accuracy"].n == 2
    assert lenient.unscored == {"9": "no option can be read"}


def test_splits_of_one_sheet_have_their_own_figures(tmp_path):
    rows = [row | {"split": "dev" if row["index"] % 1_000_000 == 7 else "test"} for row in MMBENCH]
    told = values(score("mmbench", sheet(tmp_path / "a.xlsx", rows)))
    assert (told["dev/accuracy"], told["test/accuracy"], told["test/z/accuracy"]) == (1, 0, 0)
    row = {"question": "?", "A": "x", "B": "y", "answer": "A", "category": "Math"}
    some = [
        ("dev_Math_1", "dev", "A"),
        ("validation_Math_1", "validation", "B"),
        ("validation_Math_2", "validation", "A"),
    ]
    rows = [
        row | {"index": i, "id": name, "split": split, "prediction": said} for i, (name, split, said) in enumerate(some)
    ]
    told = values(score("mmmu", sheet(tmp_path / "b.xlsx", rows)))
    assert (told["accuracy"], told["dev/accuracy"], told["validation/math/accuracy"]) == (pytest.approx(2 / 3), 1, 0.5)


def test_mmbench_a_wrong_round_settles_a_question_that_has_an_unscored_one(tmp_path):
    rows = [MMBENCH[0] | {"prediction": "A or B"}, MMBENCH[1] | {"prediction": "A"}]
    found = score("mmbench", sheet(tmp_path / "a.xlsx", rows), mode="lenient")
    assert found.metrics["accuracy"].n == 1
    assert found.metrics["accuracy"].value == 0


def test_mmbench_answers_with_references_and_other_names(tmp_path):
    keys = ("index", "question", "A", "B", "answer", "category")
    table = "\n".join(["\t".join(keys), *("\t".join(str(row[key]) for key in keys) for row in MMBENCH)])
    (tmp_path / "dev.tsv").write_text(table, encoding="utf-8")
    rows = [{"Question_ID": row["index"], "prompt": "?", "Text": row["prediction"]} for row in MMBENCH]
    found = score("mmbench", lines(tmp_path / "a.jsonl", rows), tmp_path / "dev.tsv")
    assert values(found)["accuracy"] == pytest.approx(1 / 3)
    assert values(found)["z/accuracy"] == 0
    few = score("mmbench", lines(tmp_path / "b.jsonl", rows[:4]), tmp_path / "dev.tsv")
    assert few.unscored == {"9": "no prediction"}
    assert few.metrics["accuracy"].n == 2
    other = lines(tmp_path / "c.jsonl", [{"question_id": 77, "text": "A"}])
    with pytest.raises(BadData, match="same split"):
        score("mmbench", other, tmp_path / "dev.tsv")


def test_mmbench_empty_and_nan_cells_and_a_judges_verdicts(tmp_path):
    rows = [MMBENCH[0] | {"prediction": None}, MMBENCH[2]]
    found = score("ai2d", sheet(tmp_path / "a.xlsx", [MMBENCH[2], rows[0]]))
    assert found.metrics["accuracy"][:1] == (0.5,)
    assert score("ai2d", lines(tmp_path / "a.jsonl", rows), mode="lenient").unscored == {"7": "no prediction"}
    nan = lines(tmp_path / "b.jsonl", [rows[0] | {"prediction": math.nan}, rows[1]])
    assert score("ai2d", nan, mode="lenient").unscored == {"7": "no prediction"}
    hits = [row | {"hit": row["index"] == 8} for row in rows]
    assert values(score("ai2d", sheet(tmp_path / "c.xlsx", hits)))["accuracy"] == 0.5


PROBLEMS = {
    "1": {"choices": ["a", "b"], "answer": 1, "hint": "h", "image": "i.png", "subject": "natural science",
          "grade": "grade2", "split": "test"},
    "2": {"choices": ["a", "b"], "answer": 0, "hint": "", "image": None, "subject": "social science",
          "grade": "grade9", "split": "test"},
    "3": {"choices": ["a", "b"], "answer": 0, "hint": "", "image": "i.png", "subject": "language science",
          "grade": "grade6", "split": "test"},
    "9": {"choices": ["a", "b"], "answer": 0, "hint": "", "image": None, "subject": "social science",
          "grade": "grade9", "split": "train"},
}  # fmt: skip


def science(tmp_path: Path) -> Path:
    folder = tmp_path / "scienceqa"
    folder.mkdir()
    dumped(folder / "problems.json", PROBLEMS)
    dumped(folder / "pid_splits.json", {"train": ["9"], "test": ["1", "2", "3"]})
    return folder


def test_scienceqa_llava_answers(tmp_path):
    """C is no option of two and so wrong; a missing answer is wrong, too, as in LLaVA's code."""
    rows = [{"question_id": "1", "prompt": "<image>", "text": "B. b"}, {"question_id": "2", "text": "C"}]
    found = score("scienceqa", lines(tmp_path / "a.jsonl", rows), science(tmp_path))
    assert values(found) == pytest.approx({
        "accuracy": 1 / 3, "img/accuracy": 1 / 2, "nat/accuracy": 1, "soc/accuracy": 0, "lan/accuracy": 0,
        "txt/accuracy": 1, "no/accuracy": 0, "g1-6/accuracy": 1 / 2, "g7-12/accuracy": 0,
    })  # fmt: skip
    assert found.metrics["accuracy"].n == 3
    assert not found.unscored
    lenient = score("scienceqa", tmp_path / "a.jsonl", tmp_path / "scienceqa", "lenient")
    assert lenient.unscored == {"3": "no prediction", "2": "no option can be read"}


def test_scienceqa_results_and_judged_answers(tmp_path):
    results = dumped(tmp_path / "r.json", {"acc": 1, "correct": 2, "count": 3, "results": {"1": 1, "2": -1, "3": 0}})
    assert values(score("scienceqa", results, science(tmp_path)))["accuracy"] == pytest.approx(2 / 3)
    told = {"question_id": "1", "ground_truth": "A", "pred": "The answer is A.", "is_multimodal": True}
    other = {"question_id": "2", "ground_truth": "A", "pred": "The answer is B.", "is_multimodal": False}
    found = score("scienceqa", dumped(tmp_path / "j.json", {"correct": [told], "incorrect": [other]}))
    assert values(found) == {"accuracy": 0.5, "img/accuracy": 1}
    with pytest.raises(BadData, match="truths are not in it"):
        score("scienceqa", results)


def exam(name: str, response: str, answer: str, **more) -> dict:
    options = {"A": "left", "B": "right", "C": "up", "D": "down"}
    return {"id": name, "question_type": "multiple-choice", "answer": answer, "all_choices": list(options),
            "index2ans": options, "response": response} | more  # fmt: skip


def test_mmmu_draws_as_the_authors_code_does(tmp_path):
    """Letters are drawn with one seed 42 through the subjects by their names: Accounting before Sociology."""
    subjects = {"Sociology": [exam(f"validation_Sociology_{i}", "?", "B") for i in range(5)],
                "Accounting": [exam(f"validation_Accounting_{i}", "?", "B") for i in range(5)]}  # fmt: skip
    for subject, rows in subjects.items():
        (tmp_path / subject).mkdir()
        dumped(tmp_path / subject / "output.json", rows)
    draws = Random(42)
    drawn = [draws.choice("ABCD") == "B" for _ in range(10)]
    told = values(score("mmmu", tmp_path))
    assert told["accounting/accuracy"] == sum(drawn[:5]) / 5
    assert told["sociology/accuracy"] == sum(drawn[5:]) / 5
    assert told["business/accuracy"] == told["accounting/accuracy"]
    assert told["accuracy"] == sum(drawn) / 10
    assert len(score("mmmu", tmp_path, mode="lenient").unscored) == 10


def test_mmmu_open_answers_and_answers_by_id(tmp_path):
    opened = {"question_type": "open", "response": "The force is 1,250 N = 7.126", "answer": ["7.13", "x"]}
    rows = [exam("validation_Art_1", "not (A) but (B)", "B"), {"id": "validation_Art_2"} | opened]
    assert values(score("mmmu", dumped(tmp_path / "o.json", rows)))["accuracy"] == 1
    said = dumped(tmp_path / "s.json", {"validation_Art_1": "B", "validation_Art_2": "seven"})
    truths = {
        "validation_Art_1": {"question_type": "multiple-choice", "ground_truth": "B"},
        "validation_Art_2": {"question_type": "open", "ground_truth": "seven"},
        "validation_Art_Theory_3": {"question_type": "multiple-choice", "ground_truth": "A"},
    }
    found = score("mmmu", said, dumped(tmp_path / "t.json", truths))
    assert values(found)["accuracy"] == 1
    assert found.unscored == {"validation_Art_Theory_3": "no prediction"}
    with pytest.raises(BadData, match="twice"):
        score("mmmu", dumped(tmp_path / "d.json", [rows[0], rows[0]]))


def test_mmmu_pro_takes_the_recorded_draw(tmp_path):
    row = {"id": "test_Art_1", "options": "['yes', 'no']", "answer": "B", "subject": "Art"}
    rows = [row | {"response": "Answer: (B)"}, row | {"id": "test_Art_2", "response": "-", "pred_indexs": "B"}]
    found = score("mmmu-pro", lines(tmp_path / "a.jsonl", rows))
    assert values(found)["accuracy"] == 1
    assert any("1 letters were drawn" in note for note in found.notes)
    assert len(score("mmmu-pro", tmp_path / "a.jsonl", mode="lenient").unscored) == 1


STAR = [
    {"index": i, "question": "? Options: A: red, B: blue", "answer": "B", "category": "math",
     "l2_category": "geometry", "prediction": said}
    for i, said in enumerate(["B", "(b) blue", "The answer is B", "It is B"])
]  # fmt: skip


def test_mmstar(tmp_path):
    found = score("mmstar", sheet(tmp_path / "a.xlsx", STAR))
    assert values(found) == {"accuracy": 0.75, "math/accuracy": 0.75, "math/geometry/accuracy": 0.75}
    assert any("1 answers begin with no letter" in note for note in found.notes)


def test_mmstar_gain_and_leakage(tmp_path):
    """S_v = 3/4, S_wv = 1/2, S_t = 1/4: a gain of 1/4 and a leakage of 1/4; never below nothing."""
    folder = tmp_path / "files"
    folder.mkdir()
    sheet(folder / "m.xlsx", STAR)
    sheet(folder / "m_wo_v.xlsx", [row | {"prediction": said} for row, said in zip(STAR, "BBAA", strict=True)])
    sheet(folder / "m_text.xlsx", [row | {"prediction": said} for row, said in zip(STAR, "BAAA", strict=True)])
    told = values(score("mmstar", folder))
    assert told["multimodal_gain"] == 0.25
    assert told["multimodal_leakage"] == 0.25
    assert told["wo_v/accuracy"] == 0.5
    assert told["math/multimodal_gain"] == 0.25
    columns = [row | {"prediction_wo_v": "A", "prediction_text": "B"} for row in STAR]
    assert values(score("mmstar", sheet(tmp_path / "c.xlsx", columns)))["multimodal_leakage"] == 0
    sheet(folder / "m2.xlsx", STAR)
    with pytest.raises(BadData, match="expected one file"):
        score("mmstar", folder)


def test_seed_bench(tmp_path):
    truths = {
        "question_type": {"Scene Understanding": 1, "Action Recognition": 10},
        "questions": [
            {"question_id": "1", "answer": "A", "data_type": "image", "question_type_id": 1, "data_id": "x"},
            {"question_id": "2", "answer": "A", "data_type": "image", "question_type_id": 1, "data_id": "x"},
            {"question_id": "v3", "answer": "A", "data_type": "video", "question_type_id": 10, "data_id": "y"},
        ],
    }
    rows = [{"question_id": 1, "text": "A"}, {"question_id": 2, "text": "A."}, {"question_id": "v3", "text": "A"}]
    found = score("seed-bench", lines(tmp_path / "a.jsonl", rows), dumped(tmp_path / "s.json", truths))
    assert list(found.metrics) == ["accuracy", "image/accuracy", "video/accuracy", "scene_understanding/accuracy",
                                   "action_recognition/accuracy"]  # fmt: skip
    assert list(values(found).values()) == pytest.approx([2 / 3, 0.5, 1, 0.5, 1])
    assert values(score("seed-bench", tmp_path / "a.jsonl", tmp_path / "s.json", "lenient"))["accuracy"] == 1
    own = [{"q_id": "1", "prediction": "B", "gt": "B", "q_type_id": 12}]
    told = values(score("seed-bench", lines(tmp_path / "b.jsonl", own)))
    assert told == {"accuracy": 1, "video/accuracy": 1, "procedure_understanding/accuracy": 1}


def illusion(place: str, gt: str, check: str | None = None, same: str = "0", said: str = "") -> dict:
    keys = ("category", "subcategory", "visual_input", "set_id", "figure_id", "question_id")
    row = dict(zip(keys, place.split(), strict=True)) | {"gt_answer": gt, "same": same, "model_prediction": said}
    return row | ({} if check is None else {"gpt4v_output_gpt_check": check})


JUDGED = [
    illusion("VD ocr 1 0 0 0", "1", "1"),  # the original is right,
    illusion("VD ocr 2 0 1 0", "0", "0", same="1"),  # the edited one is not: mixed
    illusion("VD ocr 1 0 0 1", "1", "2"),  # unclear with a figure: visual illusion
    illusion("VS map 0 0 0 0", "1", "2"),  # unclear without one: right
    illusion("VS map 2 0 1 0", "1", "1"),
    illusion("VS map 0 0 0 1", "0", "0"),  # language hallucination
]


def test_hallusionbench_by_a_judges_verdicts(tmp_path):
    told = values(score("hallusionbench", dumped(tmp_path / "r.json", JUDGED)))
    assert told["a_acc"] == 3 / 6
    assert told["q_acc"] == 1 / 4
    assert told["f_acc"] == 1 / 3  # of VD 0 and 1, VS 1; VS 0 shows nothing
    assert told["easy_a_acc"] == 2 / 4
    assert told["hard_a_acc"] == 1 / 2
    assert told["vd/a_acc"] == 1 / 3
    assert told["vs/a_acc"] == 2 / 3
    assert told["ocr/q_acc"] == 0
    assert told["consistency/inconsistent"] == 1 / 3
    assert told["consistency/wrong"] == 1 / 3
    assert [told[name] for name in ("language_hallucination", "visual_illusion", "mixed")] == [1 / 3] * 3
    # yes is taken to be said where right and true are the same: rows 1, 2, 4, 5, 6; the truth is yes in four
    assert told["yes_percentage_difference"] == pytest.approx(5 / 6 - 4 / 6)
    assert told["fp_ratio"] == 2 / 3


def test_hallusionbench_hard_is_an_edited_figure_and_not_any_second_one(tmp_path):
    rows = [
        illusion("VS map 0 0 0 0", "1", "1"),
        illusion("VS map 1 0 1 0", "1", "0"),
        illusion("VS map 2 0 2 0", "1", "1"),
    ]
    told = values(score("hallusionbench", dumped(tmp_path / "r.json", rows)))
    assert told["easy_a_acc"] == 0
    assert told["hard_a_acc"] == 1


def test_hallusionbench_without_a_judge(tmp_path):
    rows = [
        illusion("VD ocr 1 0 0 0", "1", said="Yes."), illusion("VD ocr 2 0 1 0", "0", said="Yes, it is."),
        illusion("VD ocr 1 0 0 1", "0", said="Hard to say"),
    ]  # fmt: skip
    for row in rows:
        del row["same"]
    found = score("hallusionbench", dumped(tmp_path / "r.json", rows))
    assert values(found)["a_acc"] == 1 / 3
    assert any("no judge" in note for note in found.notes)
    assert values(found)["mixed"] == 0.5  # the same answer to the edited figure, told from the words
    assert len(score("hallusionbench", tmp_path / "r.json", mode="lenient").unscored) == 1
    with pytest.raises(BadData, match="twice"):
        score("hallusionbench", dumped(tmp_path / "d.json", [rows[0], rows[0]]))
    with pytest.raises(BadData, match="not 0"):
        score("hallusionbench", dumped(tmp_path / "v.json", [JUDGED[0] | {"gpt4v_output_gpt_check": "5"}]))


def test_hallusionbench_sheet_of_vlmevalkit(tmp_path):
    """By that toolkit's rule: unclear is wrong everywhere, and VS figure 0 counts as a figure."""
    rows = [
        {"index": "VS_map_0_0_0_0", "answer": "Yes", "category": "VS", "l2-category": "map", "prediction": "Unsure"},
        {"index": "VS_map_2_0_1_0", "answer": "Yes", "category": "VS", "l2-category": "map", "prediction": "yes."},
    ]
    told = values(score("hallusionbench", sheet(tmp_path / "a.xlsx", rows)))
    assert told["a_acc"] == 0.5
    assert told["q_acc"] == 0
    assert told["f_acc"] == 0.5
    assert told["average"] == pytest.approx(1 / 3)


def test_gqa(tmp_path):
    """Consistency: of the one right answer that entails another. Distribution: chi-square of red, red, blue."""
    question = {"types": {"structural": "query", "semantic": "attr"}, "groups": {"global": "color"}, "question": "a b"}
    question["semantic"] = [{"operation": "select", "argument": "x"}, {"operation": "exist", "argument": "?"}]
    truths = {
        "1": question | {"answer": "red", "entailed": ["1", "2"], "imageId": "n"},
        "2": question | {"answer": "red", "entailed": ["2"], "imageId": "n"},
        "3": question | {"answer": "blue", "types": {"structural": "verify"}, "imageId": "m"},
        "4": question | {"answer": "blue", "isBalanced": False},
    }
    rows = [{"question_id": i, "text": said} for i, said in zip("1234", ["Red.", "Blue", "blue", "no"], strict=True)]
    told = values(score("gqa", lines(tmp_path / "a.jsonl", rows), dumped(tmp_path / "t_questions.json", truths)))
    assert told["accuracy"] == pytest.approx(2 / 3)
    assert told["open/accuracy"] == 0.5
    assert told["binary/accuracy"] == 1
    assert told["consistency"] == 0
    assert told["steps/1/accuracy"] == pytest.approx(2 / 3)
    assert told["words/2/accuracy"] == pytest.approx(2 / 3)
    assert told["distribution"] == pytest.approx((2 - 1) ** 2 / 2 + (1 - 2) ** 2 / 1)
    assert "validity" not in told
    choices = {"1": {"valid": ["red", "blue"], "plausible": ["red"]}, "2": {"valid": ["red", "blue"], "plausible": []}}
    dumped(tmp_path / "t_choices.json", choices | {"3": {"valid": [], "plausible": []}})
    truths["3"]["types"] |= {"detailed": "existAttrCommon"}  # of which the authors take color, material, shape
    dumped(tmp_path / "t_questions.json", truths)
    told = values(score("gqa", tmp_path / "a.jsonl", tmp_path))
    assert (told["validity"], told["plausibility"]) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    exact = [{"questionId": "1", "prediction": "Red"}]
    assert values(score("gqa", dumped(tmp_path / "e.json", exact), tmp_path))["accuracy"] == 0


def test_mvbench(tmp_path):
    results = {
        "acc_dict": {"Action Sequence": [1, 2], "Moving Count": [1, 1]},
        "res_list": [
            {"pred": "(A)", "gt": "(A) he ran."},
            {"pred": "It is (A)", "gt": "(A) he."},
            {"pred": "", "gt": "(B) 3."},
        ],
    }
    found = score("mvbench", dumped(tmp_path / "r.json", results))
    assert values(found) == pytest.approx({
        "average": 0.75, "accuracy": 2 / 3, "action_sequence/accuracy": 0.5, "moving_count/accuracy": 1,
    })  # fmt: skip
    assert any("1 answers begin with no word" in note for note in found.notes)
    folder = tmp_path / "json"
    folder.mkdir()
    dumped(folder / "fine_action.json", [{"video": "v", "candidates": ["sat", "ran"], "answer": "ran"}])
    said = lines(tmp_path / "a.jsonl", [{"question_id": "fine_action_0", "text": "B"}])
    assert values(score("mvbench", said, folder))["fine_action/accuracy"] == 1


def test_muchomusic(tmp_path):
    row = {"answers": ["fast", "slow", "calm", "loud"], "answer_orders": [2, 0, 1, 3], "genre": "Folk Rock",
           "knowledge": ["tempo"], "reasoning": []}  # fmt: skip
    rows = [row | {"id": i, "model_output": said} for i, said in enumerate(["(B)", "A slow song", "it is slow", "Hm?"])]
    found = score("muchomusic", dumped(tmp_path / "a.json", rows))
    assert values(found) == {"accuracy": 0.5, "ifr": 0.75, "knowledge/accuracy": 0.5, "knowledge/tempo/accuracy": 0.5,
                             "genre/folk_rock/accuracy": 0.5}  # fmt: skip
    assert score("muchomusic", tmp_path / "a.json", mode="lenient").unscored == {"3": "no option can be read"}


NAMES = ["mme", "mmbench", "ai2d", "scienceqa", "mmmu", "mmmu-pro", "mmstar", "seed-bench", "hallusionbench", "gqa",
         "mvbench", "muchomusic"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("held", ["", "[]", "not json", "3", '{"a": [1, 2]}', '[{"foo": 1}]', "[1, 2]"])
def test_files_that_cannot_be_used_are_named(name, held, tmp_path):
    path = tmp_path / "wrong.json"
    path.write_text(held)
    for references in (None, path):
        with pytest.raises(BadData, match=r"wrong\.json|references"):
            score(name, path, references)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_folder_is_named(name, tmp_path):
    with pytest.raises(BadData):
        score(name, tmp_path)
