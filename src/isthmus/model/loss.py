"""The LLM's loss on its supervised tokens, without holding their logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from isthmus.types import IGNORE_INDEX

CHUNK = 256  # supervised tokens whose logits are held at once; with 49,152 words, 50 MB


def supervised_loss(hidden_BTD: Tensor, head: nn.Module, labels_BT: Tensor) -> Tensor:
    """Mean cross-entropy over the supervised tokens; the head runs at the positions before them only.

    Of many tokens, the logits of `CHUNK` are held at a time: those of a thousand would take 200 MB with 49,152 words,
    and their gradients as much. A plain linear head's gradients are made while its logits are there (`Fused`); any
    other head runs a second time for them.
    """
    keep = labels_BT[:, 1:] != IGNORE_INDEX
    hidden_SD, labels_S = hidden_BTD[:, :-1][keep], labels_BT[:, 1:][keep]
    if _plain(head, hidden_SD):
        return Fused.apply(hidden_SD, head.weight, labels_S, torch.is_grad_enabled())  # type: ignore[no-any-return,no-untyped-call]
    if len(labels_S) <= CHUNK:
        return nn.functional.cross_entropy(head(hidden_SD).float(), labels_S)
    parts = zip(torch.split(hidden_SD, CHUNK), torch.split(labels_S, CHUNK), strict=True)
    sums = [checkpoint(_loss_sum, head, hidden, labels, use_reentrant=False) for hidden, labels in parts]
    return torch.stack(sums).sum() / len(labels_S)


class Fused(torch.autograd.Function):
    """The mean of log sum exp(W h) - (W h)_label over S tokens, and its gradients while the logits are at hand.

    With P the softmax of the logits and Y the labels as ones among zeros, the gradient to h is (P - Y) W / S and that
    to W is (P - Y)^T h / S. Three passes over the logits take the place of ten: softmax overwrites them, and Y is
    never made. As in Cut Cross-Entropy (Wijmans et al., 2024, arXiv:2411.09009), but for a CPU and in chunks.
    """

    @staticmethod
    def forward(ctx: Any, hidden_SD: Tensor, W: Tensor, labels_S: Tensor, learns: bool) -> Tensor:
        """hidden [S, D], W [V, D], labels [S]; the loss in float32, NaN for S = 0."""
        to_hidden, to_W = (learns and need for need in ctx.needs_input_grad[:2])
        count, total = len(labels_S), hidden_SD.new_zeros((), dtype=torch.float32)
        gh_SD = torch.empty_like(hidden_SD) if to_hidden else None
        gW = torch.zeros_like(W) if to_W else None
        for start in range(0, count, CHUNK):
            h_CD, labels_C = hidden_SD[start : start + CHUNK], labels_S[start : start + CHUNK]
            z_CV = nn.functional.linear(h_CD, W).float()
            own_C = z_CV.gather(1, labels_C[:, None])[:, 0]
            most_C, where_C = z_CV.max(dim=1)
            torch.softmax(z_CV, dim=1, out=z_CV)
            total += (most_C - z_CV.gather(1, where_C[:, None])[:, 0].log() - own_C).sum()
            P_CV = z_CV.to(W.dtype)
            if gh_SD is not None:
                gh_SD[start : start + CHUNK] = (P_CV @ W).sub_(W[labels_C])
            if gW is not None:
                gW.addmm_(P_CV.T, h_CD).index_add_(0, labels_C, h_CD, alpha=-1)
        ctx.save_for_backward(gh_SD, gW)
        ctx.count = count
        return total / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients to hidden and W."""
        return *(None if own is None else own.mul_(grad / ctx.count) for own in ctx.saved_tensors), None, None


def _plain(head: nn.Module, hidden: Tensor) -> bool:
    """Whether a head is W h and nothing else: no bias, no hooks, no forward of its own, no other dtype inside."""
    plain = type(head) is nn.Linear and head.bias is None and "forward" not in head.__dict__
    plain = plain and not (head._forward_hooks or head._forward_pre_hooks or head._backward_hooks)
    return plain and head.weight.dtype == hidden.dtype and not torch.is_autocast_enabled(hidden.device.type)


def _loss_sum(head: nn.Module, hidden_SD: Tensor, labels_S: Tensor) -> Tensor:
    return nn.functional.cross_entropy(head(hidden_SD).float(), labels_S, reduction="sum")
