"""`videomae`: the encoder of VideoMAE (Tong et al., 2022, arXiv:2203.12602).

A feature stands for a cube of `tubelet_size` frames and a patch (section 3.3); there is no class token. Parts that were
made for mean pooling (`use_mean_pooling`) have no last norm: theirs belongs to the classifier, after the mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import VideoMAEModel

from isthmus.encoders import _clips, _pictures
from isthmus.parts.weights import pretrained

ABOUT = "any VideoMAE of transformers: features of cubes of two frames"
KIND = "video"
PART = "videomae-base"
SIZE = 224
FEATURES = (8, 14, 14)
LEAST = None


def load(folder: Path) -> Any:
    """The encoder of the VideoMAE in `folder`, also from under a classifier's head or beside a decoder."""
    return pretrained(VideoMAEModel, folder)


frames = _clips.frames
prepare = _clips.prepare
reader = _clips.reader


def grid(config: Any, size: int) -> tuple[int, ...]:
    """How the features lie: cubes in time, rows, columns. Raises `BadRecipe` for a size without positions."""
    _pictures.exactly("pixels", size, config.image_size)
    return config.num_frames // config.tubelet_size, *_pictures.square(config, size)


def encode(model: Any, clips_BFCHW: Tensor, valid: Tensor | None = None) -> Tensor:
    """Features [B, F / tubelet x h x w, D], in time order. Raises `BadMedia` for another number of frames."""
    _clips.check(model.config, clips_BFCHW)
    return _pictures.patches(model, clips_BFCHW)
