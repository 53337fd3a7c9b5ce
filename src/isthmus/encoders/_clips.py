"""What encoders of video share: a clip is prepared frame by frame, with PIL, as its transformers class would be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import VideoMAEImageProcessorPil

from isthmus.encoders import _pictures
from isthmus.errors import BadMedia

SETTINGS = ("video_processor", "image_processor")  # whose settings a part may have


def reader(folder: Path, size: int, **own: Any) -> Any:
    """An image processor for clips of `size` pixels with the part's settings; transformers' video processors need
    torchvision. `own` are settings that the part's files need not have."""
    return _pictures.reader(VideoMAEImageProcessorPil, folder, size, SETTINGS, **own)


def prepare(reader: Any, clips: Sequence[np.ndarray[Any, Any]]) -> tuple[Tensor, Tensor]:
    """Pixels [B, F, 3, H, W] of clips (uint8, each [F, height, width, 3]), and how many frames are real: all.

    Raises `BadMedia` for clips that differ in their number of frames.
    """
    if len(counts := {len(clip) for clip in clips}) > 1:
        raise BadMedia(f"clips of {', '.join(map(str, sorted(counts)))} frames cannot be one batch")
    frames = [list(_middle(reader, clip)) for clip in clips]
    pixels = reader(frames, input_data_format="channels_last", return_tensors="pt").pixel_values
    return pixels, torch.tensor([len(clip) for clip in clips])


def _middle(reader: Any, clip: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What the reader is to be given of a clip's frames (see `_pictures.middle`)."""
    box = _pictures.middle(reader, clip.shape[2], clip.shape[1])
    return clip if box is None else clip[:, box[1] : box[3], box[0] : box[2]]


def frames(config: Any) -> int:
    """How many frames a clip has."""
    return int(config.num_frames)


def check(config: Any, clips_BFCHW: Tensor) -> None:
    """Raises `BadMedia` unless the clips have as many frames as the model has been made for."""
    if (found := clips_BFCHW.shape[1]) != config.num_frames:
        raise BadMedia(f"a clip of {found} frames; this part takes {config.num_frames}")
