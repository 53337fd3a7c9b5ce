"""`videoprism`: VideoPrism's factorised encoder (Zhao et al., 2024, arXiv:2402.13217; Arnab et al., 2021,
arXiv:2103.15691, model 2).

Features are those of the patches of every frame after the temporal layers, which the paper's frozen-encoder tasks read
(section 4). There is no class token; of a VideoPrism with a text half, the layers and pooling of contrast stay out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import VideoPrismVisionModel

from isthmus.encoders import _clips, _pictures
from isthmus.errors import BadRecipe
from isthmus.parts.weights import pretrained

ABOUT = "any VideoPrism of transformers: patch features of every frame"
KIND = "video"
PART = "videoprism-base"
SIZE = 288
FEATURES = (16, 16, 16)
LEAST = 18
INSIDE = {r"^(video_model\.)?vision_model\.": ""}  # where the encoder lies in a model with a head or a text half


def load(folder: Path) -> Any:
    """The encoder of the VideoPrism in `folder` (alone, under a classifier's head, or with a text half)."""
    return pretrained(VideoPrismVisionModel, folder, key_mapping=INSIDE)


frames = _clips.frames
prepare = _clips.prepare


def grid(config: Any, size: int) -> tuple[int, ...]:
    """How the features lie: frames, rows, columns. Raises `BadRecipe` for a clip smaller than a patch."""
    time, *patch = config.tubelet_size
    if size < max(patch):
        raise BadRecipe(f"size: {size} pixels are less than a patch of {max(patch)}")
    return config.num_frames // time, *(size // side for side in patch)


def reader(folder: Path, size: int) -> Any:
    """An image processor for clips, with the part's settings: squashed to a square, from 0 to 1."""
    return _clips.reader(folder, size, do_center_crop=False, do_normalize=False)


def encode(model: Any, clips_BFCHW: Tensor, valid: Tensor | None = None) -> Tensor:
    """Features [B, F x h x w, D], frame by frame; positions are interpolated where the picture is not of the size of
    pretraining (on a CPU, torch does so in fp32 only). Raises `BadMedia` for clips of another number of frames."""
    _clips.check(model.config, clips_BFCHW)
    return _pictures.patches(model, clips_BFCHW, interpolate_pos_encoding=True)
