"""Open answers: the official rules on made-up rows, each file's forms, and files that cannot be used."""

from __future__ import annotations

import json

import pytest

from isthmus.errors import BadData, PartUnavailable
from isthmus.evaluate.benchmarks import scanqa, score
from isthmus.evaluate.benchmarks.chartqa import relaxed
from isthmus.evaluate.metrics.anls import anls
from isthmus.evaluate.metrics.vqa import CONTRACTIONS, CURLY, agreement, evalai, textvqa, vizwiz, vqa


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


def values(found):
    return {name: round(figure.value, 4) for name, figure in found.metrics.items()}


def people(*answers):
    """Ten people's answers, the last one given by all the others."""
    told = [*answers, *answers[-1:] * (10 - len(answers))]
    return [{"answer": one, "answer_id": i + 1, "answer_confidence": "yes"} for i, one in enumerate(told)]


@pytest.mark.parametrize(
    ("said", "told", "expected"),
    [
        ("yes", ["yes"] * 10, 1.0),
        ("Yes", ["yes"] * 10, 0.0),  # all agree: nothing is normalised
        ("Yes.", ["yes"] * 9 + ["no"], 1.0),
        ("\tyes\n", ["yes"] * 10, 1.0),
        ("two", ["2"] * 2 + ["3"] * 8, 0.6),
        ("the dogs", ["dogs"] + ["cats"] * 9, 0.3),
        ("dont", ["don't"] * 3 + ["do"] * 7, 0.9),
        ("1,000 kg", ["1000 kg"] * 4 + ["x"] * 6, 1.0),
        ("t-shirt", ["t shirt"] * 4 + ["x"] * 6, 1.0),
        ("3.5.", ["3.5"] * 4 + ["x"] * 6, 1.0),
        ("." * 33 + "x", ["x"] * 5 + ["y"] * 5, 0.0),  # only 32 full stops go
        ("." * 32 + "x", ["x"] * 5 + ["y"] * 5, 1.0),
    ],
)
def test_vqa(said, told, expected):
    assert vqa(said, told) == pytest.approx(expected)


def test_textvqa_and_vizwiz_differ_from_vqa():
    assert textvqa("Yes", ["yes"] * 10) == 1  # always normalised
    assert evalai("Joe's, what?") == "joe 's what"
    assert vizwiz("Yes", ["Yes"] * 10) == 0  # what people wrote is taken as it is
    assert vizwiz("dont", ["don't"] * 10) == 0  # the curly apostrophe of its table
    assert vizwiz("cant", ["can't"] * 10) == 1
    assert agreement("a", ["a"]) == 0  # nobody else said it
    assert len(CONTRACTIONS) == len(CURLY) == 114


def literal_anls(answer, truths):
    """The reference's steps, one by one."""
    shares = []
    for truth in truths:
        one, two = (" ".join(text.strip().lower().split()) for text in (truth, answer))
        table = {(i, 0): i for i in range(len(one) + 1)} | {(0, j): j for j in range(len(two) + 1)}
        for i in range(1, len(one) + 1):
            for j in range(1, len(two) + 1):
                change = table[i - 1, j - 1] + (one[i - 1] != two[j - 1])
                table[i, j] = min(change, table[i - 1, j] + 1, table[i, j - 1] + 1)
        length = max(len(truth.upper()), len(answer.upper()))
        shares.append(0.0 if length == 0 else table[len(one), len(two)] / length)
    found = 1 - min(shares)
    return 0 if found < 0.5 else found


@pytest.mark.parametrize("answer", ["", "Ab  c", "abcd", "x", " ab", "groß", "ab cd ef"])
@pytest.mark.parametrize("truths", [["ab"], ["AB C", "abce"], ["xy", ""], ["groSS"], ["ab c\td  ef"]])
def test_anls(answer, truths):
    assert anls(answer, truths) == pytest.approx(literal_anls(answer, truths))


@pytest.mark.parametrize(
    ("truth", "answer", "expected"),
    [
        ("100", "105", True),
        ("100", "105.1", False),
        ("-2", "-2.1", False),  # as floats the quotient is above 0.05
        ("-2", "-2.05", True),
        ("0", "0.001", False),
        ("0", "0", True),
        ("0.5", "50%", True),
        ("50%", "50", False),
        ("2,000", "2000", False),
        ("2019", "2020", True),
        ("Red", "red", True),
        ("red", "red.", False),
        ("nan", "nan", False),
    ],
)
def test_relaxed_accuracy(truth, answer, expected):
    assert relaxed(truth, answer) is expected


VQA = {
    "info": {},
    "annotations": [
        {"question_id": 1, "image_id": 7, "question_type": "is the", "answer_type": "yes/no", "answers": people("yes")},
        {
            "question_id": 2,
            "image_id": 7,
            "question_type": "how many",
            "answer_type": "number",
            "answers": people("2", "2", "3"),
        },
        {"question_id": 3, "image_id": 8, "question_type": "what is", "answer_type": "other", "answers": people("cat")},
    ],
}


@pytest.mark.parametrize("form", ["official", "llava", "object", "folder"])
def test_vqav2_in_each_form(write, form):
    said = {1: "yes", 2: "two", 3: "a cat"}  # 1, 0.6, 0: all ten say cat, and "a cat" stays as it is
    rows = {
        "official": [{"question_id": k, "answer": v} for k, v in said.items()],
        "llava": [{"question_id": k, "prompt": "?", "text": v, "metadata": {}} for k, v in said.items()],
        "object": {str(k): v for k, v in said.items()},
    }.get(form, [{"Question_ID": str(k), "ANSWER": v} for k, v in said.items()])
    path = write("p.jsonl" if form == "llava" else "p.json", rows)
    truths = write("refs/v2_mscoco_val2014_annotations.json", VQA)
    write("refs/v2_questions.json", {"questions": [{"question_id": 1, "question": "?"}]})
    found = score("vqav2", path, truths.parent if form == "folder" else truths)
    assert values(found) == {
        "accuracy": 0.5333,
        "yes_no/accuracy": 1.0,
        "number/accuracy": 0.6,
        "other/accuracy": 0.0,
        "is_the/accuracy": 1.0,
        "how_many/accuracy": 0.6,
        "what_is/accuracy": 0.0,
    }
    assert values(score("vqav2", path, truths, "lenient"))["accuracy"] == 0.8667


def test_vqav2_that_lacks_answers_or_has_too_many(write):
    truths = write("r.json", VQA)
    found = score(
        "vqav2", write("p.json", [{"question_id": 1, "answer": "yes"}, {"question_id": 9, "answer": "?"}]), truths
    )
    assert found.metrics["accuracy"].n == 1
    assert found.unscored == {"2": "no prediction", "3": "no prediction"}
    assert "1 predictions answer no question" in found.notes[0]
    with pytest.raises(BadData, match="row 2: the id 1 stands twice"):
        score("vqav2", write("p.json", [{"question_id": 1, "answer": "a"}] * 2), truths)
    with pytest.raises(BadData, match="same split"):
        score("vqav2", write("p.json", [{"question_id": k, "answer": "a"} for k in (7, 8, 9)]), truths)
    with pytest.raises(BadData, match="no row has a key for the answer"):
        score("vqav2", write("p.json", [{"question_id": 1, "said": "a"}]), truths)
    with pytest.raises(BadData, match="empty"):
        score("vqav2", write("p.json", ""), truths)
    with pytest.raises(BadData, match="answers that people gave"):
        score(
            "vqav2", write("p.json", [{"question_id": 1, "answer": "a"}]), write("q.json", {"questions": [{"id": 1}]})
        )


def test_numbers_and_missing_cells_are_answers_and_no_answers(write):
    path = write("p.csv", "question_id,answer\n1,yes\n2,2.0\n3,\n")
    assert score("vqav2", path, write("r.json", VQA)).metrics["accuracy"].n == 3  # an empty text is an answer
    path = write("p.json", '[{"question_id": 1, "answer": NaN}, {"question_id": 2, "answer": 2.0}]')
    found = score("vqav2", path, write("r.json", VQA))
    assert values(found)["accuracy"] == 0.6
    assert found.unscored == {"1": "no prediction", "3": "no prediction"}


def test_ok_vqa_names_its_categories(write):
    rows = [
        dict(row, question_type=kind) for row, kind in zip(VQA["annotations"], ["one", "one", "other"], strict=True)
    ]
    path = write("p.json", [{"question_id": k, "answer": v} for k, v in ((1, "yes"), (2, "3"), (3, "dog"))])
    found = score("ok-vqa", path, write("r.json", {"annotations": rows}))
    assert values(found) == {"accuracy": 0.6667, "vehicles_and_transportation/accuracy": 1.0, "other/accuracy": 0.0}


TEXTVQA = {
    "data": [
        {"image_id": "a", "question_id": 1, "question": "What brand?", "answers": ["nokia"] * 3 + ["sony"] * 7},
        {"image_id": "a", "question_id": 2, "question": "What time?", "answers": ["10:10"] * 10},
        {"image_id": "b", "question_id": 3, "question": "What time?", "answers": ["5"] * 10},
    ]
}


def test_textvqa_by_the_question_in_the_prompt(write):
    def row(image, question, said, ocr="\nReference OCR token: x, y"):
        return {"question_id": image, "prompt": f"{question}{ocr}\nAnswer briefly.", "text": said}

    rows = [row("b", "What time?", "five"), row("a", "what brand?", "Nokia", ""), row("a", "What time?", "10 10")]
    truths = write("r.json", TEXTVQA)
    found = score("textvqa", write("p.jsonl", rows), truths)
    assert values(found)["accuracy"] == round((1 + 0.9 + 0) / 3, 4)  # "10:10" keeps its colon
    rows[2] = {"question_id": "a", "prompt": "OCR tokens: x. Question: What time? Short answer:", "text": "10:10"}
    assert values(score("textvqa", write("p.jsonl", rows), truths))["accuracy"] == round(2.9 / 3, 4)
    found = score("textvqa", write("p.jsonl", rows[:1]), truths)
    assert sorted(found.unscored) == ["a | what brand?", "a | what time?"]
    with pytest.raises(BadData, match="answered twice"):
        score("textvqa", write("p.jsonl", rows + rows[:1]), truths)


def test_textvqa_by_id_and_with_the_truth_inside(write):
    truths = write("r.json", TEXTVQA)
    path = write("p.json", [{"question_id": k, "answer": v} for k, v in ((1, "sony"), (2, "10:10"), (3, "6"))])
    assert values(score("textvqa", path, truths)) == {"accuracy": 0.6667}
    sheet = write("p.tsv", "index\tquestion\tanswer\tprediction\n0\tWhat?\t\"['a1', 'a1', 'a1', 'b']\"\tA1\n")
    assert values(score("textvqa", sheet)) == {"accuracy": round((3 * 2 / 3 + 1) / 4, 4)}


def test_vizwiz(write):
    truths = write(
        "val.json",
        [
            {"image": "1.jpg", "answers": people("basil"), "answer_type": "other", "answerable": 1},
            {"image": "2.jpg", "answers": people("unanswerable"), "answer_type": "unanswerable", "answerable": 0},
            {"image": "3.jpg", "answers": people("yes", "Yes"), "answer_type": "yes/no", "answerable": 1},
            {"image": "4.jpg", "answers": people("x"), "answer_type": "other", "answerable": 0},
        ],
    )
    said = [("1.jpg", "The basil.", 0.9), ("2.jpg", "unanswerable", 0.6), ("3.jpg", "Yes", 0.65), ("4.jpg", "y", 0.1)]
    path = write("p.json", [{"image": i, "answer": a, "answerable": s} for i, a, s in said])
    found = values(score("vizwiz", path, truths.parent))
    assert found["accuracy"] == round((1 + 1 + 0.3 + 0) / 4, 4)
    assert found["other/accuracy"] == 0.5
    assert found["average_precision"] == 1.0
    assert found["f1"] == 0.6667  # only 0.1 is below a half
    path = write("l.jsonl", [{"question_id": "1.jpg", "text": "basil"}])
    assert score("vizwiz", path, truths).metrics["accuracy"].n == 1
    with pytest.raises(BadData, match="neither an answer nor"):
        score("vizwiz", write("p.json", [{"image": "1.jpg"}]), truths)


def test_docvqa_and_infographicvqa(write):
    data = [
        {"questionId": 1, "question": "?", "answers": ["Coca Cola", "coke"], "docId": 5, "question_types": ["layout"]},
        {"questionId": 2, "question": "?", "answers": ["1998"], "docId": 5, "question_types": ["layout", "form"]},
    ]
    truths = write("r.json", {"dataset_name": "docvqa", "data": data})
    path = write(
        "p.json", [{"questionId": 1, "answer": "Coca Cold"}, {"questionId": 2, "answer": "The answer is 1998."}]
    )
    found = values(score("docvqa", path, truths))
    assert found == {"anls": 0.4444, "layout/anls": 0.4444, "form/anls": 0.0}  # 1 - 1/9; 15 of 19 letters too many
    assert values(score("infographicvqa", path, truths, "lenient"))["form/anls"] == 1.0
    inside = write("p.json", [{"questionId": 1, "answer": "coke", "annotation": ["coke", "Coca Cola"]}])
    assert values(score("docvqa", inside)) == {"anls": 1.0}
    with pytest.raises(BadData, match="the truth, and there are no --references"):
        score("docvqa", write("p.json", [{"questionId": 1, "answer": "coke"}]))


def test_chartqa_in_each_form(write):
    human = [
        {"imgname": "1.png", "query": "How many?", "label": "14"},
        {"imgname": "1.png", "query": "Is?", "label": "Yes"},
    ]
    machine = [{"imgname": "2.png", "query": "How many?", "label": "0.5"}]
    folder = write("refs/test_human.json", human).parent
    write("refs/test_augmented.json", machine)
    rows = [
        {"imgname": "2.png", "query": "How many?", "prediction": " 50% "},
        {"imgname": "1.png", "query": "Is?", "prediction": "No"},
        {"imgname": "1.png", "query": "How many?", "prediction": "14.5"},
    ]
    expected = {"relaxed_accuracy": 0.6667, "human/relaxed_accuracy": 0.5, "augmented/relaxed_accuracy": 1.0}
    assert values(score("chartqa", write("p.json", rows), folder)) == expected
    inside = [{"answer": "14", "annotation": "14"}, {"answer": "3", "annotation": "14"}]
    assert values(score("chartqa", write("p.json", inside))) == {"relaxed_accuracy": 0.5}
    sheet = "index,question,answer,prediction,split\n0,?,14,14.1,test_human\n1,?,yes,Yes.,test_augmented\n"
    found = values(score("chartqa", write("p.csv", sheet)))
    assert found == {"relaxed_accuracy": 0.5, "human/relaxed_accuracy": 1.0, "augmented/relaxed_accuracy": 0.0}
    assert values(score("chartqa", write("p.csv", sheet), None, "lenient"))["relaxed_accuracy"] == 1.0
    ordered = write("p.json", [{"response": "14"}, {"response": "yes"}])
    found = score("chartqa", ordered, write("refs/test_human.json", human))
    assert values(found)["relaxed_accuracy"] == 1.0
    assert "matched by their order" in found.notes[0]


def test_rsvqa(write):
    questions = [
        {"id": 1, "img_id": 3, "type": "presence", "question": "?", "active": True},
        {"id": 2, "img_id": 3, "type": "presence", "question": "?", "active": True},
        {"id": 3, "img_id": 4, "type": "count", "question": "?", "active": True},
    ]
    answers = [{"id": 9, "question_id": k, "answer": a} for k, a in ((1, "yes"), (2, "no"), (3, "between 0 and 10"))]
    write("r/LR_split_test_questions.json", {"questions": questions})
    folder = write("r/LR_split_test_answers.json", {"answers": answers}).parent
    path = write("p.jsonl", [{"question_id": k, "answer": a} for k, a in ((1, "Yes."), (2, "No, none"), (3, "7"))])
    assert values(score("rsvqa", path, folder)) == {
        "accuracy": 0.6667,
        "average_accuracy": 0.75,
        "presence/accuracy": 0.5,
        "count/accuracy": 1.0,
    }
    assert values(score("rsvqa", path, folder, "lenient"))["accuracy"] == 1.0
    low = [
        ("count", "7", "8"),
        ("count", "250", "between 100 and 1000"),
        ("count", "0", "3"),
        ("rural_urban", "urban", "urban"),
    ]
    high = [("count", "7", "8"), ("count", "7", "7"), ("area", "523m2", "600m2"), ("area", "12m2", "9m2")]
    for rows, right in ((low, 0.75), (high, 0.5)):
        own = [
            {"question_id": i, "type": kind, "ground_truth": truth, "answer": said}
            for i, (kind, truth, said) in enumerate(rows)
        ]
        assert values(score("rsvqa", write("c.json", own)))["accuracy"] == right
    inside = write("i.json", [{"question_id": 1, "type": "comp", "answer": "yes", "ground_truth": "No"}])
    assert values(score("rsvqa", inside)) == {"accuracy": 0.0, "comp/accuracy": 0.0}


def unavailable(*_):
    raise PartUnavailable("no such part here")


def test_scanqa(write, monkeypatch):
    monkeypatch.setattr(scanqa, "lemma", lambda word: word.removesuffix("s"))
    monkeypatch.setattr(scanqa.meteor, "statistics", unavailable)
    truths = write(
        "r.json",
        [
            {"question_id": "a", "scene_id": "s1", "question": "What color is it?", "answers": ["brown", "dark brown"]},
            {"question_id": "b", "scene_id": "s1", "question": "Where is it?", "answers": ["left"]},
        ],
    )
    rows = [{"question_id": "a", "answer_top10": ["red", "brown"]}, {"question_id": "b", "answer_top10": ["left"]}]
    scored = score("scanqa", write("p.json", rows), truths)
    assert scored.notes == ["no meteor: no such part here"]
    found = values(scored)
    assert (found["bleu_1"], found["rouge_l"], found["f_value"]) == (0.5, 0.5, 0.5)
    assert (found["em_1"], found["em_10"], found["color/em_1"], found["place/em_1"]) == (0.5, 1.0, 0.0, 1.0)
    one = write("p.jsonl", [{"question_id": "a", "text": "Brown."}, {"question_id": "b", "text": "left"}])
    found = score("scanqa", one, truths)
    assert values(found)["em_1"] == 0.5
    assert "em_10" not in found.metrics
    assert values(score("scanqa", one, truths, "lenient"))["em_1"] == 1.0
    monkeypatch.setattr(scanqa, "lemma", unavailable)
    assert "f_value" not in score("scanqa", one, truths).metrics


def test_dynamic_superb(write):
    rows = [
        {"task": "A", "label": "yes", "prediction": "Yes."},
        {"task": "A", "label": "no", "prediction": "The answer is no"},
        {"task": "B", "label": "happy", "prediction": "sad"},
    ]
    path = write("p.json", rows)
    expected = {"accuracy": 0.3333, "a/accuracy": 0.5, "b/accuracy": 0.0, "macro_accuracy": 0.25}
    assert values(score("dynamic-superb", path)) == expected
    assert values(score("dynamic-superb", path, None, "lenient"))["macro_accuracy"] == 0.5
