from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from isthmus.errors import PartUnavailable
from isthmus.parts.converters import dinov2_onnx
from isthmus.parts.onnx_reader import Onnx

WIDTH, PATCH, SIDE = 64, 2, 3


class Exported:
    """A DINOv2 as exporters write it: matrices transposed and without names. Only what carries weights is drawn."""

    def __init__(self, layers: int) -> None:
        self.draw = np.random.default_rng(0).standard_normal
        self.truth: dict[str, np.ndarray] = {}
        self.weights: list[Any] = []
        self.nodes: list[Any] = []
        embeddings = "embeddings.patch_embeddings.projection."
        self.named(f"{embeddings}weight", WIDTH, 3, PATCH, PATCH)
        self.named(f"{embeddings}bias", WIDTH)
        self.named("embeddings.cls_token", 1, 1, WIDTH)
        for name in ("layernorm.weight", "layernorm.bias"):
            self.named(name, WIDTH)
        self.positions()
        for layer in range(layers):
            for name in dinov2_onnx._LAYER:
                self.layer(f"encoder.layer.{layer}.{name}")

    def named(self, name: str, *shape: int) -> None:
        self.truth[name] = self.draw(shape).astype(np.float32)
        self.weights.append(numpy_helper.from_array(self.truth[name], f"backbone.{name}"))

    def layer(self, name: str) -> None:
        if "dense" not in name and "attention" not in name and "mlp" not in name:
            self.named(name, WIDTH)
        elif name.endswith("bias"):
            rows, columns = (4, 1) if "fc1" in name else (1, 4) if "fc2" in name else (1, 1)
            self.named(name, rows * WIDTH)
            weight = self.draw((rows * WIDTH, columns * WIDTH)).astype(np.float32)
            self.truth[name.replace(".bias", ".weight")] = weight
            anonymous = f"onnx::MatMul_{len(self.nodes)}"
            self.weights.append(numpy_helper.from_array(weight.T.copy(), anonymous))
            self.nodes.append(helper.make_node("MatMul", ["x", anonymous], [f"{name}/product"]))
            self.nodes.append(helper.make_node("Add", [f"backbone.{name}", f"{name}/product"], [f"{name}/sum"]))

    def positions(self) -> None:
        positions = self.draw((1, 1 + SIDE**2, WIDTH)).astype(np.float32)
        self.truth["embeddings.position_embeddings"] = positions
        self.weights += [
            numpy_helper.from_array(positions[:, :1].copy(), "onnx::Concat_1"),
            numpy_helper.from_array(positions[:, 1:].copy(), "onnx::Reshape_2"),
        ]
        self.nodes += [
            helper.make_node("Transpose", ["onnx::Reshape_2"], ["turned"]),
            helper.make_node("Resize", ["turned", "", "", "size"], ["resized"]),
            helper.make_node("Concat", ["onnx::Concat_1", "resized"], ["positions"], axis=1),
        ]

    def save(self, path: Path) -> Path:
        value = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
        onnx.save(helper.make_model(helper.make_graph(self.nodes, "g", [value], [], self.weights)), str(path))
        return path


def convert(source: Path, target: Path) -> Path:
    target.mkdir()
    dinov2_onnx.convert(source, target, lambda done: None)
    return target


def test_every_weight_finds_its_place(tmp_path: Path) -> None:
    import torch
    from safetensors.numpy import load_file
    from transformers import AutoImageProcessor, Dinov2Model

    exported = Exported(layers=dinov2_onnx.LAYERS + 1)
    folder = convert(exported.save(tmp_path / "a.onnx"), tmp_path / "part")
    found = load_file(folder / "model.safetensors")
    dropped = f"encoder.layer.{dinov2_onnx.LAYERS}."
    assert set(found) == {name for name in exported.truth if not name.startswith(dropped)}
    for name, array in found.items():
        np.testing.assert_array_equal(array, exported.truth[name])

    model, report = Dinov2Model.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values())
    assert model(torch.zeros(1, 3, 4, 4)).last_hidden_state.shape == (1, 1 + 4, WIDTH)
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    pixels = processor(np.zeros((50, 64, 3), np.uint8), return_tensors="np")["pixel_values"]
    assert pixels.shape == (1, 3, 112, 112)
    np.testing.assert_allclose(pixels[0, :, 0, 0], [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], rtol=1e-5)


def test_a_graph_with_too_few_layers_is_refused(tmp_path: Path) -> None:
    path = Exported(layers=dinov2_onnx.LAYERS - 1).save(tmp_path / "a.onnx")
    with pytest.raises(PartUnavailable, match=r"not a DINOv2 of 9 layers: no encoder\.layer\.8"):
        convert(path, tmp_path / "part")


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    whole = Exported(layers=dinov2_onnx.LAYERS).save(tmp_path / "a.onnx").read_bytes()
    cut = tmp_path / "cut.onnx"
    for number, length in enumerate((0, 1, 100, len(whole) // 2, len(whole) - 20)):
        cut.write_bytes(whole[:length])
        with pytest.raises(PartUnavailable, match="truncated or corrupt"):
            convert(cut, tmp_path / f"part{number}")


def test_a_weight_shorter_than_it_declares_is_refused(tmp_path: Path) -> None:
    exported = Exported(layers=1)
    exported.weights[0].raw_data = exported.weights[0].raw_data[:-4]
    with pytest.raises(PartUnavailable, match="declares 3,072 bytes and holds 3,068"):
        Onnx(exported.save(tmp_path / "a.onnx"))


def test_a_weight_in_another_file_is_refused(tmp_path: Path) -> None:
    exported = Exported(layers=1)
    tensor = exported.weights[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    (tmp_path / "a.onnx").write_bytes(
        helper.make_model(helper.make_graph(exported.nodes, "g", [], [], exported.weights)).SerializeToString()
    )
    with pytest.raises(PartUnavailable, match="lies in another file"):
        Onnx(tmp_path / "a.onnx")
