"""Parts, options and inputs that do not go together are refused by name, and never computed with silently."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_parts import Built, picture, tokenizer
from transformers import (
    AutoConfig,
    Dinov2Config,
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MixtralConfig,
    OPTConfig,
    T5Config,
)

from isthmus.connectors._sight import layers
from isthmus.connectors.gated_cross_attention import Connector as Gated
from isthmus.errors import BadRecipe, IsthmusError, MergeError
from isthmus.model import IsthmusConfig, IsthmusModel, compose
from isthmus.model.merge import merge
from isthmus.registry import names

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 300}


@pytest.mark.parametrize(
    ("connector", "options", "message"),
    [
        ("gated-cross-attention", {"style": "other"}, "'idefics' or 'flamingo'"),
        ("gated-cross-attention", {"every": 0}, "greater than 0"),
        ("gated-cross-attention", {"first": -1}, "greater than or equal to 0"),
        ("gated-cross-attention", {"memory": "features"}, "no `tokens`"),
        ("mlp", {"pool": "max"}, "'shuffle' or 'average'"),
        ("qformer", {"layers": 0}, "greater than 0"),
        ("qformer", {"dropout": 3.0}, "less than or equal to 1"),
        ("qformer", {"tokens": -3}, "greater than 0"),
        ("resampler", {"tokens": "four"}, "integer"),
    ],
)
def test_options(build: Callable[..., Built], connector: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRecipe, match=message):
        build(connector=connector, **options)


def test_a_connector_inside_another_reads_with_the_llms_vocabulary(build: Callable[..., Built]) -> None:
    inside = {"instruction": True, "hidden": 16}
    model, processor = build(connector="gated-cross-attention", memory="qformer", inside=inside)
    assert model.generate(**processor("is it red ?", picture("red")), max_new_tokens=2).shape[0] == 1
    assert model.config.connectors["image"]["inside"]["vocab"] == 300


def test_an_empty_instruction_can_be_read(build: Callable[..., Built]) -> None:
    model, processor = build(connector="qformer", instruction=True, hidden=16)
    both = model(**processor(["", "is it red ?"], [picture("red")] * 2)).logits
    alone = model(**processor("", picture("red"))).logits
    torch.testing.assert_close(both[:1, -1], alone[:, -1], atol=1e-5, rtol=1e-5)


def test_an_llm_without_attention(folders: dict[str, str], tmp_path: Any) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 300, "state_size": 4}
    MambaForCausalLM(MambaConfig(**sizes)).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    with pytest.raises(BadRecipe, match="mamba has no attention"):
        compose(str(tmp_path), {"encoder": "vit-s", "connector": "mlp", "part": folders["vision"], "size": 16})


def composed(config: Any, connector: str, kind: str = "image", frames: int | None = None, **options: Any) -> Any:
    """A model around a fresh LLM, whose features are given."""
    torch.manual_seed(0)
    vision = Dinov2Config(hidden_size=24, num_hidden_layers=1, num_attention_heads=4, patch_size=4, image_size=16)
    encoder = {"name": "vit-s", "size": 16} | ({"frames": frames} if frames else {})
    own = IsthmusConfig(
        llm_config=config, encoders={kind: encoder}, connectors={kind: {"name": connector, **options}},
        placeholders={kind: config.vocab_size}, **{f"{kind}_config": vision},
    )  # fmt: skip
    return IsthmusModel(own).eval()


@pytest.mark.parametrize("connector", names("isthmus.connectors"))
def test_embeddings_narrower_than_the_llm(connector: str) -> None:
    config = OPTConfig(**SIZES, ffn_dim=48, word_embed_proj_dim=16, dropout=0.0, max_position_embeddings=64)
    model = composed(config, connector, tokens=4)
    soft = model.connectors["image"](torch.randn(2, 16, 24))
    assert soft.shape[-1] == 16
    ids = torch.tensor([[5] + [300] * soft.shape[1] + [6]]).repeat(2, 1)
    assert model(ids, features={"image": torch.randn(2, 16, 24)}).logits.shape == (2, ids.shape[1], 300)


def test_merging_other_widths_and_parts_of_media() -> None:
    x, slots = torch.zeros(2, 4, 3), torch.tensor([[True, True, True, False], [True, False, False, False]])
    with pytest.raises(MergeError, match="soft tokens of 2 numbers, embeddings of 3"):
        merge(x, torch.ones(4, 1, 2), slots, "image")
    with pytest.raises(MergeError, match="row 0 of the text cuts a medium: its slots are no multiple of 2"):
        merge(x, torch.ones(2, 2, 3), slots, "image")


def test_a_picture_prepared_in_another_size(built: Built) -> None:
    model, processor = built
    inputs = processor("is it red ?", picture("red"))
    inputs["media"]["image"] = torch.randn(1, 3, 24, 24)
    with pytest.raises(MergeError, match="36 features, and this connector was made for 16"):
        model(**inputs)


def test_experts_of_a_mixture_have_no_twins() -> None:
    config = MixtralConfig(**SIZES, num_key_value_heads=2, intermediate_size=24, num_local_experts=2)
    with pytest.raises(BadRecipe, match=r"mixtral hold matrices that are no linear layer's, such as mlp\.\w+"):
        composed(config, "visual-expert", tokens=4)


def test_a_visual_expert_that_lost_its_twins_says_so(build: Callable[..., Built]) -> None:
    model, processor = build(connector="visual-expert")
    inputs = processor("is it red ?", picture("red"))
    assert isinstance(model.llm, LlamaForCausalLM)
    attention: Any = model.llm.model.layers[1].self_attn
    fresh = torch.nn.Linear(attention.o_proj.in_features, attention.o_proj.out_features, bias=False)
    attention.o_proj = fresh  # as quantisation of a composed model does
    with pytest.raises(IsthmusError, match=r"visual_expert: self_attn\.o_proj was replaced"):
        model(**inputs)
    model(**processor("is it red ?"))  # text alone needs no twins


def test_a_conversation_goes_on_from_its_cache(build: Callable[..., Built]) -> None:
    how: dict[str, Any] = {
        "max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "output_logits": True,
        "return_dict_in_generate": True,
    }  # fmt: skip
    for connector in ("mlp", "gated-cross-attention", "visual-expert"):
        model, processor = build(connector=connector, **({"every": 1} if connector.startswith("gated") else {}))
        torch.manual_seed(0)
        for weight in model.connectors.parameters():
            weight.data.add_(torch.randn_like(weight) * 0.2)
        inputs = processor("is it red ?", picture("red"))
        whole = model.generate(**inputs, **how)
        with torch.no_grad():
            first = model(**{key: inputs[key] for key in ("input_ids", "attention_mask", "media")}, use_cache=True)
        token = first.logits[:, -1:].argmax(-1)
        ids = torch.cat([inputs["input_ids"], token], 1)
        how |= {"max_new_tokens": 5, "min_new_tokens": 5}
        cache = copy.deepcopy(first.past_key_values)
        later = model.generate(input_ids=ids, past_key_values=cache, seen=first.seen, **how)
        for mine, theirs in zip(later.logits, whole.logits[1:], strict=True):
            torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)
        if connector.startswith("gated"):
            blind = model.generate(input_ids=ids, past_key_values=first.past_key_values, **how)
            assert (blind.logits[0] - whole.logits[1]).abs().max() > 1e-2
            with pytest.raises(MergeError, match="media cannot join a text that goes on from a cache"):
                model(ids[:, -1:], media=inputs["media"], seen=first.seen)
        how |= {"max_new_tokens": 6, "min_new_tokens": 6}


@pytest.mark.parametrize("kind", ["video", "image"])
@pytest.mark.parametrize("connector", names("isthmus.connectors"))
@pytest.mark.parametrize("llm", ["llama", "gpt2"])
def test_features_of_clips_and_pictures(folders: dict[str, str], llm: str, connector: str, kind: str) -> None:
    """In the LLM too: every feature counts, and what was cached changes nothing."""
    frames = 3 if kind == "video" else None
    config = AutoConfig.from_pretrained(folders[llm])
    model = composed(config, connector, kind, frames, tokens=3 * 4 if frames else 4)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    count = model.connectors[kind].num_tokens
    ids = torch.tensor([[5, *[config.vocab_size] * count, 6, 7], [*[config.vocab_size] * count, 5, 6, 7]])
    features = torch.randn(2, 16 * (frames or 1), 24, requires_grad=True)
    logits = model(ids, features={kind: features}).logits
    logits[:, -1].pow(2).sum().backward()
    assert features.grad is not None
    assert (features.grad.abs().sum(-1) > 0).all()
    answers = [
        model.generate(
            ids, features={kind: features.detach()}, attention_mask=torch.ones_like(ids), use_cache=cache,
            max_new_tokens=5, min_new_tokens=5, do_sample=False,
        ).tolist()
        for cache in (True, False)
    ]  # fmt: skip
    assert answers[0] == answers[1]


def test_turns_share_no_prefix_in_an_encoder_decoder(build: Callable[..., Built]) -> None:
    model, processor = build("t5")
    inputs = processor("is it red ?", picture("red"))
    with pytest.raises(MergeError, match="turns cannot share a prefix there: give each turn a row of its own"):
        model(**inputs, labels=inputs["input_ids"][:, :2], position_ids=torch.zeros_like(inputs["input_ids"]))


def test_heads_that_do_not_fill_the_llms_width() -> None:
    """As those of Flan-T5-small: 6 heads of 64 in a width of 512."""
    config = T5Config(d_model=32, num_heads=3, d_kv=16, d_ff=24, num_layers=2, vocab_size=300)
    model = composed(config, "gated-cross-attention", tokens=4)
    assert model.connectors["image"].blocks[0].q.weight.shape == (48, 32)


class Sideways(LlamaForCausalLM):  # type: ignore[misc]
    """An LLM with another list as long as that of its layers."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model.more = torch.nn.ModuleList(torch.nn.Identity() for _ in self.model.layers)


@pytest.mark.parametrize("many", [True, False])
def test_layers_that_cannot_be_told(many: bool) -> None:
    config = LlamaConfig(**SIZES, intermediate_size=24)
    llm = (Sideways if many else LlamaForCausalLM)(config)
    if not many:
        llm.model.layers = torch.nn.ModuleList([*llm.model.layers, torch.nn.Identity()])
    with pytest.raises(BadRecipe, match=r"llama has (2|no) lists of 2 layers, so it is not known where media layers"):
        layers(llm)


def test_an_llm_that_caps_its_logits_is_refused(folders: dict[str, str], tmp_path: Path) -> None:
    """The loss is computed from the head alone, which would be silently wrong."""
    config = Gemma2Config(
        **SIZES, num_key_value_heads=2, intermediate_size=24, head_dim=8, final_logit_softcapping=0.01
    )
    torch.manual_seed(0)
    Gemma2ForCausalLM(config).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    with pytest.raises(BadRecipe, match="gemma2 changes its logits after the head"):
        compose(str(tmp_path), {"encoder": "vit-s", "connector": "mlp", "part": folders["vision"], "size": 16})


def test_a_memory_of_features_takes_nothing_inside() -> None:
    with pytest.raises(BadRecipe, match="nothing `inside`"):
        Gated((4, 4), 24, 32, memory="features", inside={"hidden": 3})
