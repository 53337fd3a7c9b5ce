"""`mllama`: the encoder of Llama 3.2 Vision, a ViT over the tiles of a picture (Grattafiori et al., 2024,
arXiv:2407.21783, section 7.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import MllamaVisionModel

from isthmus.errors import BadRecipe
from isthmus.parts.weights import pretrained

ABOUT = "Llama 3.2 Vision's ViT: a picture in up to four tiles, features of several layers; name its folder or hub part"
KIND = "image"
PART = None
SIZE = 560  # of a tile
FEATURES = (6404,)
LEAST = None


def build(config: Any) -> Any:
    """The model without weights: `AutoModel` knows the whole Mllama only."""
    return MllamaVisionModel._from_config(config)


def load(folder: Path) -> Any:
    """The vision model whose weights lie in `folder` alone; `isthmus import` takes a whole Mllama."""
    return pretrained(MllamaVisionModel, folder)


def grid(config: Any, size: int) -> tuple[int, ...]:
    """How the features lie: in one row, tile by tile, each with its class token first.

    Raises `BadRecipe` for tiles of another size than the encoder was made for.
    """
    if size != config.image_size:
        raise BadRecipe(f"size: {size}, but this encoder takes tiles of {config.image_size} pixels only")
    return (config.max_num_tiles * ((size // config.patch_size) ** 2 + 1),)


def width(config: Any) -> int:
    """D: the last layer's numbers, those of several layers before it, and one more (see `encode`)."""
    return int(config.vision_output_dim) + 1


def pack(tiles_NKCHW: Tensor, ratios_N: Tensor) -> Tensor:
    """A picture's K tiles below each other, and a last line that holds the number of its aspect ratio.

    Args:
        tiles_NKCHW: as transformers' image processor gives them; those that a picture does not need are zeros.
        ratios_N: which of the encoder's `supported_aspect_ratios` a picture has, from 1.

    Returns:
        [N, C, K H + 1, W].

    >>> pack(torch.zeros(2, 4, 3, 16, 16), torch.tensor([1, 6])).shape
    torch.Size([2, 3, 65, 16])
    """
    column = tiles_NKCHW.transpose(1, 2).flatten(2, 3)
    return torch.cat([column, ratios_N.to(column).view(-1, 1, 1, 1).expand_as(column[:, :, :1])], 2)


def encode(model: Any, pixels_NCHW: Tensor, valid: Tensor | None = None) -> Tensor:
    """Features [N, F, D] of pictures as `pack` gives them; the last of D is 1 in tiles that a picture has, else 0."""
    config = model.config
    (N, C, _, W), K = pixels_NCHW.shape, config.max_num_tiles
    tiles_NKCHW = pixels_NCHW[:, :, :-1].reshape(N, C, K, -1, W).transpose(1, 2)
    ratios_N = pixels_NCHW[:, 0, -1, 0].long()
    counts = ratios_N.new_tensor([high * wide for high, wide in config.supported_aspect_ratios])[ratios_N - 1]
    here_NK = torch.arange(K, device=counts.device) < counts.unsqueeze(1)
    media = {"pixel_values": tiles_NKCHW, "aspect_ratio_ids": ratios_N, "aspect_ratio_mask": here_NK.long()}
    rows = {name: one.unsqueeze(1) for name, one in media.items()}  # each picture alone in its row
    features_NKPD = model(**rows).last_hidden_state[:, 0]
    last = here_NK.to(features_NKPD).view(*here_NK.shape, 1, 1).expand_as(features_NKPD[..., :1])
    return torch.cat([features_NKPD, last], -1).flatten(1, 2)
