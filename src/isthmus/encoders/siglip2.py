"""`siglip2`: the vision half of SigLIP 2 (Tschannen et al., 2025, arXiv:2502.14786), at one resolution.

NaFlex parts take sequences of patches with their shape; here every picture is a square of `size` pixels, so that the
number of features is known. Parts of one resolution are SigLIPs by their `model_type`, and are taken too. Features are
as in `siglip`: of the patches, after the last norm and before the pooling head, which is left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Siglip2VisionModel, SiglipImageProcessorPil, SiglipVisionModel

from isthmus.encoders import _pictures

ABOUT = "SigLIP 2, NaFlex or not: patch features of a square picture"
KIND = "image"
PART = "siglip2-base"
SIZE = 256
FEATURES = (16, 16)
LEAST = 16
CLASSES = {
    "siglip2": Siglip2VisionModel,
    "siglip2_vision_model": Siglip2VisionModel,
    "siglip": SiglipVisionModel,
    "siglip_vision_model": SiglipVisionModel,
}


def load(folder: Path) -> Any:
    """The vision half of the SigLIP 2 in `folder` (either a whole one or its vision model)."""
    return _pictures.without_head(_pictures.one_of(CLASSES, folder))


grid = _pictures.square


def reader(folder: Path, size: int) -> Any:
    """An image processor that makes squares with the part's mean and deviation; NaFlex's own makes patches."""
    return _pictures.reader(SiglipImageProcessorPil, folder, size)


def encode(model: Any, pixels_BCHW: Tensor, valid: Tensor | None = None) -> Tensor:
    """Patch features [B, N, D]; positions are interpolated where the picture is not of the size of pretraining."""
    if isinstance(model, SiglipVisionModel):
        return _pictures.patches(model, pixels_BCHW, interpolate_pos_encoding=True)
    B, C, height, width = pixels_BCHW.shape
    p = model.config.patch_size
    h, w = height // p, width // p
    x = pixels_BCHW[:, :, : h * p, : w * p].reshape(B, C, h, p, w, p).permute(0, 2, 4, 3, 5, 1).reshape(B, h * w, -1)
    shapes = torch.tensor([[h, w]] * B)  # transformers reads it number by number, which a GPU would wait for
    return _pictures.patches(model, x, pixel_attention_mask=None, spatial_shapes=shapes)
