from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.errors import PartUnavailable
from isthmus.parts.converters import whisper_ct2
from isthmus.parts.ct2_reader import Ct2

WIDTH, INNER, MELS, HEADS = 16, 32, 80, 2
TYPES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}
NORM, LINEAR = ("gamma", "beta"), ("weight", "bias")
JOINED = {"self_attention/linear_0": 3, "attention/linear_1": 2}
SUPPRESSED = {"alignment_heads": [[1, 0]], "suppress_ids": [1, 2], "suppress_ids_begin": [220, 50256]}


def variables() -> dict[str, np.ndarray]:
    """Random weights of a tiny Whisper of two layers a side as CTranslate2's converter names and joins them."""
    draw = lambda *shape: np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float16)
    number = lambda value, kind="int8": np.array(value, kind)
    found = {name: number(value) for name, value in whisper_ct2._SWITCHES.items()}
    found |= {"decoder/embeddings/weight": draw(51864, WIDTH), "decoder/alignment_layer": number(-1, "int16")}
    for at, fan in (("conv1", MELS), ("conv2", WIDTH)):
        found |= {f"encoder/{at}/weight": draw(WIDTH, fan, 3), f"encoder/{at}/bias": draw(WIDTH)}
    for side, length, attentions in (
        ("encoder", 20, ["self_attention"]),
        ("decoder", 24, ["self_attention", "attention"]),
    ):
        found[f"{side}/num_heads"] = number(HEADS, "int16")
        found[f"{side}/position_encodings/encodings"] = draw(length, WIDTH)
        shapes: dict[str, Any] = {"layer_norm": WIDTH}
        for layer in ("layer_0", "layer_1"):
            for name in attentions:
                shapes[f"{layer}/{name}/layer_norm"] = WIDTH
                for i in range(2 if name == "self_attention" else 3):
                    shapes[f"{layer}/{name}/linear_{i}"] = (JOINED.get(f"{name}/linear_{i}", 1) * WIDTH, WIDTH)
            shapes |= {f"{layer}/ffn/layer_norm": WIDTH, f"{layer}/ffn/linear_0": (INNER, WIDTH)}
            shapes[f"{layer}/ffn/linear_1"] = (WIDTH, INNER)
        for name, shape in shapes.items():
            first, second = NORM if isinstance(shape, int) else LINEAR
            rows = shape if isinstance(shape, int) else shape[0]
            found[f"{side}/{name}/{first}"] = draw(rows) if isinstance(shape, int) else draw(*shape)
            found[f"{side}/{name}/{second}"] = bias = draw(rows)
            if (module := name.partition("/")[2]) in JOINED:  # keys have none
                start = WIDTH * (JOINED[module] - 2)
                bias[start : start + WIDTH] = 0
    return found


def write(path: Path, found: dict[str, np.ndarray], kind: str = "WhisperSpec") -> Path:
    """Write as CTranslate2 does, with what lies beside a model."""
    text = lambda words: struct.pack("<H", len(words) + 1) + words.encode() + b"\0"
    data = struct.pack("<I", 6) + text(kind) + struct.pack("<II", 3, len(found))
    for name, array in found.items():
        data += text(name) + struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        data += struct.pack("<BI", TYPES[array.dtype.name], array.nbytes) + array.tobytes()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(
        data + struct.pack("<I", 1) + text("decoder/projection/weight") + text("decoder/embeddings/weight")
    )
    path.with_name("config.json").write_text(json.dumps(SUPPRESSED))
    path.with_name("tokenizer.json").write_text("{}")
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "source/model.bin", variables())


def convert(source: Path, target: Path) -> Path:
    target.mkdir()
    whisper_ct2.convert(source, target, lambda done: None)
    return target


def test_the_reader_gives_back_what_was_written(source: Path) -> None:
    model = Ct2(source)
    wanted = variables()
    assert (model.kind, model.revision) == ("WhisperSpec", 3)
    assert model.aliases == {"decoder/projection/weight": "decoder/embeddings/weight"}
    assert list(model.variables) == list(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(model.variables[name], array, strict=True)


def test_a_converted_whisper_loads_with_every_weight_in_its_place(source: Path, tmp_path: Path) -> None:
    import torch
    from transformers import WhisperForConditionalGeneration

    folder = convert(source, tmp_path / "part")
    model, report = WhisperForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values())
    assert model.dtype == torch.float32
    assert model.generation_config.begin_suppress_tokens == [220, 50256]
    state, wanted = model.state_dict(), variables()
    joined = wanted["decoder/layer_1/attention/linear_1/weight"]
    for name, array in (
        ("model.decoder.layers.1.encoder_attn.k_proj.weight", joined[:WIDTH]),
        ("model.decoder.layers.1.encoder_attn.v_proj.weight", joined[WIDTH:]),
        (
            "model.encoder.layers.0.self_attn.v_proj.bias",
            wanted["encoder/layer_0/self_attention/linear_0/bias"][-WIDTH:],
        ),
        ("model.encoder.embed_positions.weight", wanted["encoder/position_encodings/encodings"]),
        ("proj_out.weight", wanted["decoder/embeddings/weight"]),
    ):
        np.testing.assert_array_equal(state[name].numpy(), array.astype(np.float32), err_msg=name)
    spoken = model(torch.zeros(1, MELS, 40), decoder_input_ids=torch.tensor([[50257, 50362]])).logits
    assert spoken.shape == (1, 2, 51864)


@pytest.mark.parametrize(
    ("name", "array", "says"),
    [
        ("encoder/layer_0/ffn/linear_0/weight_scale", np.ones(4, np.float32), "no place in a Whisper"),
        ("encoder/adapter/weight", np.ones(4, np.float32), "no place in a Whisper"),
        ("encoder/conv1/bias", np.ones(WIDTH, np.int8), "int8, which has no place"),
        ("encoder/layer_0/self_attention/linear_0/bias", np.ones(3 * WIDTH, np.float16), "a bias of keys"),
        ("decoder/activation", np.array(0, np.int8), "decoder/activation is 0"),
        ("decoder/embeddings/weight", np.ones((51865, WIDTH), np.float16), "knows 51865 tokens"),
        ("encoder/num_heads", None, "lacks the variable 'encoder/num_heads'"),
    ],
)
def test_what_is_no_whisper_is_refused(name: str, array: np.ndarray | None, says: str, tmp_path: Path) -> None:
    found = variables() | {name: array}
    path = write(tmp_path / "model.bin", {name: one for name, one in found.items() if one is not None})
    with pytest.raises(PartUnavailable, match=says):
        convert(path, tmp_path / "part")


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PartUnavailable, match="holds a TransformerSpec"):
        convert(write(tmp_path / "model.bin", variables(), "TransformerSpec"), tmp_path / "part")


def test_every_truncation_and_corrupt_byte_is_refused_or_read(tmp_path: Path) -> None:
    """No corruption of lengths or types hangs, exhausts the memory or raises anything but `PartUnavailable`."""
    small = {name: array for name, array in variables().items() if array.nbytes < 100}
    whole = write(tmp_path / "model.bin", small).read_bytes()
    bad = tmp_path / "bad.bin"
    for length in range(0, len(whole), 7):
        bad.write_bytes(whole[:length])
        with pytest.raises(PartUnavailable, match="truncated or corrupt"):
            Ct2(bad)
    refused = 0
    for at in range(0, len(whole), 3):
        bad.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            Ct2(bad)
        except PartUnavailable:
            refused += 1
    assert refused > len(whole) / 3 / 4
