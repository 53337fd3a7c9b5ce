"""Adapters: LoRA (Hu et al., 2021, arXiv:2106.09685) in a part of the model, by PEFT."""

from __future__ import annotations

from torch import nn

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
    inject_adapter_in_model(config, module)
    model.config.adapters = model.config.adapters | {where: {"r": r, "alpha": alpha}}


def merge_lora(model: IsthmusModel) -> None:
    """Add every adapter to the weights it adapts and take it out; the parts' weights are then the model's own."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for where in model.config.adapters:
        module = part(model, where)
        for name, layer in list(module.named_modules()):
            if isinstance(layer, BaseTunerLayer):
                layer.merge()
                parent, _, child = name.rpartition(".")
                setattr(module.get_submodule(parent), child, layer.get_base_layer())
        del module.peft_config  # PEFT's note that an adapter is there
    model.config.trained = sorted({*model.config.trained, *model.config.adapters})
    model.config.adapters = {}
