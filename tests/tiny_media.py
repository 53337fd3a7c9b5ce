"""Tiny recipes for media of every kind: random parts, and real files made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import soundfile
import tiny_run
import torch
from tiny_encoders import TINY
from transformers import SiglipImageProcessorPil

WORDS = ("red", "blue", "cube", "ball", "dog", "cat")
SENSES: dict[str, dict[str, Any]] = {
    "image": {"encoder": "vit"},
    "audio": {"encoder": "whisper"},
    "video": {"encoder": "siglip", "frames": 2},
    "points": {"encoder": "point-transformer"},
    "series": {"encoder": "patchtst"},
}


def tone(number: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """A tone whose pitch is that of its number; not all are of one length."""
    time = np.arange(int(16_000 * rng.uniform(0.15, 0.3))) / 16_000
    return (0.5 * np.sin(2 * np.pi * 250 * 1.6**number * time)).astype(np.float32)


def cloud(number: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Points on one of six ellipsoids."""
    points = rng.normal(size=(60, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True) * np.array([1, 0.2 + number % 3, 0.2 + number // 3])


def write(kind: str, number: int, path: Path, rng: np.random.Generator) -> Path:
    """One medium that shows its number, in a file."""
    if kind == "image":
        PIL.Image.new("RGB", (20, 16), (40 * number, 255 - 40 * number, rng.integers(9))).save(
            path := path.with_suffix(".png")
        )
    elif kind == "audio":
        soundfile.write(path := path.with_suffix(".wav"), tone(number, rng), 16_000)
    elif kind == "video":
        frames = np.full((4, 16, 24, 3), (40 * number, 255 - 40 * number, rng.integers(9)), np.uint8)
        film(path := path.with_suffix(".mp4"), frames)
    elif kind == "points":
        lines = [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in cloud(number, rng)]
        (path := path.with_suffix(".obj")).write_text("\n".join(lines))
    else:
        time = np.arange(rng.integers(18, 23)) / 50
        rows = [f"{t:.2f},{np.sin((number + 1) * 9 * t):.4f},{number + t:.4f},{-number:.4f}" for t in time]
        (path := path.with_suffix(".csv")).write_text("time,x,y,z\n" + "\n".join(rows))
    return path


def film(path: Path, frames: npt.NDArray[np.uint8]) -> None:
    """Frames as an mp4."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode())


def captioned(folder: Path, *kinds: str, count: int = 18) -> Path:
    """Make `folder` and write captioned media of these kinds into it: six of a kind, one of each word, and so on."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for place in range(count):
        file = write(kinds[place // 6 % len(kinds)], place % 6, folder / f"{place}", rng)
        file.with_suffix(".txt").write_text(WORDS[place % 6])
    return folder


def facts(folder: Path, *kinds: str, connector: str = "mlp", count: int = 18) -> dict[str, Any]:
    """A recipe for these kinds of media, made in `folder`: a warm start, and a stage that also teaches the LLM."""
    llm, _ = tiny_run.parts(folder)
    model: dict[str, Any] = {"llm": str(llm)}
    for kind in kinds:
        name = SENSES[kind]["encoder"]
        torch.manual_seed(0)
        part = TINY[name].save(TINY[name].makes[0](), folder / name)
        if kind in ("image", "video"):
            SiglipImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(part)
        model[kind] = SENSES[kind] | {"connector": connector, "part": str(part), "size": TINY[name].sizes[0]}
    media = str(captioned(folder / "media", *kinds, count=count))
    common = {"data": {media: {}}, "warmup": 2}
    connectors = {f"{kind}.connector": 1e-2 for kind in kinds}
    first = {"name": "warm", "objective": "contrast", "train": connectors, "steps": 20, "batch": 8}
    second = {"name": "instruct", "train": connectors | {"llm": 1e-2}, "steps": 80, "batch": 6}
    held = {"held out": {"data": media, "split": "test"}}
    stages = [common | first, common | second] if connector != "gated-cross-attention" else [common | second]
    return {"name": "tiny", "model": model, "stages": stages, "evaluate": held}
