"""`qwen2-audio`: the encoder of Qwen2-Audio, Whisper's with every two frames averaged (Chu et al., 2024,
arXiv:2407.10759, section 2.1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen2AudioEncoder

from isthmus.encoders import _pictures, _sound
from isthmus.parts.weights import pretrained

ABOUT = "Qwen2-Audio's encoder: 25 features for each second of a spectrum of 30 s; name its folder or hub part"
KIND = "audio"
PART = None
SIZE = 3000  # frames of the spectrum, 10 ms each
FEATURES = (750,)
LEAST = None
RATE = _sound.RATE
UNIT = "frames"


def load(folder: Path) -> Any:
    """The encoder whose weights lie in `folder` alone; `isthmus import` takes a whole Qwen2-Audio."""
    return pretrained(Qwen2AudioEncoder, folder)


reader = _sound.mel_reader
prepare = _sound.mel_prepare


def windows(sound: _sound.Sound, size: int = SIZE) -> list[_sound.Sound]:
    """A sound [samples] cut into windows of `size` frames: 30 seconds."""
    return _sound.windows(sound, size * _sound.HOP)


def grid(config: Any, size: int) -> tuple[int, ...]:
    """How the features of `size` frames lie: in time, one for every four. Raises `BadRecipe` for another `size`."""
    _pictures.exactly("frames of a spectrum", size, 2 * config.max_source_positions)
    return (size // 4,)


def kept(config: Any, size: int, valid: int) -> int:
    """How many features hear nothing but the `valid` frames, as Qwen2-Audio counts them; one at least."""
    return max(1, min((valid + 1) // 2, size // 2) // 2)


def encode(model: Any, mel_BCT: Tensor, valid: Tensor | None = None) -> Tensor:
    """Features [B, T / 4, D] of log-mel spectra [B, C, T].

    Without `valid` all T frames are heard, silence at their end too. With it, attention sees the real frames alone, as
    in the whole Qwen2-Audio; the two convolutions before still see one frame beyond.
    """
    mask = None
    if valid is not None and bool((valid < mel_BCT.shape[2]).any()):
        frames = ((valid + 1) // 2).clamp_min(1)[:, None].to(mel_BCT.device)
        unseen_BT = torch.arange(mel_BCT.shape[2] // 2, device=mel_BCT.device) >= frames
        mask = torch.zeros(unseen_BT.shape, dtype=model.dtype, device=mel_BCT.device)
        mask = mask.masked_fill(unseen_BT, torch.finfo(model.dtype).min)[:, None, None]
        mask = mask.expand(-1, 1, unseen_BT.shape[1], -1)
    return model(mel_BCT.to(model.dtype), attention_mask=mask).last_hidden_state  # type: ignore[no-any-return]
