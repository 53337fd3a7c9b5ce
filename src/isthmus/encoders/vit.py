"""`vit`: the Vision Transformer (Dosovitskiy et al., 2021, arXiv:2010.11929).

Features are those of the patches after the last norm, without the class token: it was trained to name a picture as a
whole and stands for no place in it (section 3.1, equation 4). The pooler is left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import ViTModel

from isthmus.encoders import _pictures
from isthmus.parts.weights import pretrained

ABOUT = "any ViT of transformers: patch features after the last norm"
KIND = "image"
PART = "vit-base-patch16-224"
SIZE = 224
FEATURES = (14, 14)
LEAST = 16


def build(config: Any) -> Any:
    """The model without weights: `AutoModel` would add a pooler."""
    return ViTModel(config, add_pooling_layer=False)


def load(folder: Path) -> Any:
    """The ViT in `folder`, also from under a classifier's head."""
    return pretrained(ViTModel, folder, add_pooling_layer=False)


grid = _pictures.square


def encode(model: Any, pixels_BCHW: Tensor, valid: Tensor | None = None) -> Tensor:
    """Patch features [B, N, D]; positions are interpolated where the picture is not of the size of pretraining."""
    return _pictures.patches(model, pixels_BCHW, 1, interpolate_pos_encoding=True)
