"""`clip-whole`: the vision half of CLIP with its last layer and the class token, as IDEFICS takes it
(Laurençon et al., 2023, arXiv:2306.16527)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import CLIPVisionModel

from isthmus.encoders import _pictures
from isthmus.parts.weights import pretrained

ABOUT = "CLIP's ViT: the class token and patch features of its last layer, as in IDEFICS"
KIND = "image"
PART = "clip-vit-large"
SIZE = 224
FEATURES = (257,)
LEAST = 14
UNUSED = ("post_layernorm.weight", "post_layernorm.bias")  # for the pooled output


def load(folder: Path) -> Any:
    """The vision half of the CLIP in `folder` (either a whole CLIP or its vision model)."""
    return pretrained(CLIPVisionModel, folder, unused=UNUSED)


def grid(config: Any, size: int) -> tuple[int, ...]:
    """How the features of a square picture of `size` pixels lie: in one row, the class token first.

    Raises `BadRecipe` for a picture smaller than a patch.
    """
    rows, columns = _pictures.square(config, size)
    return (rows * columns + 1,)


def encode(model: Any, pixels_BCHW: Tensor, valid: Tensor | None = None) -> Tensor:
    """Features [B, N, D] of the last layer, before the norm of the pooled output."""
    return model(pixels_BCHW.to(model.dtype), interpolate_pos_encoding=True).last_hidden_state  # type: ignore[no-any-return]
