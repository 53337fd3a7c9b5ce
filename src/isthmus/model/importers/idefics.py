"""`idefics`: IDEFICS, CLIP -> resampler -> gated cross-attention in a LLaMA (Laurençon et al., 2023,
arXiv:2306.16527)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    BitImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    IdeficsForVisionText2Text,
    LlamaConfig,
    LlamaForCausalLM,
)

from isthmus.data.packing import Frame
from isthmus.model.build import freeze
from isthmus.model.importers import _parts

ABOUT = "IDEFICS: CLIP, with or without a resampler, gated cross-attention in a LLaMA"
IMAGE, AROUND, END = "<image>", "<fake_token_around_image>", "<end_of_utterance>"
SIZES = "hidden_size intermediate_size num_hidden_layers num_attention_heads hidden_act"
LLM = "rms_norm_eps max_position_embeddings rope_parameters bos_token_id eos_token_id pad_token_id tie_word_embeddings"
VISION = "num_channels image_size patch_size layer_norm_eps attention_dropout"
BLOCK = {  # ours -> theirs
    "q": "cross_attn.q_proj",
    "k": "cross_attn.k_proj",
    "v": "cross_attn.v_proj",
    "o": "cross_attn.o_proj",
    "norm_q": "cross_attn.q_layer_norm",
    "norm_k": "cross_attn.k_layer_norm",
    "norm_attention": "input_layernorm",
    "norm_ffn": "post_attention_layernorm",
    "ffn.gate": "mlp.gate_proj",
    "ffn.up": "mlp.up_proj",
    "ffn.down": "mlp.down_proj",
}
RESAMPLER = {
    "norm_x": "0.context_layer_norm",
    "norm_z": "0.latents_layer_norm",
    "q": "0.q_proj",
    "k": "0.k_proj",
    "v": "0.v_proj",
    "o": "0.output_proj",
    "norm_q": "0.q_layer_norm",
    "norm_k": "0.k_layer_norm",
    "ffn.0": "1.ln",
    "ffn.1": "1.fc",
    "ffn.3": "1.c_proj",
}


def read(folder: Path) -> _parts.Imported:
    """The composed model and processor. Raises `PartUnavailable` for activations other than SiLU in the LLM.

    The embeddings that IDEFICS adds to LLaMA's become rows of one table; that of `<image>` is the marker too.
    """
    model = _parts.original(IdeficsForVisionText2Text, folder)
    _parts.require(folder, model.config, hidden_act="silu")
    ours, connector = _parts.composed(
        _llm(model),
        "image",
        _vision(model),
        {"name": "clip-whole", "size": model.config.vision_config.image_size},
        _options(model.config),
    )
    tokenizer = _parts.tokenizer(folder)
    with torch.no_grad():
        connector.marker.copy_(ours.llm.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids(IMAGE)])
        for block, theirs in zip(connector.blocks, model.model.gated_cross_attn_layers, strict=True):
            _parts.move(BLOCK, theirs, block)
            block.gate_attention.copy_(theirs.alpha_cross_attn.flatten())
            block.gate_ffn.copy_(theirs.alpha_dense.flatten())
        if connector.soft is not None:
            resampler = model.model.perceiver_resampler
            connector.soft.latents.copy_(resampler.latents)
            connector.soft.norm.load_state_dict(resampler.layer_norm.state_dict())
            for layer, theirs in zip(connector.soft.layers, resampler.blocks, strict=True):
                _parts.move(RESAMPLER, theirs, layer)
    return freeze(ours), _parts.processor(ours, tokenizer, _images(folder), frame(tokenizer))


def frame(tokenizer: Any) -> Frame:
    """`User:<around><image><around>... Assistant:` with the token that ends an utterance where the tokenizer has one
    (transformers' documentation of IDEFICS)."""
    taught = tokenizer.convert_tokens_to_ids(END) not in (None, tokenizer.unk_token_id)
    begin, stop, end = tokenizer.bos_token or "", END if taught else "", END if taught else tokenizer.eos_token
    return Frame(begin, ("", "\n"), "User:", (AROUND, ""), AROUND, f"{stop}\nAssistant:", end, "\n", " ")


def _llm(model: Any) -> Any:
    """A LLaMA of the original's own layers; those are LLaMA's, with the same names."""
    old, own, head = model.config, model.model, model.lm_head.weight
    table = own.embed_tokens.weight
    if old.additional_vocab_size:
        table = torch.cat([table, own.embed_tokens.additional_embedding.weight])
        head = torch.cat([head, model.lm_head.additional_fc.weight])
    config = LlamaConfig(**_parts.same(old, f"{SIZES} {LLM}") | {"vocab_size": len(table)})
    with torch.device("meta"):
        llm = LlamaForCausalLM(config)
    kept = {f"model.{k}": v for k, v in own.state_dict().items() if k.startswith(("layers.", "norm."))}
    kept |= {"model.embed_tokens.weight": table.detach(), "lm_head.weight": head.detach()}
    llm.load_state_dict(kept, assign=True)
    llm.model.rotary_emb = type(llm.model.rotary_emb)(config)  # its buffers are in no state dict
    llm.tie_weights()
    llm.generation_config = model.generation_config
    return llm.eval()


def _vision(model: Any) -> Any:
    """A CLIP of the original's vision model, which is one in all but its class."""
    vision = CLIPVisionModel(CLIPVisionConfig(**_parts.same(model.config.vision_config, f"{SIZES} {VISION}")))
    state = model.model.vision_model.state_dict()
    vision.load_state_dict({name: tensor for name, tensor in state.items() if not name.endswith("position_ids")})
    return vision


def _options(config: Any) -> dict[str, Any]:
    options = {
        "name": "gated_cross_attention",
        "memory": "features",
        "every": config.cross_layer_interval,
        "style": "idefics",
        "gates": "vector" if config.alpha_type == "vector" else "one",
        "qk_norm": config.qk_layer_norms,
        "everywhere": True,
    }
    if not config.use_resampler:
        return options
    own = config.perceiver_config
    inside = {"layers": own.resampler_depth, "heads": own.resampler_n_heads, "head_dim": own.resampler_head_dim}
    inside |= {"act": "relu", "qk_norm": own.qk_layer_norms_perceiver, "out": False}
    return options | {"memory": "resampler", "tokens": own.resampler_n_latents, "inside": inside}


def _images(folder: Path) -> Any:
    """IDEFICS' own image processor gives a tensor where others give a batch; this one does the same to a picture."""
    old = _parts.images(folder)
    same = {name: getattr(old, name) for name in ("resample", "image_mean", "image_std")}
    size = {"height": old.size["height"], "width": old.size["width"]}
    return BitImageProcessorPil(**same, size=size, do_center_crop=False)
