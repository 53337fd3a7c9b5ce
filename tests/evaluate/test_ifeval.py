"""IFEval: every instruction is judged as lm-evaluation-harness judges it, and what cannot be judged is told."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from isthmus.errors import BadData
from isthmus.evaluate.benchmarks import _instructions, score
from isthmus.evaluate.benchmarks._instructions import CHECKS
from isthmus.evaluate.benchmarks.ifeval import versions

KEYS = {
    "keywords": [["cat", "dogs?"], ["red"], ["HOUSE", "e"]], "keyword": ["cat", " the ", "a.b"],
    "relation": ["less than", "at least"], "let_relation": ["less than", "at least"],
    "capital_relation": ["less than", "at least"], "frequency": [1, 2, 3], "forbidden_words": [["cat"], ["red", "dog"]],
    "letter": ["e", "S", "z"], "let_frequency": [1, 4, 9], "language": ["en", "de", "hi"], "num_sentences": [1, 2, 4],
    "num_paragraphs": [1, 2, 3], "num_words": [3, 8, 15], "nth_paragraph": [1, 2, 3],
    "first_word": ["the", "Red", "cat"],
    "num_placeholders": [1, 2], "postscript_marker": ["P.S.", "P.P.S", "PS:"], "num_bullets": [1, 2, 3],
    "num_highlights": [1, 2, 3], "section_spliter": ["Section", "PART "], "num_sections": [1, 2],
    "prompt_to_repeat": ["The red house.", "cat"], "end_phrase": ["Is that all?", " the end "],
    "capital_frequency": [1, 2, 4],
}  # fmt: skip
PIECES = [
    "The red house.", "cat", "Dogs are DOGS, said THE cat.", "\n", "\n\n", "***", " *** ", "******", "* one", "\n* two",
    "\n- three", "*bold*", "**very bold**", "**", "[name]", "[two\nlines]", "P.S. and so on", "p. p. s. more", "PS: x",
    "<<A title>>", "<< >>", '"', "'The", "Is that all?", "The end", "Section 1", "part2 ", "SECTION 3", '{"a": [1, 2]}',
    "```json\n{}\n```", "```", "My answer is yes.", "Das ist ein schöner Tag, und die Sonne scheint.", "यह एक वाक्य है।",
    "  ", "!", "?", "ALL OF THIS IS WRITTEN IN LARGE LETTERS TODAY", "all of this is written in small letters", "12 3",
    "Red, it is", "ΣΑΣ", ".", "a.b",
]  # fmt: skip

WHOLE = [
    '"a quotation, no more"', ' {"a": [1, 2]} ', "```json\n{}\n```", "one ****** two", "****** a ****** b", "a\n***\nb",
    "The red house.\n\ncat\n\nThe end", "the red HOUSE and a cat", "***a***", "'Red', it is\n\n\"the\" cat",
]  # fmt: skip


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The harness's own judgement. Sentences and words are divided for both by what needs no data from elsewhere."""
    pytest.importorskip("lm_eval")
    import langdetect
    import nltk

    monkeypatch.setattr(nltk, "download", lambda *args, **kwargs: True)
    from lm_eval.tasks.ifeval import instructions_util, utils

    punkt = nltk.tokenize.punkt.PunktSentenceTokenizer()
    monkeypatch.setattr(instructions_util, "_get_sentence_tokenizer", lambda: punkt)
    monkeypatch.setattr(_instructions, "_punkt", lambda: punkt)
    monkeypatch.setattr(nltk, "word_tokenize", lambda text: re.findall(r"\w+|[^\w\s]", text))
    monkeypatch.setattr(langdetect.DetectorFactory, "seed", 0)
    return utils


def write(folder: Path, prompts: list[tuple[list[str], list[dict[str, Any]], str]]) -> tuple[Path, Path]:
    asked, said = folder / "input_data.jsonl", folder / "input_response_data_own.jsonl"
    rows = [
        {"key": 1000 + i, "prompt": f"prompt {i}", "instruction_id_list": kinds, "kwargs": asks}
        for i, (kinds, asks, _) in enumerate(prompts)
    ]
    asked.write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers = [{"prompt": f"prompt {i}", "response": one} for i, (*_, one) in enumerate(prompts)]
    said.write_text("".join(json.dumps(row) + "\n" for row in answers))
    return said, asked


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_instruction_is_judged_as_the_harness_does(theirs: Any, tmp_path: Path) -> None:
    rng, prompts = random.Random(0), []
    for _ in range(60):
        for kind, (_, names) in CHECKS.items():
            asks = {name: rng.choice(KEYS[name]) for name in names}
            if "nth_paragraph" in asks:  # beyond its paragraphs the harness draws another
                asks["nth_paragraph"] = min(asks["nth_paragraph"], asks["num_paragraphs"])
            joint = rng.choice(["", " ", "\n"])
            said = joint.join(rng.choices(PIECES, k=rng.randrange(6)))
            prompts.append(([kind], [asks], rng.choice([said, said, rng.choice(PIECES), rng.choice(WHOLE)])))
    asks = {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "The"}
    prompts.append((["length_constraints:nth_paragraph_first_word"], [asks], "Red\n\n'The', he said"))
    prompts.append((["change_case:english_capital"], [{}], "ENGLISH: I THINK THAT THE WEATHER WILL CHANGE"))
    for _ in range(100):
        both = [rng.choice(prompts) for _ in range(2)]
        prompts.append(([*both[0][0], *both[1][0]], [*both[0][1], *both[1][1]], both[0][2]))
    expected = [
        theirs.process_results(
            {"key": i, "prompt": f"prompt {i}", "instruction_id_list": kinds, "kwargs": asks}, [said]
        )
        for i, (kinds, asks, said) in enumerate(prompts)
    ]
    seen = {(kinds[0], own["inst_level_strict_acc"][0]) for (kinds, *_), own in zip(prompts, expected, strict=True)}
    unseen = {(kind, right) for kind in CHECKS for right in (True, False)} - seen
    assert not unseen  # each was followed, and was not
    found = score("ifeval", *write(tmp_path, prompts))
    assert not found.unscored
    marks = [found.marks[str(1000 + i)] for i in range(len(prompts))]
    wrong = [(prompts[i], own) for i, own in enumerate(expected) if marks[i] != float(own["prompt_level_strict_acc"])]
    assert not wrong, wrong[:3]
    for name, theirs_name in (("strict", "strict_acc"), ("loose", "loose_acc")):
        whole = [own[f"prompt_level_{theirs_name}"] for own in expected]
        each = [one for own in expected for one in own[f"inst_level_{theirs_name}"]]
        assert found.metrics[f"prompt_{name}_accuracy"].value == pytest.approx(sum(whole) / len(whole))
        assert found.metrics[f"instruction_{name}_accuracy"].value == pytest.approx(sum(each) / len(each))
        assert found.metrics[f"instruction_{name}_accuracy"].n == len(each)


def test_figures_of_a_worked_example(tmp_path: Path) -> None:
    prompts = [
        (["punctuation:no_comma"], [{}], "Sure, here it is:\nnone"),  # its first line apart it has none
        (["punctuation:no_comma", "startend:quotation"], [{}, {}], '"none"'),
        (["detectable_format:title"], [{}], ""),
    ]
    found = score("ifeval", *write(tmp_path, prompts))
    assert {name: (round(one.value, 3), one.n) for name, one in found.metrics.items() if "/" not in name} == {
        "prompt_strict_accuracy": (0.333, 3),
        "instruction_strict_accuracy": (0.5, 4),
        "prompt_loose_accuracy": (0.667, 3),
        "instruction_loose_accuracy": (0.75, 4),
    }
    assert found.metrics["punctuation/instruction_strict_accuracy"].value == 0.5
    assert found.metrics["punctuation/no_comma/instruction_loose_accuracy"].value == 1
    lenient = score("ifeval", *write(tmp_path, prompts), "lenient")
    assert lenient.unscored == {"1002": "an empty answer"}


def test_what_cannot_be_judged_is_in_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Any:
        raise LookupError("punkt_tab")

    monkeypatch.setattr(_instructions, "_punkt", missing)
    asks = {"relation": "at least", "num_sentences": 1}
    said, asked = write(
        tmp_path,
        [
            (["length_constraints:number_sentences"], [asks], "One. Two."),
            (["punctuation:no_comma"], [{}], "none"),
            (["punctuation:no_comma"], [{}], "none"),
        ],
    )
    said.write_text("\n".join(said.read_text().splitlines()[:2]))
    found = score("ifeval", said, asked)
    assert found.metrics["prompt_strict_accuracy"].n == 1
    assert list(found.unscored) == ["1000", "1002"]
    assert "nltk.downloader punkt_tab" in found.unscored["1000"]
    assert found.unscored["1002"] == "no prediction"


def test_samples_of_the_harness_need_no_references(tmp_path: Path) -> None:
    doc = {"key": 7, "prompt": "p", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{"letter": None}]}
    path = tmp_path / "predictions.jsonl"
    path.write_text(json.dumps({"task": "ifeval", "doc": doc, "resps": [["no comma"]]}) + "\n")
    found = score("ifeval", path)
    assert (found.metrics["prompt_strict_accuracy"].value, found.marks) == (1.0, {"7": 1.0})


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"instruction_id_list": ["punctuation:no_coma"], "kwargs": [{}]}, "no instruction 'punctuation:no_coma'"),
        ({"instruction_id_list": ["keywords:frequency"], "kwargs": [{}]}, "says nothing of keyword, relation"),
        ({"instruction_id_list": ["punctuation:no_comma"], "kwargs": []}, "as many kwargs"),
        ({"instruction_id_list": [], "kwargs": []}, "one or more"),
        ({"instruction_id_list": "no", "kwargs": [{}]}, "as many kwargs"),
        ({"kwargs": [{}]}, "no instruction_id_list"),
        ({"instruction_id_list": ["keywords:existence"], "kwargs": [{"keywords": ["("]}]}, "is no pattern"),
        (
            {
                "instruction_id_list": ["length_constraints:number_words"],
                "kwargs": [{"relation": "around", "num_words": 3}],
            },
            "neither 'less than' nor 'at least'",
        ),
        ({"instruction_id_list": ["length_constraints:number_words"], "kwargs": ["x"]}, "kwargs"),
        ({"instruction_id_list": [["x"]], "kwargs": [{}]}, "no instruction"),
        (
            {"instruction_id_list": ["detectable_format:number_bullet_lists"], "kwargs": [{"num_bullets": "x"}]},
            "num_bullets 'x', which cannot be",
        ),
        ({"instruction_id_list": ["keywords:existence"], "kwargs": [{"keywords": "x"}]}, "keywords 'x', which"),
    ],
)
def test_broken_references_are_refused(row: dict[str, Any], words: str, tmp_path: Path) -> None:
    asked, said = tmp_path / "a.jsonl", tmp_path / "s.jsonl"
    asked.write_text(json.dumps({"key": 1, "prompt": "p"} | row) + "\n")
    said.write_text('{"prompt": "p", "response": "some words"}\n')
    with pytest.raises(BadData, match=words):
        score("ifeval", said, asked)


def test_broken_predictions_are_refused(tmp_path: Path) -> None:
    said, asked = write(tmp_path, [(["punctuation:no_comma"], [{}], "none")])
    for text, words in (
        ('{"response": "x"}\n{"response": "y"}', "none of the keys prompt"),
        ('{"prompt": "prompt 0"}\n{"prompt": "x"}', "none of the keys response"),
        ('{"prompt": "prompt 0", "response": 3}\n{"prompt": "x", "response": ""}', "is no text"),
        ('{"prompt": "prompt 0", "response": "a"}\n{"prompt": "prompt 0", "response": "b"}', "stands twice"),
        ('{"prompt": "other", "response": "a"}\n{"prompt": "one", "response": "b"}', "no id of the predictions"),
    ):
        said.write_text(text)
        with pytest.raises(BadData, match=words):
            score("ifeval", said, asked)
    with pytest.raises(BadData, match="needs --references"):
        score("ifeval", said)


def test_versions_of_an_answer() -> None:
    assert set(versions("a")) == {"a", ""}
    assert "b" in versions("Sure:\nb\nBye")
