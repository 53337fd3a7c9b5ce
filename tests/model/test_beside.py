"""An adapter for some kinds of media: what it must leave alone, and that it works everywhere else."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_parts import DECODERS, Built, llm_config, noise
from tiny_senses import KINDS, medium, sense
from torch import nn
from transformers import LlamaForCausalLM

from isthmus.connectors._sight import Sight
from isthmus.data.packing import collate, pack
from isthmus.errors import BadRecipe, IsthmusError, MergeError
from isthmus.model import IsthmusModel, add_lora, blocks, compose, exporters, load, merge_lora, save_full, save_trained
from isthmus.model.beside import BESIDE, Added, Beside, Hook, Pair, Since
from isthmus.model.reuse import Reuse
from isthmus.types import Message, Sample, Turn

HOW: dict[str, Any] = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
SOUND, SERIES = medium("whisper", 0), medium("patchtst", 0)


@pytest.fixture
def make(folders: dict[str, str], tmp_path: Path) -> Callable[..., Built]:
    """A tiny LLM that takes pictures, sounds and series, with an adapter for the latter two."""

    def build(llm: str = "llama", fresh: bool = False) -> Built:
        senses = {KINDS[name]: sense(name, tmp_path) for name in ("vit", "whisper", "patchtst")}
        model, processor = compose(folders[llm], **senses)
        torch.manual_seed(1)
        for weight in model.connectors.parameters():
            torch.nn.init.normal_(weight, std=0.3)
        model.put_beside(2, 4, ["audio", "series"])
        for weight in model.beside.parameters() if not fresh else ():
            torch.nn.init.normal_(weight, std=0.3)
        return model, processor

    return build


def talk(*media: Any, text: str = "what is this ?") -> list[Message]:
    return [Message("user", text, media)]


def logits(built: Built, *talks: list[Message]) -> torch.Tensor:
    model, processor = built
    with torch.no_grad():
        return model(**processor.encode(list(talks))).logits  # type: ignore[no-any-return]


def without(built: Built) -> Built:
    """The same model before it had the adapter."""
    model, processor = copy.deepcopy(built[0]), built[1]
    for hook in model.beside._hooks:
        hook.remove()
    model.beside = None
    return model, processor


@pytest.mark.parametrize("llm", DECODERS)
def test_pictures_and_text_alone_are_answered_as_before_bit_for_bit(make: Callable[..., Built], llm: str) -> None:
    built = make(llm)
    before = without(built)
    for media in ((), (noise("a"),), (noise("a"), noise("b"))):
        assert torch.equal(logits(built, talk(*media)), logits(before, talk(*media)))
    for media in ((SOUND,), (noise("a"), SERIES)):
        assert not torch.allclose(logits(built, talk(*media))[:, -1], logits(before, talk(*media))[:, -1], atol=1e-3)


def test_it_starts_without_an_effect(make: Callable[..., Built]) -> None:
    built = make(fresh=True)
    assert torch.equal(logits(built, talk(SOUND)), logits(without(built), talk(SOUND)))


def test_what_stands_before_the_first_medium_of_its_kinds_is_as_before(make: Callable[..., Built]) -> None:
    built = make()
    ids = built[1].encode([talk(noise("a"), SOUND)])["input_ids"][0]
    first = int((ids == built[0].config.placeholders["audio"]).nonzero()[0, 0])
    mine, theirs = logits(built, talk(noise("a"), SOUND)), logits(without(built), talk(noise("a"), SOUND))
    assert torch.equal(mine[:, :first], theirs[:, :first])
    assert (mine[:, first:] != theirs[:, first:]).any(-1).all()


def test_rows_of_a_batch_are_as_by_themselves(make: Callable[..., Built]) -> None:
    built = make()
    talks = [talk(noise("a")), talk(SOUND, text="is it ?"), talk(), talk(noise("b"), SERIES)]
    together = logits(built, *talks)
    for row, own in zip(together, talks, strict=True):
        assert torch.allclose(row[-1], logits(built, own)[0, -1], atol=1e-4)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("media", [(SOUND,), (noise("a"), SERIES), (noise("a"),)])
def test_a_cache_gives_what_none_gives(make: Callable[..., Built], media: tuple[Any, ...], beams: int) -> None:
    model, processor = make()
    inputs = processor.encode([talk(*media), talk(SOUND, text="is it ?")])
    with torch.no_grad():
        said = [model.generate(**inputs, use_cache=cache, num_beams=beams, **HOW) for cache in (True, False)]
    assert torch.equal(*said)


def test_what_is_kept_of_a_talk_is_right_when_a_sound_comes_later(make: Callable[..., Built]) -> None:
    built = make()
    reuse, first = Reuse(*built), talk(noise("a"))
    for more in ([], [Message("assistant", "red"), Message("user", "and this ?", (SOUND,))],
                 [Message("assistant", "red"), Message("user", "and this ?", (SOUND,)), Message("assistant", "no"),
                  Message("user", "what ?")],
                 [Message("assistant", "red"), Message("user", "and now ?")]):  # fmt: skip
        said = reuse.generate(reuse.ask([*first, *more]), **HOW)
        assert said == Reuse(*built).generate(reuse.ask([*first, *more]), **HOW)
        inputs = built[1].encode([[*first, *more]])
        with torch.no_grad():
            whole = built[0].generate(**inputs, use_cache=False, **HOW)[0, inputs["input_ids"].shape[1] :].tolist()
        assert said == whole


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("adapter", [False, True])
def test_rows_one_behind_another_have_the_gradients_of_padded_ones(
    make: Callable[..., Built], adapter: bool, checkpointing: bool
) -> None:
    model, processor = make()
    model.train()
    if adapter:
        add_lora(model, "llm", 2, 4)
    model.requires_grad_(False)
    model.beside.requires_grad_(True)
    model.connectors.requires_grad_(True)
    samples = [
        Sample("a", (SOUND,), (Turn("what colour ?", "red"), Turn("is it blue ?", "no it is red"))),
        Sample("b", (noise("a"),), (Turn("one or two ?", "two"),)),
        Sample("c", (noise("a"), SERIES), (Turn("red ?", "no"), Turn("one ?", "two", shows=1)), chained=True),
        Sample("d", (), (Turn("what is red ?", "a colour"),)),
    ]
    prepared = processor.encode([talk(*sample.media) for sample in samples])

    def slots(medium: Any) -> tuple[str, int]:
        ids = processor.encode([talk(medium)])["input_ids"]
        return medium.kind, int((ids == model.config.placeholders[medium.kind]).sum())

    rows = [pack(s, processor.template, [[slots(medium)] for medium in s.media]) for s in samples]
    media = {name: prepared[name] for name in ("media", "valid") if name in prepared}

    def gradients(batch: dict[str, torch.Tensor]) -> tuple[float, dict[str, torch.Tensor]]:
        model.zero_grad()
        loss = model(use_cache=False, **media, **batch).loss
        loss.backward()
        return loss.item(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    loss, expected = gradients(collate(rows, pad=0))
    assert blocks.enable(model)
    if checkpointing:
        model.activation_checkpointing_enable()
    own, found = gradients(blocks.flat(rows))
    assert own == pytest.approx(loss, abs=1e-5)
    assert any(name.startswith("beside.") for name in expected)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, atol=1e-4), name


def test_a_step_without_its_media_has_a_gradient_of_zero(make: Callable[..., Built]) -> None:
    model, processor = make()
    model.requires_grad_(False)
    model.beside.requires_grad_(True)
    rows = [pack(Sample("d", (noise("a"),), (Turn("what ?", "red"),)), processor.template)]
    media = processor.encode([talk(noise("a"))])["media"]
    model(use_cache=False, media=media, **collate(rows, pad=0)).loss.backward()
    assert all(weight.grad is not None and not weight.grad.any() for weight in model.beside.parameters())


def test_gradients_in_double_precision() -> None:
    drawn = lambda *shape: torch.randn(shape, dtype=torch.float64)
    gate = torch.tensor([[0.0], [0.7], [0.7]], dtype=torch.float64)
    y, x, A, B = (own.requires_grad_() for own in (drawn(3, 5), drawn(3, 6), drawn(2, 6), drawn(5, 2)))
    assert torch.autograd.gradcheck(lambda y, x, A, B: Added.apply(y * 1, x, A, B, gate), (y, x, A, B))


@pytest.mark.parametrize("llm", ["llama", "gpt2"])
@pytest.mark.parametrize("merge", [False, True])
def test_checkpoints_keep_it(make: Callable[..., Built], llm: str, merge: bool, tmp_path: Path) -> None:
    built = make(llm)
    model, processor = built
    add_lora(model, "llm", 2, 4)
    for name, weight in model.llm.named_parameters():
        if ".lora_" in name:
            nn.init.normal_(weight, std=0.1)
    expected = [logits(built, talk(*media)) for media in ((noise("a"),), (noise("a"), SOUND))]
    save_trained(model, tmp_path / "light")
    save_full(model, processor, tmp_path / "full")
    again = load(tmp_path / "light", merge=merge)
    whole = IsthmusModel.from_pretrained(tmp_path / "full"), processor
    for other in (again, load(tmp_path / "full"), whole, copy.deepcopy(again)):
        assert other[0].config.beside == {"r": 2, "alpha": 4, "kinds": ["audio", "series"]}
        for media, known in zip(((noise("a"),), (noise("a"), SOUND)), expected, strict=True):
            assert torch.allclose(logits(other, talk(*media)), known, atol=1e-3)


def test_an_adapter_that_is_merged_leaves_it(make: Callable[..., Built]) -> None:
    built = make()
    add_lora(built[0], "llm", 2, 4)
    known = logits(built, talk(SOUND))
    merge_lora(built[0])
    assert torch.allclose(logits(built, talk(SOUND)), known, atol=1e-4)
    assert not any(".lora_" in name for name, _ in built[0].named_parameters())


@pytest.mark.parametrize("autocast", [False, True])
def test_in_half_precision(autocast: bool) -> None:
    torch.manual_seed(0)
    layer, sight, pair = nn.Linear(6, 5), Sight(), Pair(6, 5, 2)
    nn.init.normal_(pair.B)
    x, y = torch.randn(1, 3, 6), torch.randn(1, 3, 5)
    hook = Hook(pair, 2.0, sight)
    assert hook(layer, (x,), y.clone()).equal(y), "nothing is shown"
    with sight.show({BESIDE: Since(torch.tensor([[False, True, True]]))}):
        known = hook(layer, (x,), y.clone())
        if not autocast:
            x, y = x.bfloat16(), y.bfloat16()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found = hook(layer, (x,), y.clone())
        assert torch.allclose(found.float(), known, atol=0.1)
        assert torch.equal(found[:, 0], y[:, 0])
        with pytest.raises(IsthmusError, match="do not see each token once"):
            hook(layer, (x[:, :2],), y[:, :2])


def test_what_it_cannot_be(make: Callable[..., Built], folders: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(BadRecipe, match="both directions"):
        compose(folders["t5"], audio=sense("whisper", tmp_path), image=None)[0].put_beside(2, 4, ["audio"])
    model, processor = make()
    with pytest.raises(IsthmusError, match=r"cannot hold an adapter that works for some media \(audio, series\)"):
        exporters.write(model, processor, "gguf", tmp_path / "gguf")


def test_where_it_works_behind_a_text() -> None:
    since = Since(torch.tensor([[False, False, True], [False, False, False]]))
    assert since.after(1, 1) is None
    assert since.after(1, 2).marks.tolist() == [[False, True], [False, False]]  # type: ignore[union-attr]
    assert since.after(2, 3).marks.tolist() == [[True] * 3, [False] * 3]  # type: ignore[union-attr]
    assert since.after(9, 1).marks.tolist() == [[True], [False]]  # type: ignore[union-attr]
    assert since.rows(torch.tensor([1, 1])).after(9, 1) is None


def test_a_text_that_goes_on_from_a_cache_says_what_it_saw(make: Callable[..., Built]) -> None:
    model, processor = make()
    inputs = processor.encode([talk(SOUND)])
    ids = inputs["input_ids"]
    more = ids.new_tensor([[5, 6, 7]])
    with torch.no_grad():
        known = model(**inputs | {"input_ids": torch.cat([ids, more], 1), "attention_mask": None}).logits[:, -3:]
        begun = model(**inputs, use_cache=True)
        with pytest.raises(MergeError, match=r"give the pass .* `seen`"):
            model(input_ids=more, past_key_values=begun.past_key_values)
        own = model(input_ids=more, past_key_values=begun.past_key_values, seen=begun.seen).logits
        assert torch.allclose(own, known, atol=1e-4)
        begun = model(**processor.encode([talk(noise("a"))]), use_cache=True)
        model(input_ids=more, past_key_values=begun.past_key_values)  # nothing was seen that it would need


def test_a_layer_that_is_replaced_gets_it_again(make: Callable[..., Built]) -> None:
    model, processor = make()
    known = logits((model, processor), talk(SOUND))
    name, old = next((n, m) for n, m in model.llm.named_modules() if isinstance(m, nn.Linear))
    new = nn.Linear(old.in_features, old.out_features, bias=old.bias is not None)
    new.load_state_dict(old.state_dict())
    model.llm.set_submodule(name, new)
    assert not model.beside.hangs(model.llm)
    assert torch.equal(logits((model, processor), talk(SOUND)), known)


def test_it_is_where_the_llm_is() -> None:
    with torch.device("meta"):
        llm = LlamaForCausalLM(llm_config("llama"))
    assert {weight.device.type for weight in Beside(llm, 2, 4, ["audio"]).parameters()} == {"meta"}
