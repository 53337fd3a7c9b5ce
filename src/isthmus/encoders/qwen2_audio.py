"""`qwen2-audio`: the encoder of Qwen2-Audio, Whisper's with every two frames averaged (Chu et al., 2024,
arXiv:2407.10759, section 2.1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import Qwen2AudioEncoder

from isthmus.parts.weights import pretrained

ABOUT = "Qwen2-Audio's encoder: 25 features for each second of a spectrum of 30 s; name its folder or hub part"
KIND = "audio"
PART = None
SIZE = 3000  # frames of the spectrum, 10 ms each


def load(folder: Path) -> Any:
    """The encoder whose weights lie in `folder` alone; `isthmus import` takes a whole Qwen2-Audio."""
    return pretrained(Qwen2AudioEncoder, folder)


def grid(config: Any, size: int) -> tuple[int, ...]:
    """How the features of `size` frames lie: in time, one for every four."""
    return (size // 4,)


def encode(model: Any, mel_BCT: Tensor) -> Tensor:
    """Features [B, T / 4, D] of log-mel spectra [B, C, T]; all T frames are heard, silence at their end too."""
    return model(mel_BCT).last_hidden_state  # type: ignore[no-any-return]
