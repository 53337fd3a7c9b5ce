"""Samples one behind another in one row: the loss and the gradients of padded rows, and no sight of each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny_parts import DECODERS, Built, picture

from isthmus.data.packing import collate, pack
from isthmus.model import add_lora, blocks
from isthmus.types import Sample, Turn

SAMPLES = [
    Sample("a", (picture("red"),), (Turn("what colour ?", "red"), Turn("is it blue ?", "no it is red"))),
    Sample("b", (picture("blue"), picture("green")), (Turn("one or two ?", "two"), Turn("red ?", "no")), chained=True),
    Sample("c", (), (Turn("what is red ?", "a colour"),)),
]
OWN = ["gptj", "falcon"]  # attention of their own


def pixels(built: Built, samples: list[Sample]) -> dict[str, torch.Tensor]:
    return {"image": built[1].preprocess([medium for sample in samples for medium in sample.media])}


def gradients(built: Built, batch: dict[str, torch.Tensor]) -> tuple[float, dict[str, torch.Tensor]]:
    model = built[0]
    model.zero_grad()
    loss = model(use_cache=False, media=pixels(built, SAMPLES), **batch).loss
    loss.backward()
    return loss.item(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("llm", DECODERS)
def test_loss_and_gradients_are_those_of_padded_rows(
    build: Callable[..., Built], llm: str, checkpointing: bool
) -> None:
    built = build(llm)
    model = built[0].train()
    add_lora(model, "llm", 2, 4)
    model.requires_grad_(True)
    rows = [pack(sample, built[1].template) for sample in SAMPLES]
    loss, expected = gradients(built, collate(rows, pad=0))
    assert blocks.enable(model) is (llm not in OWN)
    if llm in OWN:
        return
    if checkpointing:
        model.activation_checkpointing_enable()
    own, found = gradients(built, blocks.flat(rows))
    assert own == pytest.approx(loss, abs=1e-6)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, atol=1e-5), name
    blocks.disable(model)
    assert model.llm.config._attn_implementation == "sdpa"


def test_no_sample_sees_another(build: Callable[..., Built]) -> None:
    model, processor = build("llama")
    assert blocks.enable(model)
    rows = [pack(sample, processor.template) for sample in SAMPLES]
    batch = blocks.flat(rows)
    features = {"image": model.encode("image", pixels((model, processor), SAMPLES)["image"])}
    seen = {key: batch[key] for key in ("input_ids", "position_ids", "attention_mask")}
    before = model.hidden(features=features, **seen)
    lengths = [len(row.ids) for row in rows]
    changed = seen | {"input_ids": seen["input_ids"].clone()}
    place = lengths[0] + lengths[1] - 1
    changed["input_ids"][0, place] += 1
    after = model.hidden(features=features, **changed)
    differ = (before != after).any(-1)[0].nonzero().flatten().tolist()
    assert differ == [place]
    parts = [model.hidden(features={"image": own}, **blocks_of(row)) for row, own in zip(
        rows[:2], features["image"].split([1, 2]), strict=True
    )]  # fmt: skip
    assert torch.allclose(torch.cat(parts, 1), before[:, : sum(lengths[:2])], atol=1e-5)


def blocks_of(row: object) -> dict[str, torch.Tensor]:
    batch = blocks.flat([row])  # type: ignore[list-item]
    return {key: batch[key] for key in ("input_ids", "position_ids", "attention_mask")}


def test_it_generates_as_before(build: Callable[..., Built]) -> None:
    model, processor = build("llama")
    batch = processor(["what colour is the ball ?", "red ?"])
    before = model.generate(**batch, max_new_tokens=6, do_sample=False)
    assert blocks.enable(model)
    assert torch.equal(model.generate(**batch, max_new_tokens=6, do_sample=False), before)


@pytest.mark.parametrize("connector", ["gated-cross-attention", "visual-expert"])
def test_not_with_layers_inside_the_llm(build: Callable[..., Built], connector: str) -> None:
    assert not blocks.enable(build("llama", connector=connector)[0])
