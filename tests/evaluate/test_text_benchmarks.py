"""Text benchmarks, speech, translation, retrieval and grounding: figures by the official rules, of made-up files."""

from __future__ import annotations

import csv
import gzip
import json
import math

import numpy as np
import pytest

from isthmus.errors import BadData
from isthmus.evaluate.benchmarks import score

SPEECH = ("wer", "cer", "bleu", "chrf", "retrieval", "refcoco", "coco-detection")
TEXTS = (*SPEECH, "arc", "entailment", "gsm8k", "humaneval", "math", "mgsm", "mmlu", "perplexity")


@pytest.fixture
def write(tmp_path):
    """Write a file: rows as JSON lines, lists of cells as CSV, else text; its path."""

    def written(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, list) and content and isinstance(content[0], list):
            with path.open("w", newline="") as file:
                csv.writer(file).writerows(content)
        elif isinstance(content, list):
            path.write_text("".join(json.dumps(row) + "\n" for row in content))
        else:
            path.write_text(content)
        return path

    return written


def value(found, name="accuracy"):
    return found.metrics[name].value


GSM = [
    {"question": "q1", "answer": "5 + 5 = 10 #### 10"},
    {"question": "q2", "answer": "#### 1,000"},
    {"question": "q3", "answer": "#### 7"},
    {"question": "q4", "answer": "#### 8"},
]


def test_gsm8k_has_the_authors_reading_and_the_harness_two(write):
    said = ["so #### 10", "#### 1000.", "It costs $7.", "nothing"]
    rows = [{"question": row["question"], "response": text} for row, text in zip(GSM, said, strict=True)]
    found = score("gsm8k", write("p.jsonl", rows[::-1]), write("test.jsonl", GSM))
    assert value(found) == 0.25  # "1000." is not "1000" to the authors
    assert value(found, "strict_match") == 0.5
    assert value(found, "flexible_extract") == 0.75
    assert "2 answers hold no '#### '" in found.notes[0]
    lenient = score("gsm8k", write("p.jsonl", rows), write("test.jsonl", GSM), "lenient")
    assert (value(lenient), lenient.metrics["accuracy"].n) == (1.0, 3)
    assert lenient.reasons() == {"no number in the answer": 1}


def test_gsm8k_reads_logged_samples_once_and_files_of_several_models(write):
    logged = [
        {"doc_id": i, "doc": row, "resps": [[text]], "filtered_resps": ["x"], "filter": name, "target": row["answer"]}
        for name in ("strict-match", "flexible-extract")
        for i, (row, text) in enumerate(zip(GSM, ["#### 10", "#### 1", "7", "#### 8"], strict=True))
    ]
    found = score("gsm8k", write("samples.jsonl", logged))
    assert found.metrics["accuracy"].n == 4
    assert value(found) == 0.5
    models = [
        {"question": "q", "ground_truth": "so\nA: 5", "6b": {"solution": "x\nA: 5"}, "175b": {"solution": "A: 4"}}
    ]
    found = score("gsm8k", write("models.jsonl", models))
    assert (value(found, "6b/accuracy"), value(found, "175b/accuracy")) == (1.0, 0.0)


def test_missing_odd_and_doubled_answers(write):
    rows = [{"id": 1, "answer": "#### 1"}, {"id": 2, "answer": "#### 2"}, {"id": 3, "answer": "#### 3"}]
    truth = write("t.jsonl", rows)
    found = score("gsm8k", write("p.jsonl", '{"ID": 1, "Prediction": "#### 1"}\n{"ID": 2, "Prediction": NaN}\n'), truth)
    assert found.unscored == {"2": "no prediction", "3": "no prediction"}
    assert value(found) == 1.0
    assert (
        value(score("gsm8k", write("p.jsonl", [{"id": i, "prediction": i} for i in (1, 2, 3)]), truth, "lenient"))
        == 1.0
    )
    for content, message in [
        ([{"id": 1, "prediction": "a"}, {"id": 1, "prediction": "b"}], "the id 1 stands twice"),
        ([{"id": 9, "prediction": "a"}], "1 answers and .* 3 questions"),
        ([{"id": 1, "other": "a"}], "no row has an answer.*Row 1 has id, other"),
        ("", "empty"),
        ("not json", "not JSON"),
    ]:
        with pytest.raises(BadData, match=message):
            score("gsm8k", write("p.jsonl", content), truth)
    with pytest.raises(BadData, match="row 1: a truth"):
        score("gsm8k", write("p.jsonl", [{"prediction": "1"}]))


def test_math_by_level_and_subject(write):
    rows = [
        {"problem": "a", "level": "Level 1", "type": "Algebra", "solution": r"so $\boxed{\frac{1}{2}}$"},
        {"problem": "b", "level": "Level 5", "type": "Number Theory", "solution": r"$\boxed{10\text{ cm}}$"},
        {"problem": "c", "level": "Level 5", "type": "Algebra", "solution": r"$\boxed{x=3}$"},
    ]
    said = [r"\boxed{1} or rather \boxed{\dfrac12}", "10", "the answer is $3$."]
    answers = [{"problem": row["problem"], "output": text} for row, text in zip(rows, said, strict=True)]
    truth = write("t.jsonl", rows)
    found = score("math", write("p.jsonl", answers), truth)
    assert value(found) == pytest.approx(2 / 3)
    assert value(found, "level_5/accuracy") == 0.5
    assert value(found, "algebra_level_5/accuracy") == 0
    assert "2 answers hold no" in found.notes[0]
    assert value(score("math", write("p.jsonl", answers), truth, "lenient")) == 1.0


def test_math_reads_the_authors_folder_and_their_outputs(write, tmp_path):
    for i, answer in enumerate(("2", "3")):
        one = {"problem": f"p{i}", "level": "Level 2", "type": "Geometry", "solution": rf"\boxed{{{answer}}}"}
        write(f"MATH/geometry/{i}.json", json.dumps(one))
    answers = write("p.jsonl", [{"problem": "p1", "prediction": r"\boxed{3}"}, {"problem": "p0", "prediction": "no"}])
    assert value(score("math", answers, tmp_path / "MATH"), "geometry/accuracy") == 0.5
    lines = "0 TYPE: Algebra | LEVEL: 1 | OUTPUT: 1/2 | ANSWER: \\frac{1}{2} | FNAME: a.json\n"
    lines += (
        "1 TYPE: Algebra | LEVEL: None | OUTPUT: None | ANSWER: 2 | FNAME: b.json\n####\nOverall Accuracy = 1/2 = 0.5\n"
    )
    assert value(score("math", write("outputs_answers_x.txt", lines))) == 0.5


def test_mgsm_looks_behind_the_word_for_answer(write, tmp_path):
    rows = [
        {"lang": "de", "targets": "18", "prediction": "6 * 3 = 18. Antwort: 18.0"},
        {"lang": "de", "targets": "18", "prediction": "18"},
        {"lang": "ja", "targets": "1,018", "prediction": "答え: 1018"},
    ]
    found = score("mgsm", write("p.jsonl", rows))
    assert value(found) == pytest.approx(2 / 3)
    assert value(found, "group_latin/accuracy") == value(found, "de/accuracy") == 0.5
    assert value(score("mgsm", write("p.jsonl", rows), mode="lenient")) == 1.0
    write("mgsm/mgsm_de.tsv", "Frage eins\t18\nFrage zwei\t7\n")
    write("mgsm/mgsm_en.tsv", "Question one\t18\n")
    answers = [
        {"inputs": "Question one", "prediction": "Answer: 18"},
        {"inputs": "Frage zwei", "prediction": "Antwort: 8"},
    ]
    found = score("mgsm", write("p2.jsonl", answers), tmp_path / "mgsm")
    assert (value(found, "en/accuracy"), value(found, "de/accuracy"), len(found.unscored)) == (1.0, 0.0, 1)
    with pytest.raises(BadData, match="of which language"):
        score("mgsm", write("p.jsonl", [{"targets": "1", "prediction": "1"}]))


def test_mmlu_letters_places_and_likelihoods(write):
    rows = [
        {"subject": "anatomy", "answer": 1, "choices": list("wxyz"), "prediction": "Thus\nAnswer: **B**"},
        {"subject": "anatomy", "answer": "C", "choices": list("wxyz"), "prediction": "(c)"},
        {"subject": "astronomy", "answer": 0, "choices": list("wxyz"), "prediction": "I would say A is right"},
        {"subject": "astronomy", "answer": 0, "choices": list("wxyz"), "prediction": "answer: a"},
    ]
    found = score("mmlu", write("p.jsonl", rows))
    assert value(found) == 0.5  # a small letter behind "Answer:" is none of the official letters
    assert value(found, "other/accuracy") == 1.0
    assert value(found, "macro_accuracy") == 0.5
    assert score("mmlu", write("p.jsonl", rows), mode="lenient").metrics["accuracy"].value >= 0.75
    logged = [
        {"doc_id": i, "doc": {"subject": "anatomy", "choices": list("wxyz"), "answer": i}, "target": i,
         "filtered_resps": [["-3.0", "False"], ["-1.5", "True"], ["-2", "False"], ["-9", "False"]]}
        for i in range(4)
    ]  # fmt: skip
    assert value(score("mmlu", write("samples_mmlu_anatomy.jsonl", logged))) == 0.25


def test_mmlu_reads_the_authors_tables(write, tmp_path):
    write("test/anatomy_test.csv", [["Q, one?", "w", "x", "y", "z", "B"], ["Q2", "w", "x", "y", "z", "A"]])
    answers = [{"id": "anatomy/1", "prediction": "A"}, {"id": "anatomy/0", "prediction": "C"}]
    assert value(score("mmlu", write("p.jsonl", answers), tmp_path / "test"), "anatomy/accuracy") == 0.5
    ordered = [{"subject": "anatomy", "prediction": "B"}]
    found = score("mmlu", write("p.jsonl", ordered), tmp_path / "test")
    assert (value(found), found.unscored) == (1.0, {"anatomy/1": "no prediction"})
    head = ["0", "1", "2", "3", "4", "5", "ada_correct", *(f"ada_choice{letter}_probs" for letter in "ABCD")]
    table = [
        head,
        ["Q", "w", "x", "y", "z", "D", True, 0.1, 0.2, 0.3, 0.4],
        ["Q", "w", "x", "y", "z", "A", False, 0, 1, 0, 0],
    ]
    write("results/anatomy.csv", table)
    assert value(score("mmlu", tmp_path / "results"), "other/accuracy") == 0.5


def test_arc_ties_numbered_choices_and_likelihoods(write):
    def question(name, key, names="ABCD"):
        choices = [{"text": "t" * (i + 1), "label": label} for i, label in enumerate(names)]
        return {"id": name, "question": {"stem": "?", "choices": choices}, "answerKey": key}

    truth = write("ARC-Challenge-Test.jsonl", [question("a", "C"), question("b", "2", "1234"), question("c", "A")])
    found = score("arc", write("p.csv", [["a", "C;D"], ["b", "2"]]), truth)
    assert value(found) == 0.75
    assert found.unscored == {"c": "no prediction"}
    rows = [{"id": "a", "prediction": "Answer: C"}, {"id": "b", "prediction": "2"}, {"id": "c", "prediction": "B"}]
    assert value(score("arc", write("p.jsonl", rows), truth)) == pytest.approx(2 / 3)
    logged = [
        {
            "doc_id": 0,
            "doc": question("a", "B"),
            "filtered_resps": [["-1", "False"], ["-1.5", "False"], ["-9", "False"], ["-9", "False"]],
        }
    ]
    found = score("arc", write("s.jsonl", logged))
    assert (value(found), value(found, "acc_norm")) == (0.0, 1.0)


def test_humaneval_runs_samples_and_packed_references(write, tmp_path):
    task = {"prompt": "def add(a, b):\n", "entry_point": "add", "test": "def check(f):\n    assert f(1, 2) == 3\n"}
    with gzip.open(tmp_path / "HumanEval.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(task | {"task_id": f"HumanEval/{i}"}) + "\n" for i in range(3))
    rows = [
        {"task_id": "HumanEval/0", "completion": "    return a + b\n"},
        {"task_id": "HumanEval/0", "completion": "    return a - b\n"},
        {"task_id": "HumanEval/1", "solution": "def add(a, b):\n    return 3\n"},
    ]
    found = score("humaneval", write("samples.jsonl", rows), tmp_path / "HumanEval.jsonl.gz")
    assert value(found, "pass@1") == 0.75
    assert found.unscored == {"HumanEval/2": "no prediction"}
    assert "1 failed, 2 passed" in found.notes[0]
    ran = [{"task_id": f"t{i % 2}", "completion": "", "passed": i in (0, 1, 2)} for i in range(20)]
    found = score("humaneval", write("samples_results.jsonl", ran))
    assert value(found, "pass@1") == pytest.approx(0.15)
    assert value(found, "pass@10") == 1.0
    with pytest.raises(BadData, match="needs --references"):
        score("humaneval", write("samples.jsonl", rows))


def test_wer_pools_a_corpus_and_counts_what_is_said_in_silence(write, tmp_path):
    truth = write("ref.txt", "the cat sat\n\nyes\n")
    found = score("wer", write("hyp.txt", "the bat sat down\num\nyes\n"), truth)
    assert value(found, "wer") == 3 / 4
    assert value(found, "insertion_rate") == 2 / 4
    assert value(found, "sentence_error_rate") == pytest.approx(2 / 3)
    assert "1 references are empty" in found.notes[0]
    loud = write("hyp.txt", "The cat sat!\n\nYes.\n")
    assert value(score("wer", loud, truth), "wer") == 3 / 4
    assert value(score("wer", loud, truth, "lenient"), "wer") == 0
    with pytest.raises(BadData, match=r"2 texts and .* 3"):
        score("wer", write("hyp.txt", "one\ntwo\n"), truth)


def test_wer_reads_the_forms_of_speech_corpora(write, tmp_path):
    write("dev/1272/128104/1272-128104.trans.txt", "1272-128104-0000 MISTER QUILTER\n1272-128104-0001 NOR IS\n")
    by_id = write("hyp.txt", "1272-128104-0001 NOR WAS\n1272-128104-0000 MISTER QUILTER\n")
    trn = write("hyp.trn", "NOR WAS (1272-128104-0001)\nMISTER QUILTER (1272-128104-0000)\n")
    mapping = write("hyp.json", json.dumps({"1272-128104-0001": "NOR WAS", "1272-128104-0000": "MISTER QUILTER"}))
    kaldi = write("text", "1272-128104-0000 MISTER QUILTER\n1272-128104-0001 NOR IS\n")
    assert value(score("wer", by_id, kaldi), "wer") == 0.25
    for said in (trn, mapping):
        assert value(score("wer", said, tmp_path / "dev"), "wer") == 0.25
    inside = write("rows.jsonl", [{"text": "nor is", "prediction": "nor was"}, {"text": "a b", "prediction": None}])
    found = score("wer", inside)
    assert (value(found, "wer"), found.reasons()) == (0.5, {"no prediction": 1})
    assert value(score("cer", inside), "cer") == 2 / 6


def test_bleu_and_chrf_are_sacrebleus(write):
    import sacrebleu

    said = ["the cat sat on the mat today", "a dog runs", "no"]
    truths = [["the cat sat on a mat today", "a cat was on the mat"], ["the dog runs fast"], ["yes"]]
    rows = [{"prediction": one, "references": some} for one, some in zip(said, truths, strict=True)]
    streams = [[some[0] for some in truths], ["a cat was on the mat", None, None]]
    found = score("bleu", write("p.jsonl", rows))
    expected = sacrebleu.corpus_bleu(said, streams)
    assert value(found, "bleu") == expected.score
    assert value(found, "precision_2") == expected.precisions[1]
    assert value(found, "brevity_penalty") == expected.bp
    assert found.metrics["bleu"].low < value(found, "bleu") < found.metrics["bleu"].high
    assert "tok:13a" in found.notes[0]
    found = score("chrf", write("p.jsonl", rows))
    assert value(found, "chrf") == sacrebleu.corpus_chrf(said, streams).score
    assert value(found, "chrf++") == sacrebleu.corpus_chrf(said, streams, word_order=2).score


def test_perplexity_by_token_word_and_byte(write):
    rows = [
        {"text": "two words", "logprobs": [None, -math.log(4), -math.log(4)]},
        {"text": "one", "logprobs": [-math.log(2)]},
    ]
    found = score("perplexity", write("p.jsonl", rows))
    assert value(found, "perplexity") == pytest.approx(2 ** (5 / 3))
    assert value(found, "word_perplexity") == pytest.approx(2 ** (5 / 3))
    assert value(found, "bits_per_byte") == pytest.approx(5 / 12)
    only = score(
        "perplexity",
        write("p.jsonl", [{"loglikelihood": -2.0, "tokens": 2}, {"loglikelihood": float("-inf"), "tokens": 1}]),
    )
    assert list(only.metrics) == ["perplexity"]
    assert only.reasons() == {"the log-likelihood is not finite": 1}
    logged = [{"doc_id": 0, "doc": {"page": "a b"}, "resps": [[[-3.0]]], "filtered_resps": [-3.0]}]
    assert value(score("perplexity", write("w.jsonl", logged)), "word_perplexity") == pytest.approx(math.exp(1.5))
    with pytest.raises(BadData, match="row 1: no log-likelihood"):
        score("perplexity", write("p.jsonl", [{"text": "a"}]))


def test_retrieval_both_ways(write, tmp_path):
    similarity = [[0.9, 0.1, 0.2, 0.3], [0.8, 0.7, 0.1, 0.6]]
    path = write("s.json", json.dumps({"similarity": similarity}))
    found = score("retrieval", path)  # two captions a picture
    assert value(found, "image_to_text/r@1") == 0.5
    assert value(found, "text_to_image/r@1") == 0.5
    assert value(found, "image_to_text/mean_rank") == 2.0
    assert value(found, "rsum") == 500
    assert found.metrics["rsum"].low <= 500 <= found.metrics["rsum"].high
    np.savez(tmp_path / "s.npz", similarity=np.array(similarity), image_of_caption=[0, 1, 1, 1])
    assert value(score("retrieval", tmp_path / "s.npz"), "text_to_image/r@1") == 0.75
    for content, message in [
        ({"similarity": [[1, 2, 3], [4, 5, 6]]}, "not as many for each"),
        ({"similarity": [[1, 2], [3]]}, "differ in length"),
        ({"other": 1}, "no matrix"),
        ({"similarity": [[1.0]], "image_of_caption": [4]}, "must name"),
    ]:
        with pytest.raises(BadData, match=message):
            score("retrieval", write("bad.json", json.dumps(content)))


def test_entailment_of_probabilities_logits_and_weights(write):
    rows = [
        {"id": 1, "probabilities": [[0.5, 0.25, 0.25], [0.7, 0.1, 0.2]], "weights": [1, 0]},
        {"id": 2, "logits": {"Entailment": 0.0, "Neutral": 0.0, "Contradiction": 0.0}},
        {"id": 3, "probabilities": []},
    ]
    found = score("entailment", write("p.jsonl", rows))
    assert value(found, "entailment_score") == pytest.approx((0.6 + 1 / 3) / 2)
    assert value(found, "weighted_score") == pytest.approx((0.75 / 2 + 2 / 3) / 2)
    assert found.reasons() == {"no reference": 1}
    with pytest.raises(BadData, match="sum to 1"):
        score("entailment", write("p.jsonl", [{"probabilities": [[0.5, 0.1, 0.1]]}]))


def test_refcoco_reads_boxes_of_999_fractions_and_pixels(write, tmp_path):
    rows = [
        {"answer": "<box>(0,0),(999,999)</box>", "gt_bbox": [0, 0, 640, 480], "hw": [480, 640]},
        {"answer": "[0.0, 0.0, 0.5, 0.5]", "gt_bbox": [0, 0, 320, 240], "hw": [480, 640]},
        {"answer": "[[0, 0, 500, 500]]", "gt_bbox": [0, 0, 640, 480], "hw": [480, 640]},  # of 1000: a quarter
        {"answer": "the left one", "gt_bbox": [0, 0, 640, 480], "hw": [480, 640]},
    ]
    found = score("refcoco", write("p.jsonl", rows))
    assert value(found) == 0.5
    assert value(found, "mean_iou") == pytest.approx((1 + 1 + 0.25) / 4)
    assert "1 answers hold no box" in found.notes[0]
    assert score("refcoco", write("p.jsonl", rows), mode="lenient").metrics["accuracy"].n == 3
    truth = write("t.jsonl", [{"id": i, "image": "a.jpg", "bbox": [0, 0, 10, 10], "sent": "x"} for i in (1, 2)])
    said = write("p.jsonl", [{"id": 2, "bbox": [0, 0, 10, 5]}, {"id": 1, "bbox": [0, 0, 10, 4.9]}])
    assert value(score("refcoco", said, truth)) == 0.5


def test_coco_detection(write):
    truth = {
        "images": [{"id": 1}],
        "annotations": [{"image_id": 1, "category_id": 3, "bbox": [0, 0, 10, 10], "area": 80, "iscrowd": 0}],
    }
    said = [{"image_id": 1, "category_id": 3, "bbox": [0, 0, 10, 8], "score": 0.5}]
    found = score("coco-detection", write("r.json", json.dumps(said)), write("t.json", json.dumps(truth)))
    assert value(found, "map") == pytest.approx(0.7)
    with pytest.raises(BadData, match="same split"):
        score(
            "coco-detection",
            write("r.json", json.dumps([said[0] | {"image_id": 9}])),
            write("t.json", json.dumps(truth)),
        )


def test_an_empty_answer_is_wrong_and_a_missing_one_unscored(write):
    rows = [{"id": 1, "answer": "#### 5", "prediction": ""}, {"id": 2, "answer": "#### 5", "prediction": None}]
    found = score("gsm8k", write("p.jsonl", [*rows, {"id": 3, "answer": "#### 5", "prediction": "#### 5"}]))
    assert (value(found), found.metrics["accuracy"].n, found.unscored) == (0.5, 2, {"2": "no prediction"})


@pytest.mark.parametrize("name", TEXTS)
def test_a_listing_reads_each_file_without_importing_it(name):
    from isthmus.evaluate.benchmarks import PACKAGE
    from isthmus.registry import constants

    assert {"ABOUT", "SOURCE", "PREDICTIONS", "REFERENCES"} <= constants(PACKAGE, name).keys()
