"""`audio-spectrogram-transformer`: AST (Gong et al., 2021, arXiv:2104.01778).

A feature stands for a patch of the spectrum, of 16 frames and 16 bands by default, and overlaps its neighbours (section
2.1). The class and distillation tokens, which were trained to name a sound as a whole, are left out. transformers keeps
them band by band; here they lie in time order. A shorter sound is filled up with zeros, as it was in training, and
there is no mask: the features of the real part depend on how long the silence is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import ASTFeatureExtractor, ASTModel

from isthmus.encoders import _pictures, _sound
from isthmus.parts.weights import pretrained

ABOUT = "any Audio Spectrogram Transformer of transformers: features in time and frequency"
KIND = "audio"
PART = "ast-audioset"
SIZE = 1024  # frames of the spectrum, 10 ms each
FEATURES = (101, 12)
LEAST = None
RATE = _sound.RATE
UNIT = "frames"


def load(folder: Path) -> Any:
    """The AST in `folder`, also from under a classifier's head."""
    return pretrained(ASTModel, folder)


def windows(sound: _sound.Sound, size: int = SIZE) -> list[_sound.Sound]:
    """A sound [samples] cut into windows of `size` frames; a rest without a whole frame is left out."""
    return _sound.windows(sound, (size - 1) * _sound.HOP + _sound.FRAME, _sound.FRAME)


def grid(config: Any, size: int) -> tuple[int, ...]:
    """How the features lie: time, frequency. Raises `BadRecipe` for a `size` that the model has no positions for."""
    _pictures.exactly("frames of a spectrum", size, config.max_length)
    time = (size - config.patch_size) // config.time_stride + 1
    return time, (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1


def kept(config: Any, size: int, valid: int) -> int:
    """How many features hear something of `valid` frames."""
    time, frequency = grid(config, size)
    return max(1, min(time, -(-valid // int(config.time_stride)))) * frequency


def reader(folder: Path, size: int) -> Any:
    """AST's feature extractor with the part's settings, for spectra of `size` frames."""
    reader = _pictures.own_reader(ASTFeatureExtractor, folder)
    reader.max_length = size
    return reader


def prepare(reader: Any, sounds: Sequence[_sound.Sound]) -> tuple[Tensor, Tensor]:
    """Log-mel spectra [B, T, C] of sounds (each float32 [samples] at `RATE`), and how many frames are real [B].

    A longer sound is cut: take `windows` first. One without a whole frame is filled up to one.
    """
    long = [np.pad(sound, (0, max(0, _sound.FRAME - len(sound)))) for sound in sounds]
    valid = [min(reader.max_length, (len(sound) - _sound.FRAME) // _sound.HOP + 1) for sound in long]
    return reader(long, sampling_rate=RATE, return_tensors="pt").input_values, torch.tensor(valid)


def encode(model: Any, mel_BTC: Tensor, valid: Tensor | None = None) -> Tensor:
    """Features [B, N, D] of log-mel spectra, in time order, a moment's from low to high; the padding is heard too."""
    x_BND = _pictures.patches(model, mel_BTC, 2)
    B, _, D = x_BND.shape
    time, _ = grid(model.config, mel_BTC.shape[1])
    return x_BND.reshape(B, -1, time, D).transpose(1, 2).reshape(B, -1, D)
