"""`timesformer`: TimeSformer (Bertasius et al., 2021, arXiv:2102.05095).

Features are those of the patches of every frame after the last norm, without the class token, which was trained to
name a clip as a whole (section 3, equation 9). transformers keeps a place's frames side by side; here they lie frame by
frame.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import TimesformerModel

from isthmus.encoders import _clips, _pictures
from isthmus.parts.weights import pretrained

ABOUT = "any TimeSformer of transformers: patch features of every frame"
KIND = "video"
PART = "timesformer-base-k400"
SIZE = 224
FEATURES = (8, 14, 14)
LEAST = None


def load(folder: Path) -> Any:
    """The TimeSformer in `folder`, also from under a classifier's head."""
    return pretrained(TimesformerModel, folder)


frames = _clips.frames
prepare = _clips.prepare


def grid(config: Any, size: int) -> tuple[int, ...]:
    """How the features lie: frames, rows, columns. Raises `BadRecipe` for a size that the model was not made for, since
    transformers takes the grid inside its layers from the configuration."""
    _pictures.exactly("pixels", size, config.image_size)
    return config.num_frames, *_pictures.square(config, size)


def reader(folder: Path, size: int) -> Any:
    """An image processor for clips, with the part's settings."""
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # TimesformerVideoProcessor's
    return _clips.reader(folder, size, image_mean=mean, image_std=std)


def encode(model: Any, clips_BFCHW: Tensor, valid: Tensor | None = None) -> Tensor:
    """Features [B, F x h x w, D], frame by frame. Raises `BadMedia` for clips of another number of frames."""
    _clips.check(model.config, clips_BFCHW)
    x = _pictures.patches(model, clips_BFCHW, 1)
    B, D = len(clips_BFCHW), x.shape[-1]
    if model.config.attention_type == "space_only":  # each frame is a row of its own
        return x.reshape(B, -1, D)
    return x.reshape(B, -1, model.config.num_frames, D).transpose(1, 2).reshape(B, -1, D)
