"""`wav2vec2`: Wav2Vec2 (Baevski et al., 2020, arXiv:2006.11477).

Features are the context network's last hidden states (section 2), before an adapter if there is one: one for every
20 ms, each from 25 ms of sound. Sounds that are shorter than the span are masked, and their features do not depend on
the padding. Parts whose first norm runs over time (`feat_extract_norm` "group", as in the base model) know no mask
there, so that their short sounds are encoded one by one, each without its padding.

While it is trained, transformers masks spans of features as in fine-tuning (`apply_spec_augment`) and drops layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Model

from isthmus.encoders import _pictures, _sound
from isthmus.errors import BadRecipe
from isthmus.parts.weights import pretrained

ABOUT = "any Wav2Vec2 of transformers: 50 features a second"
KIND = "audio"
PART = "wav2vec2-base-960h"
SIZE = 320_000  # samples: the 20 s that its large models were pretrained on (section 4.2)
FEATURES = (999,)
LEAST = 400
RATE = _sound.RATE
UNIT = "samples"
UNUSED = ("masked_spec_embed",)  # what spans are masked with while it is trained


def load(folder: Path) -> Any:
    """The Wav2Vec2 in `folder`, also from under a head; an adapter is left out."""
    model = pretrained(Wav2Vec2Model, folder, unused=UNUSED)
    model.adapter, model.config.add_adapter = None, False
    return model


def windows(sound: _sound.Sound, size: int = SIZE) -> list[_sound.Sound]:
    """A sound [samples] cut into windows of `size` samples; a rest of less than 25 ms has no feature."""
    return _sound.windows(sound, size, _sound.FRAME)


def grid(config: Any, size: int) -> tuple[int, ...]:
    """How the features of `size` samples lie: in time. Raises `BadRecipe` for too few samples for one."""
    if size < reach(config):
        raise BadRecipe(f"size: {size} samples are less than one feature hears: {reach(config)}")
    return (_count(config, size),)


def kept(config: Any, size: int, valid: int) -> int:
    """How many features hear nothing but the `valid` samples, as transformers masks; one at least."""
    return _count(config, min(size, max(valid, reach(config))))


def reach(config: Any) -> int:
    """How many samples one feature hears."""
    samples = 1
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        samples = (samples - 1) * stride + kernel
    return int(samples)


def reader(folder: Path, size: int) -> Any:
    """Wav2Vec2's feature extractor with the part's settings, for sounds of `size` samples (its `span`)."""
    reader = _pictures.own_reader(Wav2Vec2FeatureExtractor, folder)
    reader.span = size
    return reader


def prepare(reader: Any, sounds: Sequence[_sound.Sound]) -> tuple[Tensor, Tensor]:
    """Waveforms [B, T] of sounds (each float32 [samples] at `RATE`), and how many samples are real [B].

    Each is standardised over its real part, if the part wants it. A longer sound is cut: take `windows` first.
    """
    made = reader(
        list(sounds),
        sampling_rate=RATE,
        padding="max_length",
        max_length=reader.span,
        truncation=True,
        return_attention_mask=True,
        return_tensors="pt",
    )
    return made.input_values, made.attention_mask.sum(1)


def encode(model: Any, waves_BT: Tensor, valid: Tensor | None = None) -> Tensor:
    """Features [B, N, D] of waveforms [B, T]; those beyond `kept` hold nothing."""
    waves_BT = waves_BT.to(model.dtype)
    if valid is None or bool((valid >= waves_BT.shape[1]).all()):
        return model(waves_BT).last_hidden_state  # type: ignore[no-any-return]
    valid = valid.clamp(reach(model.config), waves_BT.shape[1])
    if model.config.feat_extract_norm == "group":
        each = [model(wave[None, :n]).last_hidden_state[0] for wave, n in zip(waves_BT, valid.tolist(), strict=True)]
        N = _count(model.config, waves_BT.shape[1])
        return torch.stack([torch.nn.functional.pad(x, (0, 0, 0, N - len(x))) for x in each])
    mask_BT = torch.arange(waves_BT.shape[1], device=waves_BT.device) < valid[:, None].to(waves_BT.device)
    return model(waves_BT, attention_mask=mask_BT.long()).last_hidden_state  # type: ignore[no-any-return]


def _count(config: Any, samples: int) -> int:
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples
