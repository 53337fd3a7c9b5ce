"""A Whisper in CTranslate2's format -> a `WhisperForConditionalGeneration` folder, with tokenizer and preprocessor.

Beside the model lie the `config.json` of CTranslate2's converter, which says what generation suppresses, and the
`tokenizer.json` of the original. CTranslate2 joins the projections that read the same thing (queries, keys and values;
keys and values of what the encoder says) into one matrix, row after row, and gives keys the bias of zeros that
Whisper's do not have. Weights stay as they are, in float16; transformers is told to compute in float32.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from isthmus.errors import PartUnavailable
from isthmus.parts.ct2_reader import Array, Ct2
from isthmus.parts.progress import Tick

VERSION = 1

_WEIGHTS = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "encodings": "weight"}
_MODULES = {  # CTranslate2's module -> those of transformers, side by side in its rows
    "conv1": ("conv1",),
    "conv2": ("conv2",),
    "embeddings": ("embed_tokens",),
    "position_encodings": ("embed_positions",),
    "layer_norm": ("layer_norm",),
    "self_attention/layer_norm": ("self_attn_layer_norm",),
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": ("self_attn.out_proj",),
    "attention/layer_norm": ("encoder_attn_layer_norm",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
    "ffn/layer_norm": ("final_layer_norm",),
    "ffn/linear_0": ("fc1",),
    "ffn/linear_1": ("fc2",),
}
_SWITCHES = {  # what this converter takes for granted; 3 is the exact GELU
    "decoder/activation": 3,
    "decoder/alibi": 0,
    "decoder/pre_norm": 1,
    "decoder/scale_embeddings": 0,
    "decoder/start_from_zero_embedding": 0,
}
_ENGLISH = 51864  # words of the vocabulary of the models for English alone; the others have one more, or two
_PREPROCESSOR = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "processor_class": "WhisperProcessor",
    "sampling_rate": 16_000,
    "hop_length": 160,
    "n_fft": 400,
    "chunk_length": 30,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": False,
}


def convert(source: Path, target: Path, tick: Tick) -> None:
    """Write weights, configurations, tokenizer and preprocessor into `target`.

    Raises `PartUnavailable` if the file is corrupt, is not a Whisper for English alone, or holds a weight that has no
    place in one.
    """
    model = Ct2(source)
    if model.kind != "WhisperSpec":
        raise PartUnavailable(f"{source} holds a {model.kind}, expected 'WhisperSpec'")
    try:
        if wrong := [name for name, value in _SWITCHES.items() if model.variables[name] != value]:
            raise PartUnavailable(f"{source} is not a Whisper as published: {wrong[0]} is {model.variables[wrong[0]]}")
        config = _config(model)
        tensors = dict(_tensors(model))
    except KeyError as error:
        raise PartUnavailable(f"{source} lacks the variable {error}") from error
    if config["vocab_size"] != _ENGLISH:
        raise PartUnavailable(f"{source} knows {config['vocab_size']} tokens, a Whisper for English alone {_ENGLISH}")
    save_file(tensors, target / "model.safetensors", {"format": "pt"})
    tick(sum(array.nbytes for array in tensors.values()))
    shutil.copyfile(source.with_name("tokenizer.json"), target / "tokenizer.json")
    written = {
        "config.json": config,
        "generation_config.json": _generation(config, json.loads(source.with_name("config.json").read_text("utf-8"))),
        "preprocessor_config.json": _PREPROCESSOR | {"feature_size": config["num_mel_bins"]},
        "tokenizer_config.json": {
            "tokenizer_class": "WhisperTokenizer",
            "processor_class": "WhisperProcessor",
            **dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), "<|endoftext|>"),
            "model_max_length": config["max_target_positions"],
            "clean_up_tokenization_spaces": False,
        },
    }
    for name, facts in written.items():
        (target / name).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _tensors(model: Ct2) -> Iterator[tuple[str, Array]]:
    """Every weight under the name that transformers gives it."""
    for name, array in model.variables.items():
        path, _, leaf = name.rpartition("/")
        if leaf not in _WEIGHTS:  # a setting
            if leaf not in ("num_heads", "alignment_heads", "alignment_layer") and name not in _SWITCHES:
                raise PartUnavailable(f"{model.path} holds {name}, which has no place in a Whisper")
            continue
        side, _, module = path.partition("/")
        layer = ""
        if module.startswith("layer_") and not module.startswith("layer_norm"):
            number, _, module = module.removeprefix("layer_").partition("/")
            layer = f"layers.{number}."
        if module not in _MODULES or array.dtype.kind != "f":
            raise PartUnavailable(f"{model.path} holds {name} of {array.dtype}, which has no place in a Whisper")
        for one, rows in zip(_MODULES[module], np.split(array, len(_MODULES[module])), strict=True):
            if one.endswith("k_proj") and leaf == "bias":
                if rows.any():
                    raise PartUnavailable(f"{model.path}: {name} has a bias of keys, which has no place in a Whisper")
                continue
            yield f"model.{side}.{layer}{one}.{_WEIGHTS[leaf]}", np.ascontiguousarray(rows)


def _config(model: Ct2) -> dict[str, Any]:
    found = model.variables
    width, mels, _ = found["encoder/conv1/weight"].shape
    facts: dict[str, Any] = {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "dtype": "float32",
        "activation_function": "gelu",
        "scale_embedding": False,
        "tie_word_embeddings": True,
        "d_model": width,
        "num_mel_bins": mels,
        "vocab_size": len(found["decoder/embeddings/weight"]),
        "max_source_positions": len(found["encoder/position_encodings/encodings"]),
        "max_target_positions": len(found["decoder/position_encodings/encodings"]),
        "bos_token_id": 50257,
        "decoder_start_token_id": 50257,
        "eos_token_id": 50256,
        "pad_token_id": 50256,
    }
    for side in ("encoder", "decoder"):
        facts[f"{side}_layers"] = sum(name.endswith("ffn/linear_0/bias") for name in found if name.startswith(side))
        facts[f"{side}_attention_heads"] = int(found[f"{side}/num_heads"])
        facts[f"{side}_ffn_dim"] = len(found[f"{side}/layer_0/ffn/linear_0/bias"])
    return facts


def _generation(config: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """As the generation_config.json of the models for English alone at their makers' (openai/whisper-tiny.en)."""
    tokens = ("bos_token_id", "decoder_start_token_id", "eos_token_id", "pad_token_id")
    return {name: config[name] for name in tokens} | {
        "alignment_heads": facts["alignment_heads"],
        "suppress_tokens": facts["suppress_ids"],
        "begin_suppress_tokens": facts["suppress_ids_begin"],
        "is_multilingual": False,
        "max_initial_timestamp_index": 50,
        "max_length": config["max_target_positions"],
        "no_timestamps_token_id": 50362,
        "prev_sot_token_id": 50360,
        "return_timestamps": False,
    }
