"""Adapters: LoRA (Hu et al., 2021, arXiv:2106.09685) in a part of the model, by PEFT."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from isthmus.errors import BadRecipe
from isthmus.model.build import part
from isthmus.model.composed import IsthmusModel


def add_lora(model: IsthmusModel, where: str, r: int, alpha: float) -> None:
    """Put a fresh adapter, W + alpha / r * B A, into every linear layer of a part but the head.

    The part's own weights are frozen, the adapter's are trainable; the configuration records it. B starts at zero, so
    that the model's answers do not change.

    Args:
        where: `llm` or `<kind>.encoder`.
        r: rank.
        alpha: scale times r.

    Raises:
        BadRecipe: for a part that does not exist or has an adapter already.
    """
    from peft import LoraConfig, inject_adapter_in_model
    from transformers.pytorch_utils import Conv1D

    if where.endswith(".connector"):
        raise BadRecipe(f"{where}: a connector is trained whole; an adapter goes into llm or an encoder")
    if where in model.config.adapters:
        raise BadRecipe(f"{where}: has an adapter already; merge it first (`merge_lora`)")
    module = part(model, where)
    head = model.get_output_embeddings()
    layers = {name: m for name, m in module.named_modules() if isinstance(m, nn.Linear | Conv1D) and m is not head}
    transposed = any(isinstance(layer, Conv1D) for layer in layers.values())  # GPT-2 keeps its weights so
    config = LoraConfig(r=r, lora_alpha=alpha, target_modules=list(layers), fan_in_fan_out=transposed)
    if {type(layer) for layer in layers.values()} == {nn.Linear}:
        config._register_custom_module({nn.Linear: _fused()})
    inject_adapter_in_model(config, module)
    model.config.adapters = model.config.adapters | {where: {"r": r, "alpha": alpha}}
    _hang(model)


def merge_lora(model: IsthmusModel) -> None:
    """Add every adapter to the weights it adapts and take it out; the parts' weights are then the model's own.

    That of a quantised LLM stays where it is: rounded to 4 bits, much of it would be lost.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    stays = {where: own for where, own in model.config.adapters.items() if where == "llm" and model.config.quantize}
    merged = [where for where in model.config.adapters if where not in stays]
    for where in merged:
        module = part(model, where)
        for name, layer in list(module.named_modules()):
            if isinstance(layer, BaseTunerLayer):
                layer.merge()
                for twin in getattr(layer.get_base_layer().__dict__.get("forward"), "twins", {}).values():
                    twin.weight.data += layer.get_delta_weight(layer.active_adapters[0])  # media pass through both too
                parent, _, child = name.rpartition(".")
                setattr(module.get_submodule(parent), child, layer.get_base_layer())
        del module.peft_config  # PEFT's note that an adapter is there
    model.config.trained = sorted({*model.config.trained, *merged})
    model.config.adapters = stays
    _hang(model)


def _hang(model: IsthmusModel) -> None:
    """What works beside the LLM's layers works beside those that stand there now."""
    if model.beside is not None:
        model.beside.hang(model.llm, model.sight)


class Adapted(torch.autograd.Function):
    """y = x W^T + b + s (x A^T) B^T with W, b frozen, in five products forward and back that add in place.

    PEFT's own layer makes the same y of two results more, which are written to memory and added, and as many again for
    the gradients; on two CPU cores the LLM's step took a fifth longer (docs/experiments/speed.md).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, b: Tensor | None, A: Tensor, B: Tensor, scale: float) -> Tensor:
        """x [..., D_in], W [D_out, D_in], b [D_out], A [R, D_in], B [D_out, R]; y [..., D_out]."""
        x_ND = x.reshape(-1, x.shape[-1])
        h_NR = x_ND @ A.T
        y = nn.functional.linear(x, W, b)
        y.view(-1, W.shape[0]).addmm_(h_NR, B.T, alpha=scale)
        ctx.save_for_backward(x_ND, h_NR, W, A, B)
        ctx.scale = scale
        return y  # and no view of it: `beside` adds to it in place

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients to x, A and B."""
        x_ND, h_NR, W, A, B = ctx.saved_tensors
        g_ND = grad.reshape(-1, grad.shape[-1])
        gh_NR = (g_ND @ B).mul_(ctx.scale)
        gx = None
        if ctx.needs_input_grad[0]:
            gx = (g_ND @ W).addmm_(gh_NR, A).view(*grad.shape[:-1], W.shape[1])
        gA = gh_NR.T @ x_ND if ctx.needs_input_grad[3] else None  # an adapter may be frozen while another one learns
        gB = (g_ND.T @ h_NR).mul_(ctx.scale) if ctx.needs_input_grad[4] else None
        return gx, None, None, gA, gB, None


def _fused() -> type[nn.Module]:
    """PEFT's linear layer, with `Adapted` wherever one plain adapter stands beside frozen weights of the same dtype."""
    from peft.tuners.lora import Linear

    class FusedLinear(Linear):  # type: ignore[misc]
        """As its base class in all but speed."""

        def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            """x [..., D_in] to [..., D_out]."""
            base, names = self.get_base_layer(), self.active_adapters
            plain = len(names) == 1 and not (self.lora_variant or args or kwargs)
            plain = plain and "forward" not in base.__dict__  # a visual expert routes what comes in
            plain = plain and not torch.compiler.is_compiling()  # a compiler fuses by itself
            if not plain or self.merged or self.disable_adapters or torch.is_autocast_enabled(x.device.type):
                return super().forward(x, *args, **kwargs)  # type: ignore[no-any-return]
            A, B = self.lora_A[names[0]].weight, self.lora_B[names[0]].weight
            dropout = self.training and not isinstance(self.lora_dropout[names[0]], nn.Identity)
            if dropout or base.weight.requires_grad or not x.dtype == base.weight.dtype == A.dtype:
                return super().forward(x)  # type: ignore[no-any-return]
            return Adapted.apply(x, base.weight, base.bias, A, B, self.scaling[names[0]])  # type: ignore[no-any-return,no-untyped-call]

    return FusedLinear
