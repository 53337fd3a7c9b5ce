"""What encoders of sound share: 16,000 samples in a second, windows of a long sound, log-mel spectra as Whisper's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from transformers import WhisperFeatureExtractor

from isthmus.encoders._pictures import own_reader
from isthmus.errors import BadMedia

RATE = 16_000  # samples in a second
HOP, FRAME = 160, 400  # samples from one frame of a spectrum to the next, and under one

Sound = np.ndarray[Any, np.dtype[np.float32]]


def windows(sound: Sound, span: int, least: int = 1) -> list[Sound]:
    """A sound [T] cut into windows of `span` samples, the last one shorter; a rest of less than `least` is left out.

    Raises `BadMedia` for a sound without samples.

    >>> [len(window) for window in windows(np.zeros(25, np.float32), 10)]
    [10, 10, 5]
    >>> [len(window) for window in windows(np.zeros(25, np.float32), 10, least=6)]
    [10, 10]
    """
    if not len(sound):
        raise BadMedia("a sound without samples")
    return [sound[start : start + span] for start in range(0, max(1, len(sound) - least + 1), span)]


def mel_reader(folder: Path, size: int) -> Any:
    """Whisper's feature extractor with the part's settings, for spectra of `size` frames (its `span`)."""
    reader = own_reader(WhisperFeatureExtractor, folder)
    reader.span = size
    return reader


def mel_prepare(reader: Any, sounds: Sequence[Sound]) -> tuple[Tensor, Tensor]:
    """Log-mel spectra [B, C, T] of sounds (each float32 [samples] at `RATE`), and how many frames are real [B].

    A longer sound is cut: take `windows` first.
    """
    made = reader(
        list(sounds),
        sampling_rate=RATE,
        max_length=reader.span * reader.hop_length,
        return_attention_mask=True,
        return_tensors="pt",
    )
    return made.input_features, made.attention_mask.sum(1)
