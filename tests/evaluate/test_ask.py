"""Asking: the packed pass must give what generating every answer gives, and swapped pictures are others."""

from __future__ import annotations

from pathlib import Path

import PIL.Image
import pytest
import tiny_run
import torch

from isthmus.errors import BadRecipe
from isthmus.evaluate.run import answer_batch, ask
from isthmus.model import compose
from isthmus.train.run import Run, features
from isthmus.types import Image, Sample, Turn

COLOURS = ("red", "green", "blue", "yellow", "black", "white")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A tiny random model whose cache is the test's own."""
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    llm, vision = tiny_run.parts(tmp_path)
    image = {"encoder": "vit-s", "connector": "mlp", "part": str(vision), "size": 16, "tokens": 4}
    return Run(*compose(str(llm), image))


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
    seen = features(run, asked).float()
    for number, question in enumerate(("What is this?", "Is there a dog?")):
        with torch.inference_mode():
            alone = answer_batch(run, [question] * len(asked), seen)
        assert [answer.answer for answer in answers[number::2]] == alone
    assert [answer.sample for answer in answers] == [colour for colour in COLOURS for _ in range(2)]


def test_a_likely_answer_is_found_without_generating(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Teach the head one token and its end; the packed pass alone must then find that answer."""
    template = run.processor.template
    word, end = template.answer("a")[0], template.answer("a")[-1]
    asked = samples("a")
    assert template.answer("a") == [word, end]

    def forward(**inputs: torch.Tensor) -> object:
        ids = inputs["input_ids"]
        logits = torch.zeros(*ids.shape, run.model.config.llm_config.vocab_size)
        logits[..., word] = 1
        logits[ids == word] = torch.nn.functional.one_hot(torch.tensor(end), logits.shape[-1]).float() * 2
        return type("Out", (), {"logits": logits})

    monkeypatch.setattr(run.model, "forward", forward)
    monkeypatch.setattr("isthmus.evaluate.run.answer_batch", lambda *_: pytest.fail("generated what was already known"))
    assert {answer.answer for answer in ask(run, "tiny", asked, None, seed=0)} == {"a"}


def test_kinds_are_chosen_and_an_empty_choice_is_an_error(run: Run) -> None:
    assert {answer.kind for answer in ask(run, "tiny", samples(), ["name"], seed=0)} == {"name"}
    with pytest.raises(BadRecipe, match="no question of the kinds count"):
        ask(run, "tiny", samples(), ["count"], seed=0)
