"""`mllama`: Llama 3.2 Vision, tiles -> ViT -> gated cross-attention in a Llama (Grattafiori et al., 2024,
arXiv:2407.21783, section 7.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, MllamaForConditionalGeneration
from transformers.models.mllama.image_processing_pil_mllama import get_all_supported_aspect_ratios

from isthmus.data.packing import Frame, plain
from isthmus.errors import PartUnavailable
from isthmus.model.build import freeze
from isthmus.model.importers import _parts

ABOUT = "Llama 3.2 Vision (Mllama): its ViT over tiles, gated cross-attention in a Llama"
ROLES = ("system", "user", "assistant")
LLM = "vocab_size hidden_size intermediate_size num_attention_heads num_key_value_heads hidden_act rms_norm_eps"
LLM += " max_position_embeddings rope_parameters bos_token_id eos_token_id pad_token_id"
BLOCK = {  # ours -> theirs
    "q": "cross_attn.q_proj",
    "k": "cross_attn.k_proj",
    "v": "cross_attn.v_proj",
    "o": "cross_attn.o_proj",
    "norm_q": "cross_attn.q_norm",
    "norm_k": "cross_attn.k_norm",
    "norm_attention": "input_layernorm",
    "norm_ffn": "post_attention_layernorm",
    "ffn.gate": "mlp.gate_proj",
    "ffn.up": "mlp.up_proj",
    "ffn.down": "mlp.down_proj",
}


def read(folder: Path) -> _parts.Imported:
    """The composed model and processor.

    The self-attention layers are a Llama of their own, and a cross-attention layer is the block before the one that
    follows it. The embedding of `<|image|>`, which lies beyond the head's vocabulary, is the marker.

    Raises:
        PartUnavailable: for cross-attention layers that do not stand evenly, aspect ratios in another order than the
            image processor's, activations other than SiLU in the LLM, or further tokens beyond the vocabulary.
    """
    model = _parts.original(MllamaForConditionalGeneration, folder)
    text, vision = model.config.text_config, model.model.vision_model
    ratios = [list(ratio) for ratio in get_all_supported_aspect_ratios(vision.config.max_num_tiles)]
    _parts.require(folder, text, hidden_act="silu")
    _parts.require(folder, vision.config, supported_aspect_ratios=ratios)
    tokenizer, image = _parts.tokenizer(folder), model.config.image_token_index
    if beyond := sorted(t for t, i in tokenizer.get_vocab().items() if i >= text.vocab_size and i != image):
        raise PartUnavailable(f"{folder}: {', '.join(beyond)} lie beyond the LLM's vocabulary; only <|image|> may")
    options = {"name": "mllama", "size": vision.config.image_size}
    ours, connector = _parts.composed(_llm(model), "image", vision, options, _options(folder, text))
    theirs = model.model.language_model
    with torch.no_grad():
        connector.marker.copy_(theirs.embed_tokens.weight[image])
        projector, linear = model.model.multi_modal_projector, connector.soft.linear
        linear.weight.copy_(torch.nn.functional.pad(projector.weight, (0, 1)))  # the last number is for the mask
        linear.bias.copy_(projector.bias)
        for block, place in zip(connector.blocks, sorted(text.cross_attention_layers), strict=True):
            layer = theirs.layers[place]
            _parts.move(BLOCK, layer, block)
            block.gate_attention.copy_(layer.cross_attn_attn_gate)
            block.gate_ffn.copy_(layer.cross_attn_mlp_gate)
    return freeze(ours), _parts.processor(ours, tokenizer, _parts.images(folder), frame(tokenizer))


def frame(tokenizer: Any) -> Frame:
    """Llama 3's headers where there is a chat template (meta-llama/Llama-3.2-11B-Vision-Instruct's), else none."""
    begin = tokenizer.bos_token or ""
    if not tokenizer.chat_template:
        return plain(tokenizer.eos_token, begin)
    system, user, assistant = (f"<|start_header_id|>{role}<|end_header_id|>\n\n" for role in ROLES)
    end = "<|eot_id|>"
    return Frame(begin, (system, end), user, ("", ""), "", f"{end}{assistant}", end, "", "")


def _llm(model: Any) -> Any:
    """A Llama of the original's self-attention layers; those are Llama's, with the same names."""
    text, own = model.config.text_config, model.model.language_model
    layers = [layer for i, layer in enumerate(own.layers) if i not in text.cross_attention_layers]
    config = LlamaConfig(**_parts.same(text, LLM), num_hidden_layers=len(layers), tie_word_embeddings=False)
    with torch.device("meta"):
        llm = LlamaForCausalLM(config)
    kept = {f"model.layers.{i}.{k}": v for i, layer in enumerate(layers) for k, v in layer.state_dict().items()}
    kept |= {"model.norm.weight": own.norm.weight.detach(), "lm_head.weight": model.lm_head.weight.detach()}
    kept["model.embed_tokens.weight"] = own.embed_tokens.weight.detach()[: text.vocab_size].clone()
    llm.load_state_dict(kept, assign=True)
    llm.model.rotary_emb = type(llm.model.rotary_emb)(config)  # its buffers are in no state dict
    llm.generation_config = model.generation_config
    return llm.eval()


def _options(folder: Path, text: Any) -> dict[str, Any]:
    cross = sorted(text.cross_attention_layers)
    own = text.num_hidden_layers - len(cross)
    before = [place - number for number, place in enumerate(cross)]  # which self-attention layer follows
    every = before[1] - before[0] if len(before) > 1 else own
    if not every or before != [*range(before[0], own, every)]:
        raise PartUnavailable(
            f"{folder}: cross-attention layers {cross} of {text.num_hidden_layers} cannot be imported, only ones that "
            "stand before every k-th of the other layers"
        )
    return {
        "name": "gated_cross_attention",
        "memory": "linear",
        "every": every,
        "first": before[0],
        "style": "idefics",
        "kv_heads": text.num_key_value_heads,
        "qk_norm": True,
        "together": True,
        "partial": True,
    }
