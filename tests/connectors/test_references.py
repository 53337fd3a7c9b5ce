"""Blocks whose classes are not in transformers, held to small references written from their papers' equations."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from isthmus.connectors._sight import Sight, layers
from isthmus.errors import BadRecipe
from isthmus.registry import find

GRID, WIDTH, LLM_WIDTH, HEADS = (4,), 12, 16, 4
CONFIG = LlamaConfig(
    hidden_size=LLM_WIDTH, intermediate_size=24, num_hidden_layers=2, num_attention_heads=HEADS,
    num_key_value_heads=HEADS, vocab_size=32,
)  # fmt: skip


def loud(module: nn.Module) -> None:
    """Random weights large enough for each to matter."""
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.4)


def softmax_attention(q_HTd: Tensor, k_HNd: Tensor, v_HNd: Tensor, sees_TN: Tensor) -> Tensor:
    """softmax(q k^T / sqrt d) v over what may be seen, loop by loop."""
    out = torch.zeros_like(q_HTd)
    for h in range(len(q_HTd)):
        for t in range(q_HTd.shape[1]):
            near = [n for n in range(k_HNd.shape[1]) if sees_TN[t, n]]
            if not near:
                continue
            scores = torch.stack([q_HTd[h, t] @ k_HNd[h, n] for n in near]) / math.sqrt(q_HTd.shape[-1])
            out[h, t] = torch.softmax(scores, 0) @ v_HNd[h, near]
    return out


def by_heads(x_TD: Tensor, heads: int) -> Tensor:
    return torch.stack(x_TD.chunk(heads, -1))


def flamingo(block: Any, y_TD: Tensor, media_nMD: Tensor, places: list[int], everywhere: bool) -> Tensor:
    """Flamingo's gated block for one text with media at `places`: section 3.2, figure 4, and 3.1.3 for the mask."""
    latest = [max((i for i, place in enumerate(places) if place <= t), default=None) for t in range(len(y_TD))]
    M = media_nMD.shape[1]
    sees = torch.tensor([[n // M == last for n in range(len(places) * M)] for last in latest])
    flat = media_nMD.flatten(0, 1)
    q = by_heads(block.norm_attention(y_TD) @ block.q.weight.T, HEADS)
    k, v = by_heads(flat @ block.k.weight.T, HEADS), by_heads(flat @ block.v.weight.T, HEADS)
    seen = torch.cat(list(softmax_attention(q, k, v, sees)), -1) @ block.o.weight.T
    y = y_TD + torch.tanh(block.gate_attention) * seen
    inner = nn.functional.gelu(block.norm_ffn(y) @ block.ffn[0].weight.T) @ block.ffn[2].weight.T
    after = y + torch.tanh(block.gate_ffn) * inner
    blind = torch.tensor([last is None for last in latest])
    return torch.where(blind.unsqueeze(-1) & (not everywhere), y_TD, after)


@pytest.mark.parametrize("everywhere", [False, True])
def test_a_gated_block_is_flamingos(everywhere: bool) -> None:
    torch.manual_seed(0)
    llm = LlamaForCausalLM(CONFIG)
    connector = find("isthmus.connectors", "gated_cross_attention").Connector(
        GRID, WIDTH, LLM_WIDTH, memory="features", style="flamingo", every=1, everywhere=everywhere
    )
    connector.join(llm, Sight(), "image")
    loud(connector)
    media = torch.randn(3, 4, WIDTH)  # two of the first row, one of the second
    slots = torch.zeros(2, 9, dtype=torch.bool)
    slots[0, 1] = slots[0, 5] = slots[1, 3] = True
    seen = connector.look(media, slots)
    y = torch.randn(2, 9, LLM_WIDTH)
    ours = connector.blocks[1](y, seen.keys[1], seen.values[1], seen.mask, seen.sees)
    block = connector.blocks[1]
    first, second = (media[:2], [1, 5]), (media[2:], [3])
    theirs = torch.stack([flamingo(block, y[i], *own, everywhere) for i, own in enumerate((first, second))])
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_heads_that_cannot_share_keys_are_refused() -> None:
    connector = find("isthmus.connectors", "gated_cross_attention").Connector(GRID, WIDTH, LLM_WIDTH, kv_heads=3)
    with pytest.raises(BadRecipe, match="kv_heads: 3 do not divide 4 heads"):
        connector.join(LlamaForCausalLM(CONFIG), Sight(), "image")


def test_the_resampler_is_flamingos() -> None:
    """Appendix A.1.1: learned latents, keys and values from features and latents, time embeddings for frames."""
    torch.manual_seed(0)
    connector = find("isthmus.connectors", "resampler").Connector(
        (3, 2, 2), WIDTH, LLM_WIDTH, tokens=5, layers=2, heads=2, head_dim=6
    )
    loud(connector)
    features = torch.randn(12, WIDTH)
    x = torch.stack([row + connector.time[n // 4, 0] for n, row in enumerate(features)])
    z = connector.latents
    for layer in connector.layers:
        context = torch.cat([layer.norm_x(x), layer.norm_z(z)])
        q, k, v = (by_heads(part, 2) for part in (layer.q(layer.norm_z(z)), layer.k(context), layer.v(context)))
        everything = torch.ones(len(z), len(context), dtype=torch.bool)
        z = z + layer.o(torch.cat(list(softmax_attention(q, k, v, everything)), -1))
        norm, up, _, down = layer.ffn
        z = z + down(nn.functional.gelu(up(norm(z))))
    theirs = connector.linear(connector.norm(z))
    torch.testing.assert_close(connector.project(features[None])[0], theirs, atol=1e-5, rtol=1e-5)


def cogvlm(layer: Any, twins: Any, x_TD: Tensor, visual: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """One decoder layer with a visual expert: equations 1 to 3 of section 2.2, the token type choosing the weights."""

    def linear(name: str, x: Tensor) -> Tensor:
        own, expert = layer.get_submodule(name), twins[name.replace(".", "/")]
        rows = [row @ (expert if is_visual else own).weight.T for row, is_visual in zip(x, visual, strict=True)]
        return torch.stack(rows)

    def turned(x_HTd: Tensor) -> Tensor:
        half = x_HTd.shape[-1] // 2
        cos, sin = rope
        return x_HTd * cos + torch.cat([-x_HTd[..., half:], x_HTd[..., :half]], -1) * sin

    y = layer.input_layernorm(x_TD)
    q, k, v = (by_heads(linear(f"self_attn.{name}_proj", y), HEADS) for name in "qkv")
    causal = torch.ones(len(y), len(y)).tril().bool()
    seen = softmax_attention(turned(q), turned(k), v, causal)
    x = x_TD + linear("self_attn.o_proj", torch.cat(list(seen), -1))
    y = layer.post_attention_layernorm(x)
    return x + linear("mlp.down_proj", nn.functional.silu(linear("mlp.gate_proj", y)) * linear("mlp.up_proj", y))


def test_a_visual_expert_is_cogvlms() -> None:
    torch.manual_seed(0)
    llm = LlamaForCausalLM(CONFIG).eval()
    connector, sight = find("isthmus.connectors", "visual_expert").Connector(GRID, WIDTH, LLM_WIDTH), Sight()
    connector.join(llm, sight, "image")
    loud(connector), loud(llm)
    slots = torch.zeros(1, 14, dtype=torch.bool)
    slots[0, 2:8] = True  # begin, four soft tokens, end
    visual = slots[0].clone()
    visual[7] = False  # CogVLM: the last token of a picture is the language's
    x = torch.randn(1, 14, LLM_WIDTH)
    with torch.no_grad():
        with sight.show({"image": connector.look(torch.zeros(1, 4, WIDTH), slots)}):
            ours = llm.model(inputs_embeds=x).last_hidden_state[0]
        cos, sin = llm.model.rotary_emb(x, torch.arange(14)[None])
        theirs = x[0]
        for layer, twins in zip(layers(llm), connector.twins, strict=True):
            theirs = cogvlm(layer, twins, theirs, visual, (cos[0], sin[0]))
        theirs = llm.model.norm(theirs)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_two_kinds_have_experts_of_their_own() -> None:
    torch.manual_seed(0)
    llm, sight = LlamaForCausalLM(CONFIG).eval(), Sight()
    build = find("isthmus.connectors", "visual_expert").Connector
    both = {kind: build(GRID, WIDTH, LLM_WIDTH, ends=False) for kind in ("image", "audio")}
    for kind, connector in both.items():
        connector.join(llm, sight, kind)
        loud(connector)
    slots = torch.zeros(2, 1, 10, dtype=torch.bool)
    slots[0, 0, 1:5] = slots[1, 0, 6:10] = True
    now = {kind: both[kind].look(torch.zeros(1, 4, WIDTH), where) for kind, where in zip(both, slots, strict=True)}
    x, projection = torch.randn(1, 10, LLM_WIDTH), llm.model.layers[0].self_attn.q_proj
    with torch.no_grad(), sight.show(now):
        ours = projection(x)[0]
    own = [both[kind].twins[0]["self_attn/q_proj"].weight for kind in ("image", "audio")]
    weights = [projection.weight, *[own[0]] * 4, projection.weight, *[own[1]] * 4]
    torch.testing.assert_close(ours, torch.stack([row @ w.T for row, w in zip(x[0], weights, strict=True)]))
    assert torch.equal(projection(x), x @ projection.weight.T)
