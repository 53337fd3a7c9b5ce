"""Generation: cache, padding, beams and several returns all give what a single plain run gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_parts import DECODERS, Built, picture
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMultimodalLM, AutoProcessor

from isthmus.errors import MergeError
from isthmus.types import Message

TALKS = [
    [Message("user", "what is it ?", (picture("red"),))],
    [
        Message("system", "answer please"),
        Message("user", "is it the ball ?", (picture("blue"),)),
        Message("assistant", "no"),
        Message("user", "left or the one in green ?", (picture("green"), picture("white"))),
    ],
    [Message("user", "yes or no ?")],
]
PLAIN = {"max_new_tokens": 8, "do_sample": False, "min_new_tokens": 8}


def answers(built: Built, talks: list[list[Message]], **options: Any) -> Tensor:
    model, processor = built
    batch = processor.encode(talks)
    return model.generate(**batch, **(PLAIN | options))[:, batch["input_ids"].shape[1] :]


@pytest.mark.parametrize("llm", DECODERS)
def test_cache_no_cache_batch_and_single_agree(build: Callable[..., Built], llm: str) -> None:
    built = build(llm)
    batch = answers(built, TALKS)
    assert torch.equal(batch, answers(built, TALKS, use_cache=False))
    for row, talk in zip(batch, TALKS, strict=True):
        assert torch.equal(row[None], answers(built, [talk]))


def test_the_picture_matters(built: Built) -> None:
    model, processor = built
    red, blue = (processor("what ?", picture(colour)) for colour in ("red", "blue"))
    assert not torch.allclose(model(**red).logits, model(**blue).logits)


@pytest.mark.parametrize("llm", ["llama", "gpt2"])
def test_beams_and_returns_repeat_the_media(build: Callable[..., Built], llm: str) -> None:
    built = build(llm)
    options = {"num_beams": 3, "num_return_sequences": 2}
    batch = answers(built, TALKS, **options)
    single = torch.cat([answers(built, [talk], **options) for talk in TALKS])
    assert torch.equal(batch, single)
    assert torch.equal(batch, answers(built, TALKS, use_cache=False, **options))


def test_features_in_place_of_media(built: Built) -> None:
    model, processor = built
    batch = processor.encode(TALKS)
    features = {"image": model.encode("image", batch.pop("media")["image"])}
    assert torch.equal(model.generate(**batch, features=features, **PLAIN)[:, -8:], answers(built, TALKS))


def test_surplus_media_are_refused_in_generate(built: Built) -> None:
    model, processor = built
    batch = processor.encode(TALKS[2:]) | {"media": {"image": processor.preprocess([picture("red")])}}
    for options in (PLAIN, PLAIN | {"num_beams": 2}):
        with pytest.raises(MergeError):
            model.generate(**batch, **options)


@pytest.mark.parametrize("llm", DECODERS)
def test_a_saved_model_is_an_ordinary_one(build: Callable[..., Built], llm: str, tmp_path: Path) -> None:
    model, processor = built = build(llm)
    with torch.no_grad():
        model.connectors["image"].offset.normal_()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).encoders == {"image": {"name": "vit-s", "size": 16}}
    again = AutoProcessor.from_pretrained(tmp_path)
    assert torch.equal(again.encode(TALKS)["input_ids"], processor.encode(TALKS)["input_ids"])
    for auto in (AutoModelForCausalLM, AutoModelForMultimodalLM):
        loaded = auto.from_pretrained(tmp_path).eval()
        assert loaded.generation_config.eos_token_id == 2
        assert loaded.state_dict().keys() == model.state_dict().keys()
        assert torch.equal(answers((loaded, again), TALKS), answers(built, TALKS))


def test_repetition_penalty_meets_placeholders(built: Built) -> None:
    assert answers(built, TALKS, repetition_penalty=1.3, no_repeat_ngram_size=2).shape == (3, 8)
