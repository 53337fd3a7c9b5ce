"""A Llama in GGUF -> a `LlamaForCausalLM` folder in fp32, with its tokenizer and chat template.

transformers reads GGUF too, but takes 30 s for what takes a few here, and ignores `tokenizer.ggml.pre`: it then
splits "\\n\\n1" in two where SmolLM's own tokenizer does not.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from isthmus.errors import PartUnavailable
from isthmus.parts.gguf_reader import Gguf
from isthmus.parts.progress import Tick

VERSION = 1

Array = npt.NDArray[np.float32]

_GLOBAL = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_TOKEN_CONTROL, _TOKEN_USER_DEFINED = 3, 4


def convert(source: Path, target: Path, tick: Tick) -> None:
    """Write the configuration, the weights and the tokenizer into `target`.

    Raises `PartUnavailable` if the file is corrupt, is not a Llama, or holds a tensor that has no place in one.
    """
    file = Gguf(source)
    if (architecture := file.fields.get("general.architecture")) != "llama":
        raise PartUnavailable(f"{source} holds the architecture {architecture!r}, expected 'llama'")
    try:
        config = _config(file)
        tensors: dict[str, Array] = {}
        done = 0
        for name in file.tensors:
            array = _unpermuted(name, file.array(name), config)
            tensors[_name(name, source)] = array
            tick(done := done + array.nbytes)
        expected = config["num_hidden_layers"] * len(_LAYER) + len(_GLOBAL) - config["tie_word_embeddings"]
        if len(tensors) != expected:
            raise PartUnavailable(f"{source} holds {len(tensors)} tensors, a Llama of its size has {expected}")
        _write_tokenizer(file, target)
    except KeyError as error:
        raise PartUnavailable(f"{source} lacks the field {error}") from error
    save_file(tensors, target / "model.safetensors", {"format": "pt"})
    generation = {name: config[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    for filename, facts in (("config.json", config), ("generation_config.json", generation)):
        (target / filename).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _config(file: Gguf) -> dict[str, Any]:
    fields = {name.removeprefix("llama."): value for name, value in file.fields.items()}
    heads = fields["attention.head_count"]
    if scaling := [name for name in fields if name.startswith("rope.scaling")]:
        raise PartUnavailable(f"{file.path} scales its positions ({scaling[0]}), which this converter does not read")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "hidden_act": "silu",
        "hidden_size": fields["embedding_length"],
        "intermediate_size": fields["feed_forward_length"],
        "num_hidden_layers": fields["block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": fields.get("attention.head_count_kv", heads),
        "head_dim": fields.get("rope.dimension_count", fields["embedding_length"] // heads),
        "max_position_embeddings": fields["context_length"],
        # A float32 written in full: 1e-05 is stored as 9.999999747378752e-06.
        "rms_norm_eps": float(f"{fields['attention.layer_norm_rms_epsilon']:.6g}"),
        "rope_parameters": {"rope_type": "default", "rope_theta": fields.get("rope.freq_base", 10000.0)},
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "vocab_size": len(fields["tokenizer.ggml.tokens"]),
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": fields.get("tokenizer.ggml.padding_token_id", fields["tokenizer.ggml.eos_token_id"]),
    }


def _name(name: str, source: Path) -> str:
    """`blk.3.attn_q.weight` is `model.layers.3.self_attn.q_proj.weight` in transformers."""
    if name in _GLOBAL:
        return _GLOBAL[name]
    block, _, rest = name.removeprefix("blk.").partition(".")
    module, _, leaf = rest.rpartition(".")
    if not name.startswith("blk.") or not block.isdigit() or module not in _LAYER or leaf != "weight":
        raise PartUnavailable(f"{source} holds the tensor {name}, which has no place in a Llama")
    return f"model.layers.{block}.{_LAYER[module]}.{leaf}"


def _unpermuted(name: str, weight: Array, config: dict[str, Any]) -> Array:
    """Undo llama.cpp's order of the rows of Q and K: it interleaves the two halves of each head that rotate together.

    convert_hf_to_gguf.py: `w.reshape(heads, 2, rows // heads // 2, D).swapaxes(1, 2)`.
    """
    heads = {
        "attn_q.weight": config["num_attention_heads"],
        "attn_k.weight": config["num_key_value_heads"],
    }.get(name.split(".", 2)[-1])
    if heads is None:
        return weight
    return np.ascontiguousarray(weight.reshape(heads, -1, 2, weight.shape[-1]).swapaxes(1, 2)).reshape(weight.shape)


def _write_tokenizer(file: Gguf, target: Path) -> None:
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    fields = {name.removeprefix("tokenizer.ggml."): value for name, value in file.fields.items()}
    if (found := (fields["model"], fields["pre"])) != ("gpt2", "smollm"):
        raise PartUnavailable(f"{file.path} has the tokenizer {found}; this converter reads ('gpt2', 'smollm')")
    words: list[str] = fields["tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in fields["merges"]]
    tokenizer = tokenizers.Tokenizer(models.BPE({word: index for index, word in enumerate(words)}, merges))
    # llama.cpp's "smollm": each digit alone, then GPT-2's pattern.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    for kind, special in ((_TOKEN_CONTROL, True), (_TOKEN_USER_DEFINED, False)):
        added = [word for word, its_kind in zip(words, fields["token_type"], strict=True) if its_kind == kind]
        tokenizer.add_tokens([tokenizers.AddedToken(word, special=special, normalized=False) for word in added])
    tokenizer.save(str(target / "tokenizer.json"))
    roles = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    facts = {role: words[fields[f"{key}_token_id"]] for role, key in roles.items() if f"{key}_token_id" in fields}
    facts |= {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": file.fields["llama.context_length"],
        "clean_up_tokenization_spaces": False,
    }
    (target / "tokenizer_config.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    if template := file.fields.get("tokenizer.chat_template"):
        (target / "chat_template.jinja").write_text(template, encoding="utf-8")
