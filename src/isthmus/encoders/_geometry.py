"""Points in space: farthest point sampling, nearest neighbours, Chamfer distance; always in fp32."""

from __future__ import annotations

import torch
from torch import Tensor


def farthest(points_BP3: Tensor, count: int, valid: Tensor | None = None) -> Tensor:
    """Indices [B, count] of points that lie far from each other (Eldar et al., 1997, doi:10.1109/83.623193).

    The first is the farthest from the mean, each next one the farthest from all before it; of equally far ones the
    first. Thus which points are chosen does not depend on their order, except where distances are equal.

    Args:
        points_BP3: P points of each of B clouds.
        count: how many; beyond the number of distinct points they repeat.
        valid: how many of the points are real, [B]; None for all.

    >>> farthest(torch.tensor([[[0.0, 0, 0], [1, 0, 0], [5, 0, 0]]]), 3)
    tensor([[2, 0, 1]])
    """
    points = points_BP3.float()
    B, P, _ = points.shape
    real_BP = _real(points, valid)
    mean = (points * real_BP[..., None]).sum(1, keepdim=True) / real_BP.sum(1)[:, None, None]
    rows = torch.arange(B, device=points.device)
    chosen = [((points - mean).square().sum(-1)).masked_fill(~real_BP, -1).argmax(1)]
    nearest_BP = points.new_full((B, P), torch.inf).masked_fill(~real_BP, -1)
    for _ in range(count - 1):
        distance_BP = (points - points[rows, chosen[-1]][:, None]).square().sum(-1)
        nearest_BP = torch.minimum(nearest_BP, distance_BP)
        chosen.append(nearest_BP.argmax(1))
    return torch.stack(chosen, 1)


def nearest(centres_BG3: Tensor, points_BP3: Tensor, count: int, valid: Tensor | None = None) -> Tensor:
    """Indices [B, G, count] of the points nearest to each centre, nearest first.

    Where a cloud has fewer real points, the nearest one is repeated.
    """
    centres, points = centres_BG3.float(), points_BP3.float()
    gap_BGP = (centres[:, :, None] - points[:, None]).square().sum(-1)
    gap_BGP = gap_BGP.masked_fill(~_real(points, valid)[:, None], torch.inf)
    found = gap_BGP.topk(min(count, points.shape[1]), largest=False)
    index_BGK = torch.where(found.values.isinf(), found.indices[..., :1], found.indices)
    return torch.cat([index_BGK, index_BGK[..., :1].expand(-1, -1, count - index_BGK.shape[2])], -1)


def take(points_BPC: Tensor, index: Tensor) -> Tensor:
    """The points [B, ..., C] at indices [B, ...]."""
    flat = index.flatten(1)[..., None].expand(-1, -1, points_BPC.shape[2])
    return points_BPC.gather(1, flat).view(*index.shape, points_BPC.shape[2])


def chamfer(a_BM3: Tensor, b_BN3: Tensor) -> Tensor:
    """The Chamfer distance [B] of two sets of points, with squared distances (Fan et al., 2017, arXiv:1612.00603).

    The mean over a of the distance to the nearest of b, and the mean over b of that to the nearest of a.

    >>> chamfer(torch.tensor([[[0.0, 0, 0]]]), torch.tensor([[[1.0, 0, 0], [3, 0, 0]]]))
    tensor([6.])
    """
    gap_BMN = (a_BM3.float()[:, :, None] - b_BN3.float()[:, None]).square().sum(-1)
    return gap_BMN.amin(2).mean(1) + gap_BMN.amin(1).mean(1)


def _real(points_BPC: Tensor, valid: Tensor | None) -> Tensor:
    B, P, _ = points_BPC.shape
    limit = torch.full((B,), P) if valid is None else valid.clamp(1, P)
    return torch.arange(P, device=points_BPC.device) < limit[:, None].to(points_BPC.device)
