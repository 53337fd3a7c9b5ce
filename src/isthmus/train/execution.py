"""How a stage runs the model, as its `activation_checkpointing`, `compile` and `liger` say; what it computes stays."""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface

from isthmus.connectors._sight import layers
from isthmus.errors import BadRecipe
from isthmus.model import blocks
from isthmus.train.recipe import Stage

BACKEND = "inductor"  # what compiles; it writes C++ or Triton, and needs a C++ compiler on a CPU


@contextmanager
def execution(model: Any, stage: Stage) -> Iterator[None]:
    """The model as the stage wants it run; after the block, however it ends, as it was.

    Raises `BadRecipe` where the model or the machine cannot do what the stage asks for.
    """
    with ExitStack() as after:
        for wanted, way in (
            (stage.activation_checkpointing, checkpointed(model)),
            (stage.liger, liger(model.llm)),
            (stage.compile, compiled(model.llm)),
        ):
            if wanted:
                after.enter_context(way)
        yield


@contextmanager
def checkpointed(model: Any) -> Iterator[None]:
    """Layers of the LLM and of encoders that learn keep what goes into them alone, and are run again for the gradient.

    Activation checkpointing (Chen et al., 2016, arXiv:1604.06174): a layer more of time for each of the backward pass,
    one layer's activations in memory in place of all. Dropout is drawn the same, so gradients are the same to the bit.
    """
    if not any(hasattr(module, "gradient_checkpointing") for module in model.llm.modules()):
        name = model.config.get_text_config().model_type
        raise BadRecipe(f"activation_checkpointing: {name} cannot run its layers again. Take it out")
    model._set_gradient_checkpointing(True, functools.partial(checkpoint, use_reentrant=False))
    try:
        yield
    finally:
        model._set_gradient_checkpointing(False)


@contextmanager
def compiled(llm: Any) -> Iterator[None]:
    """The LLM's layers, one by one, through `torch.compile`, for rows of any length; they are alike, so once is enough.

    The first step waits for the compiler. Attention sample by sample (`model.blocks`) stays outside: samples begin and
    end elsewhere in every batch.
    """
    own = layers(llm)
    AttentionInterface.register(blocks.NAME, torch.compiler.disable(blocks.attend))  # type: ignore[no-untyped-call]
    for layer in own:
        layer.compile(backend=BACKEND, dynamic=True)
    try:
        yield
    finally:
        for layer in own:
            layer._compiled_call_impl = None
        AttentionInterface.register(blocks.NAME, blocks.attend)
        torch.compiler.reset()


@contextmanager
def liger(llm: Any) -> Iterator[None]:
    """Liger's kernels (Hsu et al., 2024, arXiv:2410.10989) for norms, gated units and rotary positions.

    Its fused loss is left out: the loss runs the head at supervised positions alone already. What it replaces, in the
    LLM and in the module of its family, is put back.

    Raises `BadRecipe` where it is not installed, the LLM is not on a CUDA device, or Liger does not know its family.
    """
    name, home = llm.config.model_type, sys.modules[type(llm).__module__]
    if llm.device.type != "cuda":
        raise BadRecipe(f"liger: its kernels run on a GPU, and the LLM is on {llm.device}. Take it out")
    if importlib.util.find_spec("liger_kernel") is None:
        raise BadRecipe("liger: the package liger-kernel is not installed: pip install liger-kernel")
    from liger_kernel.transformers import _apply_liger_kernel_to_instance
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN as KNOWN

    if name not in KNOWN:
        raise BadRecipe(f"liger: it has no kernels for {name}. Take it out; known: {', '.join(sorted(KNOWN))}")
    before = [(vars(own), dict(vars(own))) for own in (home, *llm.modules())]
    try:
        _apply_liger_kernel_to_instance(llm, cross_entropy=False, fused_linear_cross_entropy=False)
        yield
    finally:
        for now, was in before:
            for key in [key for key in now if key not in was]:
                del now[key]
            now.update(was)
