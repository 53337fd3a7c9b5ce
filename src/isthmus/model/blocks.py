"""Several samples in one row, each attending to itself alone: no padding, and no attention that is then masked away.

Padded rows spend their matrix products on padding, and one row with a block-diagonal mask spends its attention on
blocks that are masked: for samples of 25 to 700 tokens, a third to three quarters of the time. Here the samples lie
one behind another in one row [1, T], which is what every matrix product sees, and attention is computed sample by
sample. What says where they lie takes the place of the attention's mask, so it reaches every layer of whatever LLM
takes its attention from transformers' `AttentionInterface`, a layer that is run again (checkpointing) as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from isthmus.data.packing import Row, block_mask

NAME = "isthmus-blocks"

_plans: Any = WeakTensorKeyDictionary()  # of a mask, its samples' lengths and own masks


def flat(rows: Sequence[Row]) -> dict[str, Tensor]:
    """Rows one behind another: `input_ids`, `labels`, `position_ids` [1, T], and what stands for the mask [1, 1, 2, T].

    That holds of each token the number of its row and its segment in it.
    """
    owners = [number for number, row in enumerate(rows) for _ in row.ids]
    segments = [segment for row in rows for segment in row.segments]
    return {
        "input_ids": torch.tensor([[token for row in rows for token in row.ids]]),
        "labels": torch.tensor([[label for row in rows for label in row.labels]]),
        "position_ids": torch.tensor([[position for row in rows for position in row.positions]]),
        "attention_mask": torch.tensor([[[owners, segments]]], dtype=torch.int32),
    }


def enable(model: Any) -> bool:
    """Whether the rows of a batch may lie one behind another in this model; if so, its attention is told.

    Not where layers inside the LLM look at media by the order of tokens, or the LLM has an attention of its own.
    """
    llm = model.llm
    layers = any(module.soft is not module for module in model.connectors.values())
    if layers or model.config.is_encoder_decoder or not getattr(llm, "_supports_attention_backend", False):
        return False
    if llm.config._attn_implementation not in ("sdpa", NAME) or getattr(llm.config, "attn_logit_softcapping", None):
        return False
    llm.set_attn_implementation(NAME)
    return True


def disable(model: Any) -> None:
    """The LLM's attention is its own again."""
    if model.llm.config._attn_implementation == NAME:
        model.llm.set_attn_implementation("sdpa")


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **own: Any
) -> tuple[Tensor, None]:
    """Attention [B, H, T, D] -> [B, T, H, D], sample by sample where the mask is that of `flat`."""
    if attention_mask is None or attention_mask.dtype != torch.int32:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **own)  # type: ignore[no-any-return]
    if (plan := _plans.get(attention_mask)) is None:
        plan = _plans[attention_mask] = _plan(attention_mask, query.dtype)
    sizes, masks = plan
    split = (torch.split(x, sizes, dim=2) for x in (query, key, value))  # slices would each have a gradient of all of x
    parts = [
        sdpa_attention_forward(module, q, k, v, mask, **own)[0] for q, k, v, mask in zip(*split, masks, strict=True)
    ]
    return torch.cat(parts, dim=1), None


def _plan(mask: Tensor, dtype: torch.dtype) -> tuple[list[int], list[Tensor | None]]:
    owners, segments = mask[0, 0].tolist()
    sizes: list[int] = []
    masks: list[Tensor | None] = []
    for _, own in groupby(owners):
        start, size = sum(sizes), len(list(own))
        several = max(segments[start : start + size]) > 1  # one turn behind its prefix sees all that came before
        own_mask = block_mask(mask[0, :, 1, start : start + size]).to(mask.device, dtype) if several else None
        sizes.append(size)
        masks.append(own_mask)
    return sizes, masks


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
