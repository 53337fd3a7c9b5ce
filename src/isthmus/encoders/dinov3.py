"""`dinov3`: the ViTs of DINOv3 (Siméoni et al., 2025, arXiv:2508.10104).

Features are those of the patches after the last norm, as its makers take them for dense tasks (section 6.1), without
the class token and the registers. Positions are rotary, and follow from the picture's size; while the encoder is
trained, transformers draws their scale anew in every pass, as in pretraining (`pos_embed_rescale`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import DINOv3ViTModel, ViTImageProcessorPil

from isthmus.encoders import _pictures
from isthmus.parts.weights import pretrained

ABOUT = "any ViT of DINOv3: patch features"
KIND = "image"
PART = "dinov3-small"
SIZE = 224
FEATURES = (14, 14)
LEAST = 16
UNUSED = ("embeddings.mask_token",)  # for pretraining


def load(folder: Path) -> Any:
    """The DINOv3 ViT in `folder`."""
    return pretrained(DINOv3ViTModel, folder, unused=UNUSED)


grid = _pictures.square


def reader(folder: Path, size: int) -> Any:
    """An image processor with the part's settings; its own needs torchvision, and resizes before it rounds."""
    return _pictures.reader(ViTImageProcessorPil, folder, size)


def encode(model: Any, pixels_BCHW: Tensor, valid: Tensor | None = None) -> Tensor:
    """Patch features [B, N, D]."""
    return _pictures.patches(model, pixels_BCHW, 1 + model.config.num_register_tokens)
