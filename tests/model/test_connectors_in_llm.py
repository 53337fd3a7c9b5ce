"""What every connector in the folder keeps, in every kind of LLM."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_parts import Built, llm_config, picture
from transformers import Dinov2Config, Qwen2AudioEncoderConfig

from isthmus.connectors._sight import layers
from isthmus.data.packing import collate, pack
from isthmus.model import IsthmusConfig, IsthmusModel, add_lora, load, save_full, save_trained
from isthmus.model.lora import merge_lora
from isthmus.registry import names
from isthmus.types import Message, Sample, Turn

NAMES = names("isthmus.connectors")
DECODERS = ["llama", "qwen2", "gpt2"]
LLMS = [*DECODERS, "t5"]
TALKS = [
    [Message("user", "is it red ?", (picture("red"),))],
    [Message("user", "what colour is the ball left of a cube ?", (picture("blue"), picture("green")))],
    [Message("user", "yes or no ?")],
    [Message("user", "please", (picture("green"),)), Message("assistant", "no"), Message("user", "red ?")],
]
SAMPLES = [
    Sample("a", (picture("red"),), (Turn("what colour ?", "red"), Turn("is it blue ?", "no it is red"))),
    Sample("b", (picture("blue"), picture("green")), (Turn("one or two ?", "two"),)),
]


def opened(built: Built) -> Built:
    """With a connector whose every weight does something that shows in the logits: gates are open."""
    torch.manual_seed(1)
    for weight in built[0].connectors.parameters():
        weight.data += 0.2 * torch.randn_like(weight)
    return built


def loss(built: Built) -> torch.Tensor:
    """Of the two samples, packed for a decoder; turn by turn for an encoder-decoder."""
    model, processor = built
    rows = [pack(sample, processor.template) for sample in SAMPLES]
    pixels = processor.preprocess([medium for sample in SAMPLES for medium in sample.media])
    batch = collate(rows, pad=0)
    if model.config.is_encoder_decoder:
        labels = batch["labels"][:, -6:].contiguous()
        return model(input_ids=batch["input_ids"], labels=labels, media={"image": pixels}).loss  # type: ignore[no-any-return]
    return model(**batch, media={"image": pixels}, use_cache=False).loss  # type: ignore[no-any-return]


def answers(built: Built, talks: Any = TALKS, **options: Any) -> list[list[int]]:
    """Ten greedy tokens for each conversation, in one batch."""
    model, processor = built
    batch = processor.encode(talks)
    out = model.generate(**batch, max_new_tokens=10, min_new_tokens=10, do_sample=False, **options)
    length = 1 if model.config.is_encoder_decoder else batch["input_ids"].shape[1]
    return [row[length:].tolist() for row in out]


def logits(built: Built, **options: Any) -> torch.Tensor:
    """The logits of six greedy steps for each conversation, [steps, B, V]."""
    model, processor = built
    own = {"return_dict_in_generate": True, "output_logits": True, "do_sample": False}
    out = model.generate(**processor.encode(TALKS), max_new_tokens=6, min_new_tokens=6, **own, **options)
    return torch.stack(out.logits)


@pytest.mark.parametrize("llm", LLMS)
@pytest.mark.parametrize("name", NAMES)
def test_text_alone_is_the_llms_own(build: Callable[..., Built], llm: str, name: str) -> None:
    model, processor = opened(build(llm, connector=name))
    batch = processor("what colour is the ball ?")
    more = {"decoder_input_ids": torch.tensor([[0, 5, 7]])} if llm == "t5" else {}
    assert torch.equal(model(**batch, **more).logits, model.llm(**batch, **more).logits)


@pytest.mark.parametrize("llm", LLMS)
@pytest.mark.parametrize("style", ["idefics", "flamingo"])
def test_closed_gates_change_nothing(build: Callable[..., Built], llm: str, style: str) -> None:
    model, processor = build(llm, connector="gated_cross_attention", style=style, every=1)
    batch = processor("is it red ?", picture("red"))
    more = {"decoder_input_ids": torch.tensor([[0, 5, 7]])} if llm == "t5" else {}
    ids = batch["input_ids"]
    x = model.get_input_embeddings()(ids.clamp(max=299))
    x[ids == model.config.placeholders["image"]] = model.connectors["image"].marker[0, 0]
    plain = model.llm(inputs_embeds=x, attention_mask=batch["attention_mask"], **more).logits
    assert torch.equal(model(**batch, **more).logits, plain)
    opened((model, processor))
    assert not torch.allclose(model(**batch, **more).logits, plain, atol=0.1)


@pytest.mark.parametrize("llm", LLMS)
def test_experts_start_as_the_llms_own_weights(build: Callable[..., Built], llm: str) -> None:
    model, processor = build(llm, connector="visual_expert")
    batch = processor("is it red ?", picture("red"))
    more = {"decoder_input_ids": torch.tensor([[0, 5, 7]])} if llm == "t5" else {}
    x, seen = model.read(batch["input_ids"], batch["media"])
    assert seen["image"].media.numel() == model.connectors["image"].num_tokens - 1  # the last one counts as text
    plain = model.llm(inputs_embeds=x, attention_mask=batch["attention_mask"], **more).logits
    torch.testing.assert_close(model(**batch, **more).logits, plain, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("llm", LLMS)
@pytest.mark.parametrize("name", NAMES)
def test_cache_no_cache_batch_and_single_agree(build: Callable[..., Built], llm: str, name: str) -> None:
    built = opened(build(llm, connector=name))
    found = answers(built)
    assert answers(built, use_cache=False) == found
    assert [answers(built, [talk])[0] for talk in TALKS] == found
    cached, anew = (logits(built, use_cache=use) for use in (True, False))
    torch.testing.assert_close(cached, anew, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(cached[:, 0], cached[:, -1], atol=1e-2)  # of two conversations


@pytest.mark.parametrize("llm", LLMS)
@pytest.mark.parametrize("name", NAMES)
def test_the_picture_matters(build: Callable[..., Built], llm: str, name: str) -> None:
    model, processor = opened(build(llm, connector=name))
    more = {"decoder_input_ids": torch.tensor([[0, 5, 7]])} if llm == "t5" else {}
    red, blue = (model(**processor("what ?", picture(colour)), **more).logits[:, -1] for colour in ("red", "blue"))
    assert not torch.allclose(red, blue, atol=1e-2)


@pytest.mark.parametrize("llm", ["llama", "gpt2", "t5"])
@pytest.mark.parametrize("name", NAMES)
def test_beams_repeat_the_media(build: Callable[..., Built], llm: str, name: str) -> None:
    built = opened(build(llm, connector=name))
    together = answers(built, num_beams=3)
    assert [answers(built, [talk], num_beams=3)[0] for talk in TALKS] == together


@pytest.mark.parametrize("llm", DECODERS)
@pytest.mark.parametrize("name", NAMES)
def test_a_packed_row_equals_its_turns_alone(build: Callable[..., Built], llm: str, name: str) -> None:
    model, processor = opened(build(llm, connector=name))
    rows = [pack(sample, processor.template) for sample in SAMPLES]
    pixels = processor.preprocess([medium for sample in SAMPLES for medium in sample.media])
    batch = collate(rows, pad=0)
    batch.pop("labels")
    packed = model(**batch, media={"image": pixels}).logits
    for number, sample in enumerate(SAMPLES):
        for turn in range(len(sample.turns)):
            one = Sample("one", sample.media, (sample.turns[turn],))
            alone = pack(one, processor.template)
            place = [i for i, segment in enumerate(rows[number].segments) if segment in (0, turn + 1)]
            own = {"image": processor.preprocess(sample.media)}
            logits = model(input_ids=torch.tensor([alone.ids]), media=own).logits[0]
            torch.testing.assert_close(packed[number, place], logits, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("llm", LLMS)
@pytest.mark.parametrize("name", NAMES)
def test_every_trainable_tensor_and_no_other_gets_a_gradient(build: Callable[..., Built], llm: str, name: str) -> None:
    model, processor = opened(build(llm, connector=name))
    loss((model, processor)).backward()
    got = {key for key, weight in model.named_parameters() if weight.grad is not None and bool(weight.grad.any())}
    trainable = {key for key, weight in model.named_parameters() if weight.requires_grad}
    assert all(key.startswith("connectors.") for key in trainable)
    if name == "visual-expert" and llm != "t5":  # after the last layer's keys and values, nothing looks at media
        last = ("c_proj", "c_fc") if llm == "gpt2" else ("q_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
        trainable = {key for key in trainable if not (".twins.1." in key and any(part in key for part in last))}
    assert trainable == got


@pytest.mark.parametrize(("llm", "reentrant"), [("llama", True), ("llama", False), ("gpt2", False), ("t5", False)])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True")  # a frozen encoder's layers
def test_checkpointed_gradients_are_equal(build: Callable[..., Built], llm: str, name: str, reentrant: bool) -> None:
    found = []
    for checkpointed in (False, True):
        model, processor = built = opened(build(llm, connector=name))
        model.train()
        if checkpointed:
            model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": reentrant})
        first = loss(built)
        with torch.no_grad():
            model(**processor("is it ?"), **({"decoder_input_ids": torch.tensor([[0]])} if llm == "t5" else {}))
        first.backward()  # another pass came between
        found.append({key: weight.grad for key, weight in model.named_parameters() if weight.grad is not None})
    assert found[0].keys() == found[1].keys()
    for key, grad in found[0].items():
        torch.testing.assert_close(found[1][key], grad, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize("llm", ["llama", "gpt2", "t5"])
@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_it_says_the_same(
    build: Callable[..., Built], folders: dict[str, str], llm: str, name: str, tmp_path: Path
) -> None:
    model, processor = built = opened(build(llm, connector=name))
    own = set(model.llm.state_dict())
    expected = answers(built)
    save_trained(model, tmp_path / "light")
    save_full(model, processor, tmp_path / "full")
    for form in ("light", "full"):
        again = load(tmp_path / form)
        assert set(again[0].llm.state_dict()) == own
        assert answers(again) == expected
    plain = type(model.llm).from_pretrained(folders[llm])
    assert own == set(plain.state_dict())
    model.llm.load_state_dict(plain.state_dict())


@pytest.mark.parametrize("llm", ["gpt2", "t5"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_a_copy_is_independent(build: Callable[..., Built], llm: str, name: str, way: str) -> None:
    model, processor = opened(build(llm, connector=name))
    expected = answers((model, processor))
    twin: IsthmusModel = copy.deepcopy(model) if way == "deepcopy" else pickle.loads(pickle.dumps(model))
    assert answers((twin, processor)) == expected
    for weight in model.parameters():
        weight.data.zero_()
    assert answers((twin, processor)) == expected


@pytest.mark.parametrize("llm", DECODERS)
@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_merges_into_it(build: Callable[..., Built], llm: str, name: str) -> None:
    model, processor = opened(build(llm, connector=name))
    add_lora(model, "llm", 4, 8)
    for key, weight in model.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(weight, std=0.1)
    batch = processor("is it red ?", picture("red"))
    before = model(**batch).logits
    merge_lora(model)
    torch.testing.assert_close(model(**batch).logits, before, atol=1e-3, rtol=1e-3)
    assert loss((model, processor)).isfinite()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's own tracing
def test_it_compiles(build: Callable[..., Built], name: str) -> None:
    model, processor = opened(build("llama", connector=name))
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager")  # what a compiler may refuse is the tracing
    for shown in (picture("red"), picture("blue"), [picture("blue"), picture("red")], None):
        batch = processor("is it red ?", shown)
        torch.testing.assert_close(compiled(**batch).logits, model(**batch).logits, atol=1e-4, rtol=1e-4)


def test_two_threads_may_run_one_model(build: Callable[..., Built]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    built = opened(build("llama", connector="gated_cross_attention", every=1))
    expected = [answers(built, [talk])[0] for talk in TALKS]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda talk: answers(built, [talk])[0], TALKS * 4))
    assert found == expected * 4


@pytest.fixture
def alone_in_a_group(tmp_path: Path) -> Any:
    """A process group of this process alone."""
    from torch import distributed

    distributed.init_process_group(
        "gloo", store=distributed.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1
    )
    yield distributed.device_mesh.init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


@pytest.mark.parametrize("llm", ["llama", "gpt2"])
@pytest.mark.parametrize("name", NAMES)
def test_it_is_sharded(build: Callable[..., Built], alone_in_a_group: Any, llm: str, name: str) -> None:
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    plain, sharded = (opened(build(llm, connector=name)) for _ in range(2))
    for layer in layers(sharded[0].llm):
        fully_shard(layer, mesh=alone_in_a_group)
    fully_shard(sharded[0], mesh=alone_in_a_group)
    assert all(isinstance(weight, DTensor) for weight in sharded[0].parameters())
    for built in (plain, sharded):
        loss(built).backward()
    expected = {key: weight.grad for key, weight in plain[0].named_parameters() if weight.grad is not None}
    found = {key: weight.grad for key, weight in sharded[0].named_parameters() if weight.grad is not None}
    assert expected.keys() == found.keys()
    for key, grad in expected.items():
        torch.testing.assert_close(found[key].full_tensor(), grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("llm", LLMS)
@pytest.mark.parametrize(("image", "audio"), [("gated-cross-attention", "visual-expert"), ("visual-expert", "qformer")])
def test_two_kinds_have_connectors_of_their_own(llm: str, image: str, audio: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    vision = Dinov2Config(hidden_size=24, num_hidden_layers=1, num_attention_heads=4, patch_size=4, image_size=16)
    sound = Qwen2AudioEncoderConfig(
        num_mel_bins=8, d_model=16, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=16,
        max_source_positions=16,
    )  # fmt: skip
    config = IsthmusConfig(
        llm_config=llm_config(llm),
        image_config=vision,
        audio_config=sound,
        encoders={"image": {"name": "vit-s", "size": 16}, "audio": {"name": "qwen2-audio", "size": 32}},
        connectors={"image": {"name": image, "tokens": 4}, "audio": {"name": audio, "tokens": 2}},
        placeholders={"image": 300, "audio": 301},
    )
    model = IsthmusModel(config).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    slots = {kind: [config.placeholders[kind]] * model.connectors[kind].num_tokens for kind in ("image", "audio")}
    ids = torch.tensor([[5, *slots["image"], 6, 7, *slots["audio"], 8, 9, 10]])
    media = {"image": torch.randn(1, 3, 16, 16), "audio": torch.randn(1, 8, 32)}
    more = {"decoder_input_ids": torch.tensor([[0, 5]])} if llm == "t5" else {}

    def last(**other: torch.Tensor) -> torch.Tensor:
        return model(input_ids=ids, media=media | other, **more).logits[:, -1]  # type: ignore[no-any-return]

    assert not torch.allclose(last(), last(image=-media["image"]), atol=1e-3)
    assert not torch.allclose(last(), last(audio=-media["audio"]), atol=1e-3)
    steps = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False}
    said = model.generate(input_ids=ids, media=media, **steps)
    assert torch.equal(said, model.generate(input_ids=ids, media=media, use_cache=False, **steps))
    model.save_pretrained(tmp_path)
    assert torch.equal(IsthmusModel.from_pretrained(tmp_path)(input_ids=ids, media=media, **more).logits[:, -1], last())
