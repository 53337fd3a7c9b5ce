"""Judged answers: what a judge's files give, failed judgements, several runs, and answers nobody judged."""

from __future__ import annotations

import json

import numpy as np
import pytest

from isthmus.errors import BadData
from isthmus.evaluate.benchmarks import score


@pytest.fixture
def write(tmp_path):
    def put(name: str, content):
        path = tmp_path / name
        if name.endswith(".jsonl"):
            content = "\n".join(json.dumps(row) for row in content)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return put


def values(found, digits=4):
    return {name: round(figure.value, digits) for name, figure in found.metrics.items()}


def review(k, kind, *scores, **more):
    return {"question_id": k, "category": f"llava_bench_{kind}", "tuple": list(scores), **more}


REVIEWS = [review(0, "conv", 8.0, 10.0), review(1, "detail", 9.0, 6.5), review(2, "complex", 9.0, 8.5)]


def test_llava_bench_as_the_reference_prints_it(write):
    found = values(score("llava-bench", write("p.jsonl", REVIEWS)), 1)
    means = np.array([row["tuple"] for row in REVIEWS]).mean(0)
    assert (
        found["relative_score"] == round(round(means[1], 3) / round(means[0], 3) * 100, 1) == 96.1
    )  # not 96.2, which the means unrounded give
    assert (found["conv/relative_score"], found["detail/relative_score"]) == (125.0, 72.2)
    assert (found["score"], found["reference_score"]) == (83.3, 86.7)
    assert list(found)[3:6] == ["conv/relative_score", "conv/score", "conv/reference_score"]


def test_llava_bench_knows_the_pictures_from_the_questions(write):
    rows = [{"question_id": k, "tuple": [8.0, 2.0 * k]} for k in range(4)]
    path = write("p.jsonl", rows)
    kinds = write("q.jsonl", [{"question_id": k, "image": f"{k // 2}.jpg", "category": "conv"} for k in range(4)])
    alone, together = score("llava-bench", path), score("llava-bench", path, kinds)
    assert together.metrics["score"].value == alone.metrics["score"].value == 30.0
    assert (together.metrics["score"].low, together.metrics["score"].high) == (10.0, 50.0)  # two pictures: 1 and 5
    assert together.metrics["conv/score"].n == 4


def test_llava_bench_reads_the_first_line_where_there_is_no_tuple(write):
    rows = [{"question_id": 0, "content": "8, 10\nBoth"}, {"question_id": 1, "content": "Scores: 9 and 6\nBoth"}]
    path = write("p.jsonl", rows)
    found = score("llava-bench", path)  # "8  10" has three parts for the reference's parser
    assert values(found, 1)["relative_score"] == 100.0
    assert "2 reviews without two scores count as -1" in found.notes[0]
    found = score("llava-bench", path, None, "lenient")
    assert values(found, 1)["relative_score"] == round(1600 / 17, 1)
    rows[1]["content"] = "Both are good."
    found = score("llava-bench", write("p.jsonl", rows), None, "lenient")
    assert found.reasons() == {"the judge's two scores cannot be read": 1}
    assert found.metrics["score"].n == 1


def test_llava_bench_of_several_runs_and_of_both_orders(write):
    folder = write("runs/eval1.jsonl", REVIEWS).parent
    write("runs/eval2.jsonl", [review(k, "conv", 10.0, 5.0) for k in range(3)])
    found = values(score("llava-bench", folder), 2)
    assert found["eval1/relative_score"] == 96.15
    assert found["relative_score"] == 73.08  # of 96.154 and 50
    both = write("both/a.jsonl", [review(0, "conv", 8, 4, answer1_id="r", answer2_id="m")]).parent
    write("both/b.jsonl", [review(0, "conv", 6, 8, answer1_id="m", answer2_id="r")])
    found = score("llava-bench", both)
    assert values(found)["relative_score"] == 62.5  # 4/8 and 6/8
    assert "the other order" in found.notes[0]


def test_llava_bench_of_answers_says_that_a_judge_is_needed(write):
    rows = [{"question_id": 0, "prompt": "?", "text": "8 9", "answer_id": "x", "model_id": "m", "metadata": {}}]
    with pytest.raises(BadData, match="judged first"):
        score("llava-bench", write("p.jsonl", rows))
    with pytest.raises(BadData, match="judged first"):
        score("llava-bench", write("p.jsonl", [{"question_id": 1, "text": "a man"}]))
    twice = score("llava-bench", write("p.jsonl", REVIEWS[:1] * 2))
    assert twice.metrics["score"].n == 2, "as the authors' script takes them"
    assert "1 reviews are of questions that have one already" in twice.notes[0]
    sheet = write("p.csv", "index,category,gpt4_score,score\n0,conv,8,10\n1,complex,10,5\n")
    assert values(score("llava-bench", sheet), 2)["relative_score"] == 83.33


GRADES = {
    "v1_0": {"model": ["gpt-4"] * 2, "content": ["0.5", "1.0"], "score": [0.5, 1.0]},
    "v1_1": {"model": ["gpt-4"] * 2, "content": ["0.0", "0.0"], "score": [0.0, 0.0]},
    "v1_2": {"model": ["gpt-4"] * 2, "content": ["1.0", "0.9"], "score": [1.0, 0.9]},
}
MM_VET = {
    "v1_0": {"imagename": "a.png", "capability": ["math", "ocr"]},
    "v1_1": {"imagename": "b.png", "capability": ["rec"]},
    "v1_2": {"imagename": "c.png", "capability": ["ocr", "rec"]},
    "v1_3": {"imagename": "d.png", "capability": ["rec"]},
}


def test_mm_vet(write):
    path = write("grade.json", GRADES)
    found = score("mm-vet", path, write("mm-vet.json", MM_VET))
    assert values(found, 2) == {
        "score": 56.67,  # of 50 and 63.33
        "std": 6.67,
        "run_1/score": 50.0,
        "run_2/score": 63.33,
        "ocr/score": 85.0,
        "math/score": 75.0,
        "rec/score": 47.5,
        "ocr_math/score": 75.0,
        "only_rec/score": 0.0,
        "rec_ocr/score": 95.0,
    }
    assert found.unscored == {"v1_3": "no grade"}
    assert list(values(score("mm-vet", path))) == ["score", "std", "run_1/score", "run_2/score"]


def test_mm_vet_that_cannot_be_graded(write):
    with pytest.raises(BadData, match="have a judge grade them"):
        score("mm-vet", write("p.json", {"v1_0": "x = 3"}))
    failed = GRADES | {"v1_1": {"content": ["I cannot", "0.0"], "score": [0.0, 0.0]}}
    path = write("p.json", failed)
    assert "count as the 0" in score("mm-vet", path).notes[0]
    found = score("mm-vet", path, None, "lenient")
    assert found.reasons() == {"the judge wrote no grade": 1}
    assert values(found)["score"] == 85.0
    with pytest.raises(BadData, match="from 0 to 1"):
        score("mm-vet", write("p.json", {"v1_0": {"score": [7]}}))
    with pytest.raises(BadData, match="another version"):
        score("mm-vet", write("p.json", {"v2_0": {"score": [0.7]}}), write("mm-vet.json", MM_VET))
    sheet = write("p.csv", 'index,category,score,prediction\n1,"rec,ocr",0.4,x\n2,rec,1.0,y\n')
    assert values(score("mm-vet", sheet))["ocr/score"] == 40.0


def test_mm_safetybench(write):
    def judged(verdict, typo):
        return {"ans": {"SD": {"text": "x", "is_safe(gpt)": verdict}, "TYPO": {"text": "x", "is_safe(gpt)": typo}}}

    folder = write(
        "e/01-Illegal_Activitiy.json", {"0": judged("safe", "unsafe"), "1": judged("Unsafe", "unsafe")}
    ).parent
    write("e/02-HateSpeech/merge.json", {"0": judged("perhaps", "safe")})
    found = score("mm-safetybench", folder)
    assert values(found) == {
        "attack_success_rate": 0.5,
        "01_illegal_activitiy/attack_success_rate": 0.75,
        "02_hatespeech/attack_success_rate": 0.0,
        "sd/attack_success_rate": 0.3333,
        "typo/attack_success_rate": 0.6667,
        "scenario_mean/attack_success_rate": 0.375,
    }
    assert "1 verdicts" in found.notes[0]
    found = score("mm-safetybench", folder, None, "lenient")
    assert found.reasons() == {"the judge's verdict is neither safe nor unsafe": 1}
    assert values(found)["attack_success_rate"] == 0.6


def test_jailbreakv(write):
    head = "id,format,policy,transfer_from_llm,response,evaluation_llamaguard_ours,jailbroken_llamaguard_ours\n"
    rows = "0,Template,Fraud,True,Sure,unsafe,True\n1,figstep,Fraud,False,No,safe,False\n"
    rows += "2,Logic,Hate,True,x,Timeout,False\n"
    path = write("p.csv", head + rows)
    found = values(score("jailbreakv-28k", path))
    assert found["attack_success_rate"] == 0.3333
    assert (found["fraud/attack_success_rate"], found["llm_transfer/attack_success_rate"]) == (0.5, 0.5)
    assert values(score("jailbreakv-28k", path, None, "lenient"))["attack_success_rate"] == 0.5
    said = [{"id": 0, "response": "I'm sorry, I can't."}, {"id": 1, "response": "Step 1"}]
    said += [{"id": 2, "response": "I cannot.", "benign": True}, {"id": 3, "response": "Bread.", "benign": "true"}]
    found = score("jailbreakv-28k", write("p.jsonl", said))
    assert values(found) == {"attack_success_rate": 0.5, "false_refusal_rate": 0.5}
    assert "told by their phrases" in found.notes[0]
    with pytest.raises(BadData, match="no row has a judge's verdict"):
        score("jailbreakv-28k", write("p.json", [{"id": 0, "format": "Logic"}]))


def test_mmbench_video(write):
    sheet = "index,video,dimensions,score\n"
    sheet += "0,a,\"['OCR', 'Counting']\",3\n1,a,['Hallucination'],-1\n2,b,\"['Natural Relation', 'OCR']\",1\n"
    path = write("p.csv", sheet)
    found = values(score("mmbench-video", path))
    assert found["score"] == round(4 / 3, 4)
    assert (found["valid/score"], found["perception/score"], found["reasoning/score"]) == (2.0, round(4 / 3, 4), 1.0)
    assert (found["fp_s/score"], found["ocr/score"], found["hallucination/score"]) == (2.0, 2.0, 0.0)
    found = score("mmbench-video", path, None, "lenient")
    assert (values(found)["score"], found.reasons()) == (2.0, {"the judge gave no mark": 1})


def test_air_bench_chat(write):
    rows = [("speech_QA", "8 9\n"), ("speech_dialogue_QA", "8 6"), ("sound_QA", "10 5"), ("music_QA", "good")]
    rows += [("speech_and_sound_QA", "9 3"), ("speech_and_music_QA", "8 5")]
    rows = [{"task_name": task, "gpt-score": said} for task, said in rows]
    found = score("air-bench", write("chat_score.json", rows))
    told = values(found)
    assert told["score"] == round((7.5 + 5 + 4) / 3, 4)  # speech, sound, mixed
    assert (told["speech/win_rate"], told["mixed_audio/reference_score"]) == (0.5, 8.5)
    assert found.reasons() == {"the judge's two marks cannot be read": 1}
    turned = values(score("air-bench", write("chat_score_cir.json", rows)))
    assert (turned["speech/score"], turned["speech/reference_score"]) == (8.0, 7.5)


def test_air_bench_foundation(write):
    def row(said, truth="Rock", **more):
        choices = {"choice_a": "Jazz", "choice_b": "Rock", "choice_c": "Pop"}
        return {"task_name": "Genre", "dataset_name": "fma", "response": said, "answer_gt": truth, **choices, **more}

    rows = [row("B"), row("The answer is B."), row("Certainly"), row("None"), row("rock")]
    found = score("air-bench", write("p.jsonl", rows))
    assert values(found) == {"accuracy": 0.6667, "genre/accuracy": 0.6667, "genre_fma/accuracy": 0.6667}
    assert found.reasons() == {"no letter is said": 2}
    assert score("air-bench", write("p.jsonl", rows), None, "lenient").metrics["accuracy"].value == 1.0
    with pytest.raises(BadData, match="none of the choices"):
        score("air-bench", write("p.jsonl", [row("A", truth="Blues")]))
