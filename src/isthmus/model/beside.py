"""An adapter beside the LLM that works from the first medium of some kinds on, and nowhere else.

    text and pictures      system | p p p | What is this?                     the LLM as it was, bit for bit
    a sound among them     system | p p p | a a a | What is heard?
                                            `- from here on W x + s B A x

So a model learns to hear, and what it says of pictures and of text alone does not change at all. That modalities get
adapters of their own, which leave those of the others as they are, is Phi-4-Multimodal's (Abouelenin et al., 2025,
arXiv:2503.01743). There, which adapter runs is chosen for a whole request; here it follows from what stands before a
token, so that keys and values in a cache stay right when a later turn brings another kind of media.

The weights are LoRA's (Hu et al., 2021, arXiv:2106.09685). They hang on the LLM's layers by forward hooks, so the LLM's
own keys stay what they are, and an adapter that PEFT put into the same layers works as before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from isthmus.connectors._sight import Sight
from isthmus.errors import BadRecipe, IsthmusError

BESIDE = "beside"  # under which a `Sight` holds it


@dataclass
class Since:
    """Which tokens [B, T] stand at or behind the first medium of the adapter's kinds in their text."""

    marks: Tensor

    def after(self, past: int, length: int) -> Since | None:
        """For `length` tokens behind the first `past`; what stands behind the whole text is as its last token."""
        T = self.marks.shape[1]
        places = torch.arange(past, past + length, device=self.marks.device).clamp(max=T - 1)
        found = self.marks[:, places]
        return Since(found) if bool(found.any()) else None

    def rows(self, index: Tensor) -> Since:
        """Of these rows of the batch."""
        return Since(self.marks[index])


class Beside(nn.Module):
    """LoRA weights for every linear layer of an LLM but its head; A is drawn as PEFT draws it, B is zero.

    Args:
        llm: a decoder-only LLM.
        r: rank.
        alpha: the scale times r.
        kinds: the kinds of media from whose first one on it works.

    Raises:
        BadRecipe: for an encoder-decoder, whose tokens see what comes after them.
    """

    def __init__(self, llm: Any, r: int, alpha: float, kinds: Sequence[str]) -> None:
        super().__init__()
        if llm.config.is_encoder_decoder:
            raise BadRecipe(
                "an adapter for some kinds of media works from the first of them on, and an encoder-decoder reads in"
                " both directions. Leave `kinds` out"
            )
        self.kinds, self.scale = tuple(kinds), alpha / r
        own = {name: Pair(*_widths(linear), r).to(linear.weight.device) for name, linear in _linear(llm).items()}
        self.pairs = nn.ModuleDict({_key(name): pair for name, pair in own.items()})
        self._hooks: list[Any] = []
        self._hung: dict[str, Any] = {}  # the layers, by their places

    def hang(self, llm: nn.Module, sight: Sight) -> None:
        """Hook the weights to the layers that the LLM has now; again after an adapter was put in or merged."""
        for hook in self._hooks:
            hook.remove()
        self._hung = {name: llm.get_submodule(name) for name in _linear(llm)}
        hooks = {name: Hook(self.pairs[_key(name)], self.scale, sight) for name in self._hung}  # type: ignore[arg-type]
        self._hooks = [layer.register_forward_hook(hooks[name]) for name, layer in self._hung.items()]

    def hangs(self, llm: nn.Module) -> bool:
        """Whether all layers are still those that it was hung to: quantising, for one, puts others in their places."""
        return all(llm.get_submodule(name) is layer for name, layer in self._hung.items())

    def since(self, input_ids: Tensor, slots: Tensor, attention_mask: Tensor | None) -> Since | None:
        """Where it works; None where it does nowhere, unless it learns: then every step has a gradient for it.

        Args:
            input_ids: [B, T].
            slots: [K], the placeholders of its kinds.
            attention_mask: that of the pass; where rows lie one behind another, it says whose a token is
                (`blocks.flat`).
        """
        here = torch.isin(input_ids, slots)
        count = here.cumsum(1)
        if attention_mask is not None and attention_mask.dtype == torch.int32 and attention_mask.dim() == 4:
            owners = attention_mask[0, :, 0]
            first = nn.functional.pad(owners.diff(dim=1) != 0, (1, 0), value=True)
            count = count - torch.where(first, count - here.long(), 0).cummax(1).values  # less those of rows before
        marks = count > 0
        learns = torch.is_grad_enabled() and any(weight.requires_grad for weight in self.parameters())
        return Since(marks) if learns or bool(marks.any()) else None


class Pair(nn.Module):
    """A [R, D_in] and B [D_out, R]."""

    def __init__(self, width: int, out: int, r: int) -> None:
        super().__init__()
        self.A, self.B = nn.Parameter(torch.empty(r, width)), nn.Parameter(torch.zeros(out, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))


class Hook:
    """What a layer gave, and s B A x added to it where the adapter works."""

    def __init__(self, pair: Pair, scale: float, sight: Sight) -> None:
        self.pair, self.scale, self.sight = pair, scale, sight

    def __call__(self, layer: nn.Module, args: tuple[Tensor, ...], y: Tensor) -> Tensor:
        since = self.sight.now.get(BESIDE)
        if since is None:
            return y
        x, A, B = args[0], self.pair.A, self.pair.B
        if x.shape[:-1] != since.marks.shape:
            raise IsthmusError(
                f"{BESIDE}: a layer is given rows {tuple(x.shape[:-1])} of {tuple(since.marks.shape)} tokens, so this"
                " LLM's layers do not see each token once. Train an adapter without `kinds`"
            )
        gate = since.marks.flatten().to(A.dtype).unsqueeze(1) * self.scale
        fused = x.dtype == y.dtype == A.dtype and y.is_contiguous() and not torch.compiler.is_compiling()
        if fused and not torch.is_autocast_enabled(x.device.type):
            return Added.apply(y, x, A, B, gate)  # type: ignore[no-any-return,no-untyped-call]
        low = nn.functional.linear(x.to(A.dtype), A) * gate.view(*since.marks.shape, 1)
        return y + nn.functional.linear(low, B).to(y.dtype)


class Added(torch.autograd.Function):
    """y += g (x A^T) B^T in place, g a factor for each token; what a layer gives is nobody's else."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, A: Tensor, B: Tensor, gate_N1: Tensor) -> Tensor:
        """y [..., D_out], x [..., D_in], A [R, D_in], B [D_out, R]."""
        x_ND = x.reshape(-1, x.shape[-1])
        h_NR = (x_ND @ A.T).mul_(gate_N1)
        y.view(-1, y.shape[-1]).addmm_(h_NR, B.T)
        ctx.save_for_backward(x_ND, h_NR, A, B, gate_N1)
        ctx.mark_dirty(y)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients to y, x, A and B."""
        x_ND, h_NR, A, B, gate_N1 = ctx.saved_tensors
        g_ND = grad.reshape(-1, grad.shape[-1])
        gh_NR = (g_ND @ B).mul_(gate_N1)
        _, to_x, to_A, to_B, _ = ctx.needs_input_grad
        gx = (gh_NR @ A).view(*grad.shape[:-1], A.shape[1]) if to_x else None
        return grad, gx, gh_NR.T @ x_ND if to_A else None, g_ND.T @ h_NR if to_B else None, None


def _key(name: str) -> str:
    return name.replace(".", "/")  # a ModuleDict's keys have no dots


def _linear(llm: Any) -> dict[str, Any]:
    """The LLM's linear layers but the head, by their places; where PEFT stands in one, the one inside."""
    head = llm.get_output_embeddings()
    own = ((name, m) for name, m in llm.named_modules() if isinstance(m, nn.Linear | Conv1D) and m is not head)
    return {name.removesuffix(".base_layer"): m for name, m in own if ".lora_" not in name}


def _widths(linear: Any) -> tuple[int, int]:
    """D_in and D_out."""
    return tuple(linear.weight.shape) if isinstance(linear, Conv1D) else (linear.in_features, linear.out_features)
