from __future__ import annotations

import json
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file

from isthmus.errors import PartUnavailable
from isthmus.parts.converters import llama_gguf
from isthmus.parts.gguf_reader import Gguf

HEADS, KV_HEADS, WIDTH, INNER, LAYERS = 4, 2, 32, 64, 2
WORDS = ["<|end|>", "<|start|>", *"abcĠĊ12", "ab", "ĊĊ"]
SHAPES = {
    "attn_norm": (WIDTH,),
    "attn_q": (WIDTH, WIDTH),
    "attn_k": (WIDTH * KV_HEADS // HEADS, WIDTH),
    "attn_v": (WIDTH * KV_HEADS // HEADS, WIDTH),
    "attn_output": (WIDTH, WIDTH),
    "ffn_norm": (WIDTH,),
    "ffn_gate": (INNER, WIDTH),
    "ffn_up": (INNER, WIDTH),
    "ffn_down": (WIDTH, INNER),
}


def weights() -> dict[str, np.ndarray]:
    """Random tensors of a tiny Llama under the names of transformers."""
    draw = np.random.default_rng(0).standard_normal
    found = {"token_embd.weight": draw((len(WORDS), WIDTH)), "output_norm.weight": draw(WIDTH)}
    for layer in range(LAYERS):
        found |= {f"blk.{layer}.{name}.weight": draw(shape) for name, shape in SHAPES.items()}
    return {name: array.astype(np.float32) for name, array in found.items()}


def permuted(name: str, weight: np.ndarray) -> np.ndarray:
    """What llama.cpp's convert_hf_to_gguf.py does to Q and K."""
    heads = {"attn_q": HEADS, "attn_k": KV_HEADS}.get(name.split(".")[-2])
    if heads is None:
        return weight
    return weight.reshape(heads, 2, -1, weight.shape[-1]).swapaxes(1, 2).reshape(weight.shape)


@pytest.fixture
def tiny_gguf(tmp_path: Path) -> Path:
    return write(tmp_path / "tiny.gguf", weights())


def write(path: Path, tensors: dict[str, np.ndarray], architecture: str = "llama") -> Path:
    """Write a Llama as llama.cpp does: matrices as Q8_0, norms as F32."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(LAYERS)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(WORDS)
    writer.add_token_types([3, 3] + [1] * (len(WORDS) - 2))
    writer.add_token_merges(["a b", "Ċ Ċ"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(0)
    writer.add_chat_template("{{ messages }}")
    for name, array in tensors.items():
        kind = gguf.GGMLQuantizationType.Q8_0 if array.ndim == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(name, gguf.quantize(permuted(name, array), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def convert(source: Path, target: Path) -> Path:
    target.mkdir()
    llama_gguf.convert(source, target, lambda done: None)
    return target


def test_the_reader_agrees_with_ggufs_own(tiny_gguf: Path) -> None:
    ours, theirs = Gguf(tiny_gguf), gguf.GGUFReader(tiny_gguf)
    named = {name: field.contents() for name, field in theirs.fields.items() if not name.startswith("GGUF.")}
    assert ours.fields == named
    assert list(ours.tensors) == [tensor.name for tensor in theirs.tensors]
    for tensor in theirs.tensors:
        np.testing.assert_array_equal(ours.array(tensor.name), gguf.dequantize(tensor.data, tensor.tensor_type))


def test_a_converted_llama_loads_and_computes_what_the_weights_say(tiny_gguf: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    folder = convert(tiny_gguf, tmp_path / "part")
    model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values())
    assert model.config.tie_word_embeddings
    assert model.dtype == torch.float32
    assert (model.config.rms_norm_eps, model.config.num_key_value_heads) == (1e-5, KV_HEADS)
    state = model.state_dict()
    original = weights()
    for name, ours in (("attn_q", "self_attn.q_proj"), ("attn_k", "self_attn.k_proj"), ("ffn_down", "mlp.down_proj")):
        error = state[f"model.layers.1.{ours}.weight"].numpy() - original[f"blk.1.{name}.weight"]
        assert np.abs(error).max() < 0.02  # Q8_0 rounds to 1/127 of the largest of 32
    assert model(torch.tensor([[1, 2, 3]])).logits.shape == (1, 3, len(WORDS))


def test_the_tokenizer_splits_digits_and_keeps_special_tokens_whole(tiny_gguf: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(convert(tiny_gguf, tmp_path / "part"))
    text = "<|start|>ab\n\n12 c"
    ids = tokenizer.encode(text)
    assert tokenizer.convert_ids_to_tokens(ids) == ["<|start|>", "ab", "ĊĊ", "1", "2", "Ġ", "c"]
    assert tokenizer.decode(ids) == text
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.model_max_length) == ("<|start|>", "<|end|>", 64)
    assert tokenizer.chat_template == "{{ messages }}"


def test_every_truncation_is_refused(tiny_gguf: Path, tmp_path: Path) -> None:
    whole = tiny_gguf.read_bytes()
    cut = tmp_path / "cut.gguf"
    end = max(tensor.start + tensor.size for tensor in Gguf(tiny_gguf).tensors.values())
    for length in [*range(0, 2400, 7), end // 2, end - 1]:
        cut.write_bytes(whole[:length])
        with pytest.raises(PartUnavailable, match="truncated or corrupt"):
            Gguf(cut)


def test_every_corrupt_byte_of_the_header_is_refused_or_read(tiny_gguf: Path, tmp_path: Path) -> None:
    """No corruption of lengths or types hangs, exhausts the memory or raises anything but `PartUnavailable`."""
    whole = tiny_gguf.read_bytes()
    bad = tmp_path / "bad.gguf"
    refused = 0
    for at in range(0, 2400, 3):
        bad.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            Gguf(bad)
        except PartUnavailable:
            refused += 1
    assert refused > 150


def test_an_array_longer_than_the_file_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "long.gguf"
    key = b"tokens"
    array = struct.pack("<IIQ", 9, 0, 2**60)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", len(key)) + key + array)
    with pytest.raises(PartUnavailable, match="bytes are declared"):
        Gguf(path)


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "other.gguf", weights(), architecture="mamba")
    with pytest.raises(PartUnavailable, match="expected 'llama'"):
        convert(path, tmp_path / "part")


@pytest.mark.parametrize("change", ["surplus", "missing"])
def test_a_tensor_too_many_or_too_few_is_refused(change: str, tmp_path: Path) -> None:
    tensors = weights()
    if change == "surplus":
        tensors["rope_freqs.weight"] = np.zeros(WIDTH, np.float32)
    else:
        del tensors["blk.1.ffn_up.weight"]
    path = write(tmp_path / "changed.gguf", tensors)
    with pytest.raises(PartUnavailable, match="no place in a Llama" if change == "surplus" else "holds 19 tensors"):
        convert(path, tmp_path / "part")


def test_the_written_configuration_names_only_what_is_needed(tiny_gguf: Path, tmp_path: Path) -> None:
    folder = convert(tiny_gguf, tmp_path / "part")
    config = json.loads((folder / "config.json").read_text())
    assert config["rope_parameters"] == {"rope_type": "default", "rope_theta": 10000.0}
    assert set(load_file(folder / "model.safetensors")) >= {"model.embed_tokens.weight", "model.norm.weight"}
