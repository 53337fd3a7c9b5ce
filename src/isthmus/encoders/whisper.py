"""`whisper`: the encoder of Whisper (Radford et al., 2022, arXiv:2212.04356, section 2.2).

It always hears 30 seconds: transformers gives it no mask, and a shorter sound is filled up with silence, as it was in
training. So the features of the real part depend on how long the silence is; `kept` says which are of the real part.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from isthmus.encoders import _pictures, _sound
from isthmus.parts.weights import pretrained

ABOUT = "the encoder of Whisper tiny.en, or of any Whisper of transformers by `part`: 50 features a second"
KIND = "audio"
PART = "whisper-tiny-en"
SIZE = 3000  # frames of the spectrum, 10 ms each
FEATURES = (1500,)
LEAST = None
RATE = _sound.RATE
UNIT = "frames"
INSIDE = {r"^(model\.)?encoder\.": ""}  # where the encoder lies in a whole Whisper


def build(config: Any) -> Any:
    """The encoder without weights: `AutoModel` knows the whole Whisper only."""
    return WhisperEncoder._from_config(config)


def load(folder: Path) -> Any:
    """The encoder of the Whisper in `folder`; its decoder is not read."""
    return pretrained(WhisperEncoder, folder, key_mapping=INSIDE)


reader = _sound.mel_reader
prepare = _sound.mel_prepare


def windows(sound: _sound.Sound, size: int = SIZE) -> list[_sound.Sound]:
    """A sound [samples] cut into windows of `size` frames: 30 seconds."""
    return _sound.windows(sound, size * _sound.HOP)


def grid(config: Any, size: int) -> tuple[int, ...]:
    """How the features of `size` frames lie: in time, one for every two. Raises `BadRecipe` for another `size`."""
    _pictures.exactly("frames of a spectrum", size, 2 * config.max_source_positions)
    return (config.max_source_positions,)


def kept(config: Any, size: int, valid: int) -> int:
    """How many features hear something of `valid` frames."""
    return max(1, min(size, valid + 1) // 2)


def encode(model: Any, mel_BCT: Tensor, valid: Tensor | None = None) -> Tensor:
    """Features [B, T / 2, D] of log-mel spectra; silence at their end is heard as well, whatever `valid` says."""
    return _pictures.patches(model, mel_BCT)
