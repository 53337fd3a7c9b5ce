"""`dinov2`: DINOv2 (Oquab et al., 2023, arXiv:2304.07193), with registers or without (Darcet et al., 2023,
arXiv:2309.16588).

Features are those of the patches after the last norm, as its makers take them for dense tasks (section 7.4). The class
token is left out, and so are registers, which exist to keep global information out of the patches.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import Dinov2Model, Dinov2WithRegistersModel

from isthmus.encoders import _pictures

ABOUT = "any DINOv2 of transformers, with registers or not: patch features"
KIND = "image"
PART = "dinov2-base"
SIZE = 224
FEATURES = (16, 16)
LEAST = 14
UNUSED = ("embeddings.mask_token",)  # for pretraining


def load(folder: Path) -> Any:
    """The DINOv2 in `folder`, also from under a classifier's head."""
    classes = {"dinov2": Dinov2Model, "dinov2_with_registers": Dinov2WithRegistersModel}
    return _pictures.one_of(classes, folder, UNUSED)


grid = _pictures.square


def encode(model: Any, pixels_BCHW: Tensor, valid: Tensor | None = None) -> Tensor:
    """Patch features [B, N, D]; positions are interpolated where the picture is not of the size of pretraining."""
    return _pictures.patches(model, pixels_BCHW, 1 + getattr(model.config, "num_register_tokens", 0))
