"""`clip`: the vision half of CLIP (Radford et al., 2021, arXiv:2103.00020), as LLaVA-1.5 takes it.

LLaVA reads the last layer but one, so the part is cut there: no layer is computed, or trained, for nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import CLIPVisionModel

from isthmus.encoders import _pictures
from isthmus.parts.weights import pretrained

ABOUT = "CLIP's ViT: patch features of the last layer but one, as in LLaVA-1.5"
KIND = "image"
PART = "clip-vit-large"
SIZE = 336
FEATURES = (24, 24)
LEAST = 14
UNUSED = ("post_layernorm.weight", "post_layernorm.bias")  # for the pooled output


def load(folder: Path) -> Any:
    """The vision half of the CLIP in `folder` (either a whole CLIP or its vision model), without its last layer."""
    model = pretrained(CLIPVisionModel, folder, unused=UNUSED)
    model.config.num_hidden_layers -= 1
    del model.encoder.layers[-1]
    return model


grid = _pictures.square


def encode(model: Any, pixels_BCHW: Tensor, valid: Tensor | None = None) -> Tensor:
    """Patch features [B, N, D] of the last layer, without the class token and before the norm of the pooled output."""
    return model(pixels_BCHW.to(model.dtype), interpolate_pos_encoding=True).last_hidden_state[:, 1:]  # type: ignore[no-any-return]
