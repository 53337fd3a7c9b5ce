"""`blip2`: the ViT of BLIP-2 and InstructBLIP, EVA-CLIP's without its last layer (Li et al., 2023, arXiv:2301.12597,
section 3.4)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import Blip2VisionModel

from isthmus.encoders import _pictures
from isthmus.parts.weights import pretrained

ABOUT = "BLIP-2's ViT: the class token and patch features after the last norm; name its folder or hub part"
KIND = "image"
PART = None
SIZE = 224
FEATURES = (257,)
LEAST = 14


def build(config: Any) -> Any:
    """The model without weights: `AutoModel` knows the whole BLIP-2 only."""
    return Blip2VisionModel._from_config(config)


def load(folder: Path) -> Any:
    """The vision model whose weights lie in `folder` alone; `isthmus import` takes a whole BLIP-2."""
    return pretrained(Blip2VisionModel, folder)


def grid(config: Any, size: int) -> tuple[int, ...]:
    """How the features of a square picture of `size` pixels lie: in one row, the class token first.

    Raises `BadRecipe` for a picture smaller than a patch.
    """
    rows, columns = _pictures.square(config, size)
    return (rows * columns + 1,)


def encode(model: Any, pixels_BCHW: Tensor, valid: Tensor | None = None) -> Tensor:
    """Features [B, N, D] after the last norm."""
    return model(pixels_BCHW.to(model.dtype), interpolate_pos_encoding=True).last_hidden_state  # type: ignore[no-any-return]
