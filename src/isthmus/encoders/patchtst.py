"""`patchtst`: PatchTST (Nie et al., 2023, arXiv:2211.14730), for series of measurements.

A feature stands for a patch of steps in one channel (section 3.1). Missing values and padding are masked where the
series is standardised, and are the mean for what comes after: the layers have no mask, so that the features of the real
part depend on how much is missing, but not on what stands there. A class token (`use_cls_token`) is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import PatchTSTConfig, PatchTSTModel

from isthmus.encoders import _pictures
from isthmus.encoders._reader import Reader
from isthmus.errors import BadMedia, BadRecipe
from isthmus.parts.weights import pretrained

ABOUT = "any PatchTST of transformers: features of patches of a series; trainable from nothing (part: new)"
KIND = "series"
PART = "patchtst-etth1"
SIZE = 512  # steps, as in the paper's PatchTST/64
FEATURES = "((steps - patch) // stride + 1) x channels"  # patch, stride and channels are the part's own
LEAST = None
Positive = Annotated[int, Field(gt=0)]


def load(folder: Path) -> Any:
    """The PatchTST in `folder`, also from under a head; what masks its input in pretraining is left out."""
    model = pretrained(PatchTSTModel, folder)
    model.masking, model.do_mask_input, model.config.do_mask_input = nn.Identity(), False, False
    return model


def fresh(
    size: int,
    channels: int = 1,
    patch: Positive = 16,
    width: Positive = 128,
    layers: Positive = 3,
    heads: Positive = 16,
    scaling: Literal["std", "mean", "none"] = "std",
    apart: bool = False,
) -> Any:
    """A PatchTST with random weights for `size` steps of `channels` channels, by default in the sizes of the paper.

    Patches do not overlap, which halves the features, and the norm is that of layers, so that what a series gives does
    not depend on the others of its batch.

    Args:
        scaling: what is done to each channel of a window first: "std" takes off its mean and divides by its deviation,
            "mean" divides by its mean size, and "none" leaves it as it is: where the level says something (gravity in
            an acceleration), and the units are alike.
        apart: whether each channel's patches have an embedding of their own. Without it, the features of two channels
            that measure the same are the same, and a connector without positions cannot tell which is which.

    Raises `BadRecipe` for a `width` that `heads` do not divide, or a `patch` that is not shorter than the window.
    """
    if patch >= size:
        raise BadRecipe(f"patchtst: a patch of {patch} steps is not shorter than the window of {size}")
    if width % heads:
        raise BadRecipe(f"patchtst: a width of {width} cannot be shared by {heads} heads")
    return PatchTSTModel(
        PatchTSTConfig(
            num_input_channels=channels, context_length=size, patch_length=patch, patch_stride=patch, d_model=width,
            num_attention_heads=heads, num_hidden_layers=layers, ffn_dim=2 * width, attention_dropout=0.0,
            positional_dropout=0.0, path_dropout=0.0, ff_dropout=0.0, norm_type="layernorm", do_mask_input=False,
            scaling=None if scaling == "none" else scaling, share_embedding=not apart,
        )
    )  # fmt: skip


def grid(config: Any, size: int) -> tuple[int, ...]:
    """How the features of `size` steps lie: patches in time, channels. Raises `BadRecipe` for another `size`."""
    _pictures.exactly("steps", size, config.context_length)
    return (size - config.patch_length) // config.patch_stride + 1, config.num_input_channels


def kept(config: Any, size: int, valid: int) -> int:
    """How many features hold something of the first `valid` steps."""
    patches, channels = grid(config, size)
    first = size - config.patch_length - (patches - 1) * config.patch_stride  # transformers leaves out a rest before
    return int(max(1, min(patches, -(-(valid - first) // config.patch_stride))) * channels)


def reader(folder: Path, size: int) -> Reader:
    """What series are brought to: `size` steps (its `span`), and the part's number of channels."""
    return Reader(span=size, channels=_pictures.settings(folder, "config.json").get("num_input_channels", 1))


def windows(series: np.ndarray[Any, Any], size: int = SIZE) -> list[np.ndarray[Any, Any]]:
    """A series [C, steps] cut into windows of `size` steps, the last one shorter."""
    return [series[:, start : start + size] for start in range(0, series.shape[1], size)]


def fits(reader: Reader, series: np.ndarray[Any, Any]) -> None:
    """Raises `BadMedia` for a series of another number of channels than the part's, no steps, or infinite values."""
    if series.ndim != 2 or not series.size:
        raise BadMedia(f"a series of shape {series.shape}, and not of channels and steps")
    if len(series) != reader.channels:
        raise BadMedia(
            f"a series of {len(series)} channels; this model's encoder takes {reader.channels}. Give it those that it "
            f"was trained on, or train one for these (part: new, channels: {len(series)})"
        )
    if np.isinf(series).any():
        raise BadMedia("a series with infinite values. Leave them empty if they are missing")


def prepare(reader: Reader, series: Sequence[np.ndarray[Any, Any]]) -> tuple[Tensor, Tensor]:
    """Series [B, C, T] (each float32 [C, steps], NaN where a value is missing), and how many steps are real [B].

    A shorter one is filled up with NaN; of a longer one, the last steps stay: take `windows` first. Raises as `fits`.
    """
    filled = np.full((len(series), reader.channels, reader.span), np.nan, np.float32)
    for row, one in zip(filled, series, strict=True):
        fits(reader, one)
        end = one[:, -reader.span :]
        row[:, : end.shape[1]] = end
    return torch.from_numpy(filled), torch.tensor([min(one.shape[1], reader.span) for one in series])


def encode(model: Any, series_BCT: Tensor, valid: Tensor | None = None) -> Tensor:
    """Features [B, N, D] of series with NaN for missing values, in time order, a moment's channel by channel."""
    T = series_BCT.shape[2]
    seen = ~series_BCT.isnan()
    if valid is not None:
        seen &= (torch.arange(T, device=seen.device) < valid[:, None].to(seen.device))[:, None]
    mean = (series_BCT.nan_to_num() * seen).sum(2, keepdim=True) / seen.sum(2, keepdim=True).clamp_min(1)
    values = torch.where(seen, series_BCT, mean).to(model.dtype)
    x_BCND = model(values.mT, past_observed_mask=seen.mT.to(model.dtype)).last_hidden_state
    x_BCND = x_BCND[:, :, int(model.config.use_cls_token) :]
    return x_BCND.transpose(1, 2).flatten(1, 2)  # type: ignore[no-any-return]
