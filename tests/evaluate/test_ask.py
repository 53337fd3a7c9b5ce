"""Asking: the packed pass must give what generating every answer gives, and swapped pictures are others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import tiny_run
import torch

from isthmus.data.packing import packs
from isthmus.data.seen import Seen
from isthmus.errors import BadRecipe
from isthmus.evaluate.run import answer_batch, ask, ask_all
from isthmus.model import compose, unfreeze
from isthmus.train.features import features
from isthmus.train.objectives import next_token
from isthmus.train.recipe import Check
from isthmus.train.setup import Run
from isthmus.types import Audio, Image, Sample, Turn

COLOURS = ("red", "green", "blue", "yellow", "black", "white")


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "soft tokens": ("llama", {"connector": "mlp"}),
    "layers in the LLM": ("gpt2", {"connector": "gated_cross_attention"}),
    "experts in the LLM": ("qwen2", {"connector": "visual_expert"}),
    "the instruction is read": ("llama", {"connector": "qformer", "instruction": True, "hidden": 16, "heads": 2}),
    "an encoder-decoder": ("t5", {"connector": "mlp"}),
}


@pytest.fixture(params=KINDS)
def run(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A tiny random model whose cache is the test's own."""
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    family, options = KINDS[request.param]
    llm, vision = tiny_run.parts(tmp_path, family)
    return Run(*compose(str(llm), {"encoder": "vit-s", "part": str(vision), "size": 16, "tokens": 4} | options))


def samples(answer: str = "unlikely") -> list[Sample]:
    """Six pictures with two questions each."""
    turns = (Turn("What is this?", answer, "name"), Turn("Is there a dog?", answer, "yes/no"))
    return [
        Sample(colour, (Image(lambda colour=colour: PIL.Image.new("RGB", (16, 16), colour)),), turns)
        for colour in COLOURS
    ]


def test_answers_are_what_generate_gives(run: Run) -> None:
    asked = samples()
    answers = ask(run, "tiny", asked, None, seed=0)
    seen = features(run, asked)
    for number, question in enumerate(("What is this?", "Is there a dog?")):
        with torch.inference_mode():
            alone = answer_batch(run, [question] * len(asked), seen)
        assert [answer.answer for answer in answers[number::2]] == alone
    assert [answer.sample for answer in answers] == [colour for colour in COLOURS for _ in range(2)]


def test_questions_that_begin_alike_are_answered_as_each_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for weight in run.model.connectors.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    pictures = [sample.media[0] for sample in samples()]
    turn = (Turn("What?", "unlikely"),)
    asked = [Sample("a", tuple(pictures[:1]), turn), Sample("b", tuple(pictures[1:3]), turn), Sample("c", (), turn)]
    seen, places = features(run, asked), [0, 0, 1, 2, 1, 0, 2]
    questions = ["What is this?", "Is there a dog?", "What?", "Is it a red ball?", "Is it?", "Where?", "Who is it?"]
    passes: list[Any] = []
    watch = lambda _, args, given: passes.append(given["inputs_embeds"].shape[:2] if "inputs_embeds" in given else ())
    run.model.llm.register_forward_pre_hook(watch, with_kwargs=True)
    monkeypatch.setattr("isthmus.evaluate.run.LONGEST", 5)
    with torch.inference_mode():
        together = answer_batch(run, questions, seen[places], ["please", "", "", "", "", "please", ""])
        first, passes = passes[:2], []
        alone = [
            answer_batch(run, [question], seen[[place]], ["please" if question in questions[0::5] else ""])[0]
            for question, place in zip(questions, places, strict=True)
        ]
    assert together == alone
    if packs(run.model):
        (prefixes, long), (rows, short) = first
        assert (prefixes, rows) == (4, 7), "four different beginnings are read, then seven questions"
        assert short < long + short


def taught(run: Run) -> list[Sample]:
    """Samples whose answers the model gives: it is trained on them until it all but knows them."""
    said = {"What is this?": "a red ball", "Is there a dog?": "no"}
    asked = [replace(s, turns=tuple(Turn(t.question, said[t.question], t.kind) for t in s.turns)) for s in samples()]
    seen = features(run, asked)
    objective = next_token.Objective(run.model, run.processor, asked, lambda count: seen)
    optimizer = torch.optim.Adam(unfreeze(run.model, "llm"), lr=1e-2)
    for _ in range(300):
        loss, _ = objective(asked, seen)
        if loss.item() < 0.02:
            return asked
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pytest.fail(f"the model could not be taught; its loss is still {loss.item():.2f}")


def test_a_true_answer_is_found_without_generating(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = taught(run)
    seen = features(run, asked)
    truths = [turn.answer for sample in asked for turn in sample.turns]
    for number, turn in enumerate(asked[0].turns):
        with torch.inference_mode():
            assert answer_batch(run, [turn.question] * len(asked), seen) == truths[number::2], "they are generated"
    if not packs(run.model):  # nothing else is possible there
        return
    widths: list[int] = []
    run.model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: widths.append(len(inputs[0])))
    monkeypatch.setattr("isthmus.evaluate.run.answer_batch", lambda *_: pytest.fail("generated what was already known"))
    answers = ask(run, "tiny", asked, None, seed=0)
    assert [answer.answer for answer in answers] == truths
    tokens = sum(len(run.processor.template.answer(truth)) for truth in truths)
    assert widths == [tokens, tokens], "once with each picture and once with another, the head at the answers alone"


def test_an_answer_that_is_nearly_true_is_generated(run: Run) -> None:
    """One token of it is not the likeliest, or it goes on where the model ends."""
    asked = taught(run)
    for untrue in ("a red cube", "a red ball please", "a red"):
        others = [replace(s, turns=(Turn("What is this?", untrue, "name"), s.turns[1])) for s in asked]
        answers = ask(run, "tiny", others, None, seed=0)
        assert [answer.answer for answer in answers] == ["a red ball", "no"] * len(asked)


def test_checks_whose_samples_share_ids_are_kept_apart(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = {"one": samples()[:2], "two": [replace(s, media=samples()[5].media) for s in samples()[:2]]}
    monkeypatch.setattr("isthmus.evaluate.run.load_split", lambda data, *_: sets[data])
    checks = {f"check {name}": Check(data=name, split="test") for name in sets}
    answers, shown = ask_all(run, checks)
    assert {(answer.benchmark, answer.sample) for answer in answers} == shown.keys()
    assert [shown[f"check {name}", sets[name][0].id] for name in sets] == [some[0] for some in sets.values()]


def test_kinds_are_chosen_and_an_empty_choice_is_an_error(run: Run) -> None:
    assert {answer.kind for answer in ask(run, "tiny", samples(), ["name"], seed=0)} == {"name"}
    with pytest.raises(BadRecipe, match="no question of the kinds count"):
        ask(run, "tiny", samples(), ["count"], seed=0)


def test_swapped_questions_see_the_picture_of_another_sample(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that says which picture it sees: never its own the second time, and each of them once."""
    asked = samples()
    pictures = features(run, asked)

    def named(_: Run, some: list[Sample], seen: Seen, __: str) -> list[str]:
        shown = [pictures.rows.index(pieces) for pieces in seen.rows]
        return [COLOURS[shown[place]] for place, sample in enumerate(some) for _ in sample.turns]

    monkeypatch.setattr("isthmus.evaluate.run._answers", named)
    answers = ask(run, "tiny", asked, None, seed=0)
    assert all(answer.answer == answer.sample for answer in answers)
    assert all(answer.swapped != answer.sample for answer in answers)
    assert sorted(str(answer.swapped) for answer in answers[::2]) == sorted(COLOURS)
    few = [answer for answer in ask(run, "tiny", asked, None, seed=0, swapped=2) if answer.swapped]
    assert {answer.sample for answer in few} == {answer.swapped for answer in few}, "two that swap with each other"
    assert len(few) == 4


def test_media_that_the_model_does_not_take_are_an_error_before_any_question(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = [Sample("a", (Image(lambda: PIL.Image.new("RGB", (8, 8))),), (Turn("what ?", "red", "name"),))]
    heard = [Sample("b", (Audio("not read.wav"),), (Turn("what ?", "red", "name"),))]
    drawn = {"seen": first, "heard": heard}
    monkeypatch.setattr("isthmus.evaluate.run.load_split", lambda data, *_: drawn[data])
    monkeypatch.setattr("isthmus.evaluate.run.ask", lambda *_: pytest.fail("something was asked"))
    with pytest.raises(BadRecipe, match="heard shows audio, and this model takes image"):
        ask_all(run, {name: Check(data=name, split="test") for name in drawn})
