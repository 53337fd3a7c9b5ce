"""`swin`: the Swin Transformer (Liu et al., 2021, arXiv:2103.14030).

Features are those of the last stage, after the last norm: each merge before a stage halves both sides of the grid
(section 3.1). There is no class token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import SwinModel

from isthmus.encoders import _pictures
from isthmus.errors import BadRecipe
from isthmus.parts.weights import pretrained

ABOUT = "any Swin of transformers: features of its last stage"
KIND = "image"
PART = "swin-tiny"
SIZE = 224
FEATURES = (7, 7)
LEAST = 193


def load(folder: Path) -> Any:
    """The Swin in `folder`, also from under a classifier's head."""
    return pretrained(SwinModel, folder)


def grid(config: Any, size: int) -> tuple[int, ...]:
    """How the features of a square picture of `size` pixels lie: rows, columns.

    Raises `BadRecipe` where the last stage is smaller than a window, for which there are no relative positions.
    """
    side = -(-size // config.patch_size)
    for _ in config.depths[1:]:
        side = -(-side // 2)
    if side < config.window_size:
        least = config.window_size * config.patch_size * 2 ** (len(config.depths) - 1)
        raise BadRecipe(f"size: {size} pixels: the last stage would be smaller than its windows. Take {least} or more")
    return side, side


def encode(model: Any, pixels_BCHW: Tensor, valid: Tensor | None = None) -> Tensor:
    """Features [B, N, D] of the last stage."""
    for stage in model.encoder.layers:
        for number, block in enumerate(stage.blocks):
            # A picture no larger than a window sets these two, and transformers leaves them so for the next picture.
            block.window_size, block.shift_size = model.config.window_size, number % 2 * (model.config.window_size // 2)
    return _pictures.patches(model, pixels_BCHW, interpolate_pos_encoding=True)
