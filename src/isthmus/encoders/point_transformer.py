"""`point-transformer`: a transformer over groups of points, as Point-BERT (Yu et al., 2022, arXiv:2111.14819).

No weights of it come with transformers. It can be trained from nothing, alone by masked pretraining (Point-MAE, Pang et
al., 2022, arXiv:2203.06604) or with the whole model:

    - {name: shapes, objective: masked, train: {points.encoder: 3.0e-4}, ...}  # a stage; or from Python:

    from isthmus.encoders.point_transformer import PointTransformerConfig, PointTransformerForMaskedPretraining

    model = PointTransformerForMaskedPretraining(PointTransformerConfig())
    loss = model(points)  # [B, 1024, 3], as `prepare` gives them
    model.encoder.save_pretrained("my-points")  # a part like any other

Features are those of the groups, farthest first; there is no class token. Which they are does not depend on the order
of the points, except where distances are equal.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from isthmus.encoders import _pictures
from isthmus.encoders._geometry import farthest
from isthmus.encoders._point_model import (
    PointTransformerConfig,
    PointTransformerForMaskedPretraining,
    PointTransformerModel,
)
from isthmus.encoders._reader import Reader
from isthmus.errors import BadMedia, BadRecipe
from isthmus.parts.weights import pretrained

__all__ = ["PointTransformerConfig", "PointTransformerForMaskedPretraining", "PointTransformerModel"]

ABOUT = "a transformer over groups of points (Point-BERT), trainable from nothing (part: new)"
KIND = "points"
PART = None
SIZE = 1024  # points
FEATURES = (64,)
LEAST = 1
USUAL = 100.0  # of a cloud's radius: things in a house, in centimetres, are then near 0
Positive = Annotated[int, Field(gt=0)]


def load(folder: Path) -> Any:
    """The point transformer in `folder`, also from beside the decoder of its masked pretraining."""
    return pretrained(PointTransformerModel, folder)


def fresh(
    size: int,
    channels: int = 3,
    groups: Positive = 64,
    group_size: Positive = 32,
    width: Positive = 384,
    layers: Positive = 12,
    heads: Positive = 6,
    group_width: Annotated[int, Field(gt=1)] = 256,
    sized: bool = False,
) -> Any:
    """A point transformer with random weights, for points of `channels` numbers; by default in Point-BERT's sizes.

    Most of the time goes into the PointNet that every point of every group passes, `group_width` wide. With `sized` it
    knows how large a cloud is in its file's unit, which has to be the same in all files.

    Raises `BadRecipe` for a `width` that `heads` do not divide.
    """
    if width % heads:
        raise BadRecipe(f"point-transformer: a width of {width} cannot be shared by {heads} heads")
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    config = PointTransformerConfig(
        channels=channels, num_groups=groups, group_size=group_size, intermediate_size=4 * width, sized=sized,
        group_width=group_width, **sizes,
    )  # fmt: skip
    return PointTransformerModel(config)


def masked(model: Any) -> Any:
    """Point-MAE around the encoder `model`: the loss of points [B, P, channels], `valid` [B] of them real."""
    whole = PointTransformerForMaskedPretraining(copy.deepcopy(model.config))
    whole.encoder = model
    return whole


def grid(config: Any, size: int) -> tuple[int, ...]:
    """How the features lie: in a row, one for each group, however many points there are."""
    return (config.num_groups,)


def kept(config: Any, size: int, valid: int) -> int:
    """How many features are of groups of their own: not more than there are points."""
    return max(1, min(int(config.num_groups), valid))


def reader(folder: Path, size: int) -> Reader:
    """What clouds are brought to: `size` points (its `span`), and the part's numbers of a point."""
    own = _pictures.settings(folder, "config.json")
    return Reader(span=size, channels=own.get("channels", 3), sized=own.get("sized", False))


def fits(reader: Reader, cloud: np.ndarray[Any, Any]) -> None:
    """Raises `BadMedia` for points of another number of channels than the part's, no points, or ones that are not
    finite."""
    if cloud.ndim != 2 or not len(cloud):
        raise BadMedia(f"a cloud of shape {cloud.shape}, and not of points and their numbers")
    if cloud.shape[1] != reader.channels:
        raise BadMedia(
            f"points of {cloud.shape[1]} numbers; this model's encoder takes {reader.channels}: 3 are a place, 6 a "
            "place and a colour"
        )
    if not np.isfinite(cloud).all():
        raise BadMedia("a cloud with points that are not finite")


def prepare(reader: Reader, clouds: Sequence[np.ndarray[Any, Any]]) -> tuple[Tensor, Tensor]:
    """Points [B, P, channels] of clouds (each float32 [points, channels]), and how many points are real [B].

    With a reader that is `sized`, [B, P, channels + 1]: the logarithm of the sphere's radius in hundreds of the unit.

    A cloud is centred on its mean and scaled into the unit sphere. Of a larger one, points far from each other are
    taken, as Point-BERT does; a smaller one is filled up with zeros. Colours are taken as they are, from 0 to 1. Raises
    as `fits`.
    """
    sized = getattr(reader, "sized", False)  # readers saved before there was one have none
    filled = torch.zeros(len(clouds), reader.span, reader.channels + sized)
    for cloud in clouds:
        fits(reader, cloud)
    for row, points in zip(filled, _thinned(clouds, reader.span), strict=True):
        place = points[:, :3] - points[:, :3].mean(0)
        radius = place.square().sum(1).amax().sqrt().clamp_min(1e-9)
        size = [(radius / USUAL).log().expand(len(points), 1)] if sized else []
        row[: len(points)] = torch.cat([place / radius, points[:, 3:], *size], 1)
    return filled, torch.tensor([min(len(cloud), reader.span) for cloud in clouds])


def _thinned(clouds: Sequence[np.ndarray[Any, Any]], most: int) -> list[Tensor]:
    """The clouds; of larger ones `most` points, far from each other. Those of one size are thinned together."""
    points = [torch.as_tensor(cloud, dtype=torch.float32) for cloud in clouds]
    for size in {len(own) for own in points if len(own) > most}:
        places = [place for place, own in enumerate(points) if len(own) == size]
        chosen = farthest(torch.stack([points[place][:, :3] for place in places]), most)
        for place, index in zip(places, chosen, strict=True):
            points[place] = points[place][index]
    return points


def encode(model: Any, points_BPC: Tensor, valid: Tensor | None = None) -> Tensor:
    """Features [B, N, D] of points; what stands beyond `valid` points changes nothing."""
    return model(points_BPC, valid).last_hidden_state  # type: ignore[no-any-return]
