"""What an encoder of the configuration gives for a kind of media: how its features lie, which of them hold something.

A medium is prepared as one piece or several (a window of a long sound, a tile of a picture), each encoded by itself.
An encoder of pictures can serve video: it sees the frames of a clip one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import PIL.Image
import torch
from torch import Tensor

from isthmus.encoders import _pictures
from isthmus.encoders._several import Several
from isthmus.registry import find

FRAMES = 8  # of a clip that an encoder of pictures sees, by default


def module(config: Any, kind: str) -> Any:
    """The file in `encoders/` that reads this kind of media, or what stands for several."""
    facts = config.encoders[kind]
    if isinstance(facts["name"], list):
        return Several(facts["name"], facts["size"], facts["join"])
    return find("isthmus.encoders", facts["name"])


def framed(config: Any, kind: str) -> bool:
    """Whether an encoder of pictures sees the frames of clips."""
    return kind == "video" and module(config, kind).KIND == "image"


def grid(config: Any, kind: str) -> tuple[int, ...]:
    """How the features of one piece lie; their number is the product."""
    own: tuple[int, ...] = module(config, kind).grid(getattr(config, f"{kind}_config"), config.encoders[kind]["size"])
    return (config.encoders[kind].get("frames", FRAMES), *own) if framed(config, kind) else own


def width(config: Any, kind: str) -> int:
    """D, the width of the features."""
    own = getattr(config, f"{kind}_config")
    return int(module(config, kind).width(own) if hasattr(module(config, kind), "width") else own.hidden_size)


def encode(config: Any, kind: str, encoder: Any, media: Tensor, valid: Tensor | None = None) -> Tensor:
    """Features [K, N, D] of K prepared pieces; see `encoders` for `valid`."""
    if framed(config, kind):
        return module(config, kind).encode(encoder, media.flatten(0, 1)).unflatten(0, media.shape[:2]).flatten(1, 2)  # type: ignore[no-any-return]
    more = () if valid is None else (valid,)
    return module(config, kind).encode(encoder, media, *more)  # type: ignore[no-any-return]


def prepare(config: Any, kind: str, reader: Any, arrays: Sequence[Any]) -> tuple[Tensor, Tensor | None]:
    """Prepared pieces of arrays (see `encoders`), and how many units of each are real."""
    if not framed(config, kind):
        return module(config, kind).prepare(reader, arrays)  # type: ignore[no-any-return]
    frames = [PIL.Image.fromarray(frame) for clip in arrays for frame in clip]
    pixels: Tensor = _pictures.prepared(reader, frames).pixel_values
    return pixels.view(len(arrays), -1, *pixels.shape[1:]), None


def kept(config: Any, kind: str, valid: Tensor) -> Tensor:
    """How many features of each piece hold something, [K], where its first `valid` [K] units are no padding."""
    own, size = getattr(config, f"{kind}_config"), config.encoders[kind]["size"]
    count = getattr(module(config, kind), "kept", None)
    if count is None:
        return torch.full_like(valid, torch.Size(grid(config, kind)).numel())
    return valid.new_tensor([count(own, size, int(units)) for units in valid])
