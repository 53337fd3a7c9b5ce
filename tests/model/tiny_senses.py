"""A tiny random encoder of every kind, as `compose` is told of it, and media for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny_encoders import TINY
from tiny_parts import noise
from transformers import SiglipImageProcessorPil

from isthmus.media.forms import Clip, Cloud, Signal, Sound
from isthmus.types import Audio, Points, Series, Video

LONG = {"whisper": 0.2, "qwen2-audio": 0.2, "wav2vec2": 0.06, "audio-spectrogram-transformer": 0.2}  # seconds
KINDS = {
    "whisper": "audio", "qwen2-audio": "audio", "wav2vec2": "audio", "audio-spectrogram-transformer": "audio",
    "timesformer": "video", "videomae": "video", "videoprism": "video", "siglip": "video",
    "point-transformer": "points", "patchtst": "series", "vit": "image",
}  # fmt: skip


def medium(name: str, seed: int, long: float = 1.0) -> Any:
    """One for this encoder, `long` times as long as usual."""
    rng, kind = np.random.default_rng(seed), KINDS[name]
    if kind == "audio":
        samples = rng.uniform(-1, 1, int(16_000 * LONG[name] * long)).astype(np.float32)
        return Audio(Sound(samples, 16_000))
    if kind == "video":
        count = round(8 * long)
        return Video(Clip(rng.integers(0, 255, (count, 20, 24, 3), np.uint8), np.arange(count) / 4))
    if kind == "points":
        return Points(Cloud(rng.normal(size=(int(40 * long), 3)).astype(np.float32)))
    if kind == "series":
        steps = int(18 * long)
        return Series(Signal(rng.normal(size=(3, steps)).astype(np.float32), np.arange(steps) / 50.0, ("x", "y", "z")))
    return noise(str(seed))


def sense(name: str, folder: Path, connector: str = "mlp", **options: Any) -> dict[str, Any]:
    """What `compose` is told of a tiny encoder."""
    torch.manual_seed(0)
    model = TINY[name].makes[0]()
    with torch.no_grad():
        for weight in model.parameters():  # large enough that answers vary with the medium
            weight.add_(torch.randn_like(weight) * 0.2)
    part = TINY[name].save(model, folder / name)
    if name == "siglip":
        SiglipImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(part)
    size = 1000 if name == "wav2vec2" else TINY[name].sizes[0]
    own = {"encoder": name, "connector": connector, "part": str(part), "size": size} | options
    return own | ({"frames": 2} if name == "siglip" else {})
