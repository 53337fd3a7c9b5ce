"""An LLM held in 4 bits, to be trained by an adapter: QLoRA (Dettmers et al., 2023, arXiv:2305.14314), by bitsandbytes.

Its linear layers but the head keep their weights as NF4, in blocks of 64 with a scale each, the scales quantised too;
they are computed in fp32. Embeddings, norms and the head stay as they are. No stage changes the weights themselves.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.errors import BadRecipe, IsthmusError

FORMS = ("nf4",)
BLOCK = 64  # weights that share a scale
FULL = "Load it with the LLM's own weights: `load(folder, quantize=False)`"  # what takes a checkpoint elsewhere


def options(form: str | None) -> dict[str, Any]:
    """What `from_pretrained` is given so that it quantises each weight as it reads it; nothing for None.

    Raises `BadRecipe` for a form that does not exist, and where bitsandbytes is not installed or does not run.
    """
    if form is None:
        return {}
    if form not in FORMS:
        raise BadRecipe(f"quantize: {form!r} is not one of {', '.join(FORMS)}")
    try:
        library = importlib.import_module("bitsandbytes")
        _try(library)
    except ModuleNotFoundError as error:
        if error.name != "bitsandbytes":
            raise
        raise BadRecipe(f"quantize: {form} needs bitsandbytes: pip install 'isthmus[qlora]', or leave it out") from None
    except (RuntimeError, OSError, AttributeError, NotImplementedError) as error:
        raise BadRecipe(f"quantize: bitsandbytes does not run on this machine: {error}. Leave it out") from error
    from transformers import BitsAndBytesConfig

    how = {"load_in_4bit": True, "bnb_4bit_quant_type": form, "bnb_4bit_use_double_quant": True}
    return {"quantization_config": BitsAndBytesConfig(**how, bnb_4bit_compute_dtype=torch.float32)}


def _try(library: Any) -> None:
    """One product with a quantised weight, forward and back."""
    weight, state = library.functional.quantize_4bit(torch.ones(64, 64), quant_type="nf4", compress_statistics=True)
    x = torch.ones(1, 64, requires_grad=True)
    library.matmul_4bit(x, weight.t(), quant_state=state).sum().backward()


def settle(llm: Any) -> None:
    """Make a quantised LLM compute the same in evaluation as in training, on every CPU; others stay as they are.

    Where a CPU has AVX512-BF16, bitsandbytes packs a weight anew when it is first used in evaluation, and from then on
    gives bf16 results without a gradient. Where it has AVX512, bitsandbytes (0.50) takes the wrong scales for weights
    of whose rows a block covers more than one.

    Raises `BadRecipe` for an LLM with such weights.
    """
    for name, layer in llm.named_modules():
        if isinstance(getattr(layer, "weight", None), Tensor) and (own := state(layer.weight)) is not None:
            if own.shape[-1] % BLOCK:
                raise BadRecipe(
                    f"quantize: {name} has rows of {own.shape[-1]} weights, and bitsandbytes restores only multiples"
                    f" of {BLOCK} rightly on every CPU. Leave `quantize` out, or take another LLM"
                )
            layer.support_avx512bf16_for_cpu = False
    if hasattr(llm.config, "quantization_config"):
        del llm.config.quantization_config  # the composed model's configuration says it


def state(weight: Tensor) -> Any:
    """bitsandbytes' account of a weight in 4 bits; None for another weight."""
    return getattr(weight, "quant_state", None)


def numel(weight: Tensor) -> int:
    """How many numbers a weight stands for; two of 4 bits share a byte."""
    own = state(weight)
    return weight.numel() if own is None else int(torch.Size(own.shape).numel())


def nbytes(module: nn.Module) -> int:
    """Bytes of a module's parameters and buffers, with the scales of those in 4 bits."""
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers(), *_scales(module)))


def _scales(module: nn.Module) -> Iterator[Tensor]:
    for weight in module.parameters():
        if (own := state(weight)) is not None:
            yield from (own.absmax, own.state2.absmax)


def refuse(config: Any, what: str) -> None:
    """Raises `IsthmusError` for `what`, which needs the LLM's own weights, where the LLM is quantised."""
    if config.quantize is not None:
        raise IsthmusError(f"{what}: the LLM is held in 4 bits ({config.quantize}). {FULL}")
