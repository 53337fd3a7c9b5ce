"""`gguf`: two files for llama.cpp, the LLM (model.gguf) and the encoder with the projector (mmproj.gguf), in fp32.

Held in tests: both files read back, the LLM loaded from its file by transformers has our logits, its tokenizer our ids,
features and projector computed from the second file's tensors are our soft tokens, and llama.cpp itself answers as we
do. The second file follows its `clip.cpp` (build_llava): all layers there are run, as `clip.vision.feature_layer` says.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from isthmus.errors import IsthmusError
from isthmus.model.exporters import _llava
from isthmus.model.exporters.llava_hf import chat_template

ABOUT = "llama.cpp: a model of clip, mlp and a Llama with a byte-level BPE, as LLM and mmproj files"
LOADS = "llama.cpp: llama-mtmd-cli -m model.gguf --mmproj mmproj.gguf --image a.png -p 'What is it?'"
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # gguf's kinds of tokens


def write(model: Any, processor: Any, folder: Path) -> None:
    """Write model.gguf and mmproj.gguf. Raises `IsthmusError` for another encoder, LLM or kind of tokenizer."""
    _llava.check(model, "gguf", ["clip"])
    config, vision = model.llm.config, model.encoders["image"].config
    wanted = {"model_type": "llama", "hidden_act": "silu", "attention_bias": False, "mlp_bias": False}
    for key, value in wanted.items():
        if (found := getattr(config, key, None)) != value:
            raise IsthmusError(
                f"gguf cannot express this model: its LLM has {key} {found!r}; only {value!r} is written"
            )
    if (rope := config.rope_parameters["rope_type"]) != "default":
        raise IsthmusError(f"gguf cannot express this model: its LLM scales positions ({rope}), which is not written")
    if vision.hidden_act not in ("gelu", "quick_gelu"):
        raise IsthmusError(f"gguf cannot express this model: its encoder has {vision.hidden_act}, not GELU")
    words = _tokenizer(processor, config.vocab_size)
    _write_llm(model, processor, words, folder / "model.gguf")
    _write_mmproj(model, processor.image_processor, folder / "mmproj.gguf")


def _tokenizer(processor: Any, size: int) -> dict[str, Any]:
    """The vocabulary as gguf has it: tokens, their types, merges, and how a text is split before."""
    facts = json.loads(processor.tokenizer.backend_tokenizer.to_str())
    splits = facts["pre_tokenizer"] or {}
    kinds = [
        (part["type"], part.get("individual_digits", True)) for part in splits.get("pretokenizers", [splits]) if part
    ]
    names = {(("ByteLevel", True),): "gpt-2", (("Digits", True), ("ByteLevel", True)): "smollm"}
    if facts["model"]["type"] != "BPE" or tuple(kinds) not in names or facts["normalizer"]:
        raise IsthmusError(
            "gguf cannot express this model: its tokenizer is no byte-level BPE that splits as GPT-2's or SmolLM's"
        )
    tokens, types = [f"[UNUSED{i}]" for i in range(size)], [UNUSED] * size
    for word, place in facts["model"]["vocab"].items():
        tokens[place], types[place] = word, NORMAL
    for added in facts["added_tokens"]:
        tokens[added["id"]], types[added["id"]] = added["content"], CONTROL if added["special"] else USER_DEFINED
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in facts["model"]["merges"]]
    return {"tokens": tokens, "types": types, "merges": merges, "pre": names[tuple(kinds)]}


def _write_llm(model: Any, processor: Any, words: dict[str, Any], path: Path) -> None:
    import gguf

    llm, config, frame = model.llm, model.llm.config, processor.template.frame
    writer = gguf.GGUFWriter(path, "llama")
    head = config.head_dim or config.hidden_size // config.num_attention_heads
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(head)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(words["pre"])
    writer.add_token_list(words["tokens"])
    writer.add_token_types(words["types"])
    writer.add_token_merges(words["merges"])
    tokenizer = processor.tokenizer
    writer.add_eos_token_id(processor.template.control(frame.end)[-1])
    writer.add_pad_token_id(processor.pad)
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_add_bos_token(False)  # the template begins with it
    writer.add_chat_template(chat_template(frame))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    tied = llm.get_output_embeddings().weight is llm.get_input_embeddings().weight
    tensors = {}
    for name, tensor in llm.state_dict().items():
        if tied and name == "lm_head.weight":
            continue
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
        tensors[names.get_name(name, (".weight",))] = tensor if heads is None else _rotated(tensor, heads)
    _finish(writer, tensors)


def _rotated(weight: Tensor, heads: int) -> Tensor:
    """The rows of queries or keys in llama.cpp's order: what rotates together in a head lies side by side."""
    return weight.view(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def _write_mmproj(model: Any, images: Any, path: Path) -> None:
    import gguf

    encoder, config = model.encoders["image"], model.encoders["image"].config
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type(gguf.GGUFType.MMPROJ)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_clip_has_vision_encoder(True)
    writer.add_bool(gguf.Keys.Clip.HAS_LLAVA_PROJECTOR, True)
    writer.add_clip_projector_type("mlp")
    writer.add_vision_image_size(config.image_size)
    writer.add_vision_patch_size(config.patch_size)
    writer.add_vision_embedding_length(config.hidden_size)
    writer.add_vision_feed_forward_length(config.intermediate_size)
    writer.add_vision_block_count(config.num_hidden_layers)
    writer.add_vision_head_count(config.num_attention_heads)
    writer.add_vision_attention_layernorm_eps(config.layer_norm_eps)
    writer.add_vision_projection_dim(model.config.get_text_config().hidden_size)
    writer.add_vision_use_gelu(config.hidden_act == "gelu")
    writer.add_vision_image_mean(images.image_mean)
    writer.add_vision_image_std(images.image_std)
    writer.add_array("clip.vision.feature_layer", [config.num_hidden_layers])  # else the last layer is left out
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, config.num_hidden_layers)
    tensors = {
        names.get_name(f"vision_tower.vision_model.{name}", (".weight", ".bias")): tensor
        for name, tensor in encoder.state_dict().items()
        if not name.startswith("post_layernorm")  # after the features that are taken
    }
    for name, tensor in _llava.projector(model.connectors["image"]).items():
        tensors[name.replace("linear_1", "mm.0").replace("linear_2", "mm.2")] = tensor
    _finish(writer, tensors)


def _finish(writer: Any, tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor.detach().to(torch.float32).contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
