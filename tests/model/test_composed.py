"""The forward pass, held against the parts alone, LLaVA, and packed rows against their turns."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from tiny_parts import DECODERS, Built, llm_config, picture
from transformers import CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration

from isthmus.data.packing import Row, collate, pack
from isthmus.errors import BadRecipe, MergeError
from isthmus.model import IsthmusConfig, IsthmusModel, add_lora, compose, describe
from isthmus.model.merge import merge
from isthmus.types import Sample, Turn

SAMPLES = [
    Sample("a", (picture("red"),), (Turn("what colour ?", "red"), Turn("is it blue ?", "no it is red"))),
    Sample("b", (picture("blue"), picture("green")), (Turn("one or two ?", "two"),)),
]


def rows(built: Built) -> list[Row]:
    return [pack(sample, built[1].template) for sample in SAMPLES]


def pixels(built: Built) -> dict[str, torch.Tensor]:
    return {"image": built[1].preprocess([medium for sample in SAMPLES for medium in sample.media])}


@pytest.mark.parametrize("llm", DECODERS)
def test_text_only_gives_the_llms_own_logits(build: Callable[..., Built], llm: str) -> None:
    model, processor = build(llm)
    batch = processor("what colour is the ball ?")
    assert torch.equal(model(**batch).logits, model.llm(**batch).logits)


def test_logits_equal_llavas() -> None:
    torch.manual_seed(0)
    text = llm_config("llama")
    text.tie_word_embeddings, slot = False, {"image_token_index": 299}
    sizes = {"hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 32, "patch_size": 4, "image_size": 16}
    theirs = LlavaForConditionalGeneration(
        LlavaConfig(vision_config=CLIPVisionConfig(num_hidden_layers=3, **sizes), text_config=text, **slot)
    ).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    ours = IsthmusModel(
        IsthmusConfig(
            llm_config=text,
            image_config=CLIPVisionConfig(num_hidden_layers=2, **sizes),  # as `clip` cuts it
            encoders={"image": {"name": "clip", "size": 16}},
            connectors={"image": {"name": "mlp"}},
            placeholders={"image": 300},
        )
    ).eval()
    body, tower, bridge = theirs.model, ours.encoders["image"], ours.connectors["image"]
    ours.llm.model.load_state_dict(body.language_model.state_dict())
    ours.llm.lm_head.load_state_dict(theirs.lm_head.state_dict())
    kept = body.vision_tower.state_dict()
    tower.load_state_dict({name: kept[name] for name in tower.state_dict()})
    bridge.linear_1.load_state_dict(body.multi_modal_projector.linear_1.state_dict())
    bridge.linear_2.load_state_dict(body.multi_modal_projector.linear_2.state_dict())
    images = torch.randn(2, 3, 16, 16)
    ids = torch.randint(3, 200, (2, 24))
    ids[0, 2:18] = ids[1, 5:21] = 299
    with torch.no_grad():
        expected = theirs(input_ids=ids, pixel_values=images).logits
        actual = ours(input_ids=ids.masked_fill(ids == 299, 300), media={"image": images}).logits
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("llm", ["llama", "qwen2", "gpt2"])
def test_a_packed_row_equals_its_turns_alone(build: Callable[..., Built], llm: str) -> None:
    model, _ = built = build(llm)
    batch = collate(rows(built), pad=0)
    batch.pop("labels")
    packed = model(**batch, media=pixels(built)).logits
    for number, sample in enumerate(SAMPLES):
        row = rows(built)[number]
        media = {"image": built[1].preprocess(sample.media)}
        for turn in range(1, len(sample.turns) + 1):
            where = [i for i, segment in enumerate(row.segments) if segment in (0, turn)]
            alone = model(input_ids=torch.tensor([[row.ids[i] for i in where]]), media=media).logits
            torch.testing.assert_close(packed[number, where], alone[0], atol=1e-5, rtol=1e-5)


def test_loss_equals_that_of_all_logits(built: Built) -> None:
    model, _ = built
    batch = collate(rows(built), pad=0)
    media = pixels(built)
    loss = model(**batch, media=media).loss
    labels = batch.pop("labels")
    logits = model(**batch, media=media).logits
    expected = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    torch.testing.assert_close(loss, expected)


def test_every_trainable_tensor_and_no_other_gets_a_gradient(built: Built) -> None:
    model, _ = built
    add_lora(model, "llm", r=2, alpha=4)
    add_lora(model, "image.encoder", r=2, alpha=4)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # at zero it would hide the gradient of A
            torch.nn.init.normal_(parameter)
    model(**collate(rows(built), pad=0), media=pixels(built)).loss.backward()
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    moved = {n for n, p in model.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}
    assert moved == trainable
    assert {name.split(".")[0] for name in trainable} == {"connectors", "encoders", "llm"}


@pytest.mark.parametrize("llm", ["llama", "gpt2"])
def test_checkpointed_gradients_are_equal(build: Callable[..., Built], llm: str) -> None:
    model, _ = built = build(llm)
    add_lora(model, "llm", r=2, alpha=4)
    model.train()
    found: list[dict[str, torch.Tensor]] = []
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable()
        model.zero_grad()
        model(**collate(rows(built), pad=0), media=pixels(built), use_cache=False).loss.backward()
        found.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    assert model.is_activation_checkpointing
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient)


def test_merge_says_both_numbers(built: Built) -> None:
    model, processor = built
    x = torch.zeros(1, 5, 2)
    slots = torch.tensor([[0, 1, 1, 0, 0]]).bool()
    assert merge(x, torch.ones(1, 2, 2), slots, "image")[0, :, 0].tolist() == [0, 1, 1, 0, 0]
    with pytest.raises(MergeError, match=r"image: 2 slots in the text, 3 soft tokens \(1 media x 3\)"):
        merge(x, torch.ones(1, 3, 2), slots, "image")
    batch = processor("what ?", picture("red"))
    media = batch.pop("media")
    with pytest.raises(MergeError, match=r"4 slots in the text, 0 soft tokens"):
        model(**batch)
    with pytest.raises(MergeError, match=r"4 slots in the text, 8 soft tokens"):
        model(**batch, media={"image": media["image"].repeat(2, 1, 1, 1)})
    with pytest.raises(MergeError, match="this model takes image, not audio"):
        model(**batch, features={"audio": torch.zeros(1, 1, 1)})


def test_a_copy_is_independent(built: Built) -> None:
    model, processor = built
    batch = processor("what ?", picture("red"))
    before = model(**batch).logits
    twin = copy.deepcopy(model)
    assert torch.equal(twin(**batch).logits, before)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert torch.equal(model(**batch).logits, before)


def test_a_half_precision_model_takes_packed_rows(built: Built) -> None:
    loss = built[0](**collate(rows(built), pad=0), media=pixels(built)).loss
    model = copy.deepcopy(built[0]).to(torch.bfloat16)
    media = {"image": pixels(built)["image"].bfloat16()}
    half = model(**collate(rows(built), pad=0), media=media).loss
    torch.testing.assert_close(half.float(), loss, atol=0.3, rtol=0.05)


def test_the_picture_of_the_model(built: Built) -> None:
    model, _ = built
    add_lora(model, "llm", r=2, alpha=4)
    text = describe(model)
    for fact in ("16 features, D=24", "4 soft tokens, D=32", "V=300", "LoRA r=2 alpha=4", "all trainable", "frozen"):
        assert fact in text, fact


def test_what_cannot_be_composed_is_refused(folders: dict[str, str]) -> None:
    vision = folders["vision"]
    with pytest.raises(BadRecipe, match=r"no option 'token'. Did you mean 'tokens'"):
        compose(folders["llama"], {"encoder": "vit-s", "connector": "mlp", "part": vision, "token": 4})
    with pytest.raises(BadRecipe, match=r"does not divide 16 features. Possible: 16, 4, 1"):
        compose(folders["llama"], {"encoder": "vit-s", "connector": "mlp", "part": vision, "size": 16, "tokens": 5})
    with pytest.raises(BadRecipe, match="no connector is named"):
        compose(folders["llama"], {"encoder": "vit-s"})
    with pytest.raises(BadRecipe, match="has no default weights"):
        compose(folders["llama"], ("blip2", "mlp"))


def test_the_same_seed_gives_the_same_connector(folders: dict[str, str]) -> None:
    image = {"encoder": "vit-s", "connector": "mlp", "part": folders["vision"], "size": 16}
    state = torch.get_rng_state()
    one, two, other = (compose(folders["llama"], image, seed=seed)[0].connectors.state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["image.linear_1.weight"], other["image.linear_1.weight"])
