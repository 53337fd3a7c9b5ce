"""`siglip`: the vision half of SigLIP (Zhai et al., 2023, arXiv:2303.15343) or of a SigLIP 2 of one resolution.

Features are those of the patches after the last norm, before the pooling head, as PaliGemma and LLaVA-OneVision take
them (Beyer et al., 2024, arXiv:2407.07726, section 3.1). There is no class token; the head is left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import SiglipVisionModel

from isthmus.encoders import _pictures
from isthmus.parts.weights import pretrained

ABOUT = "any SigLIP of transformers: patch features before the pooling head"
KIND = "image"
PART = "siglip-base"
SIZE = 224
FEATURES = (14, 14)
LEAST = 16


def load(folder: Path) -> Any:
    """The vision half of the SigLIP in `folder` (either a whole SigLIP or its vision model)."""
    return _pictures.without_head(pretrained(SiglipVisionModel, folder))


grid = _pictures.square


def encode(model: Any, pixels_BCHW: Tensor, valid: Tensor | None = None) -> Tensor:
    """Patch features [B, N, D]; positions are interpolated where the picture is not of the size of pretraining."""
    return _pictures.patches(model, pixels_BCHW, interpolate_pos_encoding=True)
