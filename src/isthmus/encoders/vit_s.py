"""`vit-s`: a ViT-S/14 in DINOv2's layout (Oquab et al., 2023, arXiv:2304.07193), fine-tuned for saliency by its makers.

Its last layers serve the saliency head, so the part ends after layer 9, with the final layer norm.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import Dinov2Model

from isthmus.encoders import _pictures
from isthmus.parts.weights import pretrained

ABOUT = "ViT-S/14, nine layers, D=384: general features of a picture"
KIND = "image"
PART = "vit-s"
SIZE = 112
FEATURES = (8, 8)
LEAST = 14
UNUSED = ("embeddings.mask_token",)  # for pretraining


def load(folder: Path) -> Any:
    """The encoder whose weights lie in `folder`."""
    return pretrained(Dinov2Model, folder, unused=UNUSED)


grid = _pictures.square


def encode(model: Any, pixels_BCHW: Tensor, valid: Tensor | None = None) -> Tensor:
    """Patch features [B, N, D], without the class token."""
    return model(pixels_BCHW.to(model.dtype)).last_hidden_state[:, 1:]  # type: ignore[no-any-return]
