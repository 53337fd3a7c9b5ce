"""Pictures that are made worse, as ImageNet-C makes them.

Dan Hendrycks, Thomas Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
ICLR 2019, arXiv:1903.12261: what is done, and how strongly at each of five severities, for pictures of 224 pixels.
Lengths in pixels are scaled with the picture's side here, and blur of motion and fog are drawn otherwise, so figures
compare with each other and not with published ones.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageFilter

from isthmus.media import load
from isthmus.types import Image

Floats = npt.NDArray[np.float64]
Random = np.random.RandomState  # the same numbers in every version of numpy
SIDE = 224  # pixels of the pictures that the strengths were chosen for


@dataclass(frozen=True)
class Corrupted:
    """A picture that is made worse when it is looked at, each time in the same way."""

    image: Image
    kind: str
    severity: int

    def __call__(self) -> PIL.Image.Image:
        """The picture. Raises `BadMedia` for one that cannot be decoded."""
        return corrupted(load(self.image), self.kind, self.severity)


def corrupted(picture: PIL.Image.Image, kind: str, severity: int) -> PIL.Image.Image:
    """The picture made worse.

    Args:
        picture: RGB, of any size.
        kind: one of `KINDS`.
        severity: 1 to 5.
    """
    change, strengths = KINDS[kind]
    values_HWC = np.asarray(picture.convert("RGB"), float) / 255
    seed = zlib.crc32(f"{kind}/{severity}/".encode() + picture.tobytes())  # other noise on another picture
    found = change(values_HWC, strengths[severity - 1], Random(seed))
    return PIL.Image.fromarray((np.clip(found, 0, 1) * 255).round().astype(np.uint8))


def _gaussian(values: Floats, deviation: float, rng: Random) -> Floats:
    return values + rng.normal(0, deviation, values.shape)


def _shot(values: Floats, photons: float, rng: Random) -> Floats:
    """Each value counted in so many photons."""
    return rng.poisson(values * photons) / photons


def _blur(values: Floats, radius: float, rng: Random) -> Floats:
    del rng
    return _pixels(_picture(values).filter(PIL.ImageFilter.GaussianBlur(radius * _scale(values))))


def _motion(values: Floats, length: float, rng: Random) -> Floats:
    """Moved along a line at a random angle of at most 45 degrees, as long as told; edges are repeated."""
    angle, far = rng.uniform(-np.pi / 4, np.pi / 4), max(1.0, length * _scale(values))
    margin = int(np.ceil(far))
    padded = _picture(np.pad(values, ((margin, margin), (margin, margin), (0, 0)), "edge"))
    total = np.zeros(np.asarray(padded).shape)
    steps = np.linspace(-far / 2, far / 2, 2 * margin + 1)
    for step in steps:
        moved = (1, 0, step * np.cos(angle), 0, 1, step * np.sin(angle))
        total += _pixels(
            padded.transform(padded.size, PIL.Image.Transform.AFFINE, moved, PIL.Image.Resampling.BILINEAR)
        )
    found: Floats = (total / len(steps))[margin:-margin, margin:-margin]
    return found


def _brightness(values: Floats, more: float, rng: Random) -> Floats:
    """The value of hue, saturation and value, and with it all three colours."""
    del rng
    top = values.max(-1, keepdims=True)
    whole = np.clip(top + more, 0, 1)
    return np.asarray(np.where(top > 0, values * (whole / np.maximum(top, 1e-9)), whole))


def _contrast(values: Floats, share: float, rng: Random) -> Floats:
    del rng
    mean = values.mean((0, 1), keepdims=True)
    return np.asarray((values - mean) * share + mean)


def _fog(values: Floats, strength: float, rng: Random) -> Floats:
    """Clouds of noise of all sizes, each octave half as strong, over a picture that grows paler."""
    height, width = values.shape[:2]
    clouds = np.zeros((height, width))
    for octave in range(6):
        grain = PIL.Image.fromarray(rng.uniform(size=(2**octave + 1,) * 2).astype(np.float32))
        clouds += 0.5**octave * np.asarray(grain.resize((width, height), PIL.Image.Resampling.BICUBIC), float)
    clouds = (clouds - clouds.min()) / max(float(np.ptp(clouds)), 1e-9)
    most = values.max()
    return np.asarray((values + strength * clouds[..., None]) * most / (most + strength))


def _jpeg(values: Floats, quality: float, rng: Random) -> Floats:
    del rng
    _picture(values).save(file := io.BytesIO(), "JPEG", quality=int(quality))
    return _pixels(load(Image(file.getvalue())))


def _pixelate(values: Floats, share: float, rng: Random) -> Floats:
    """Of fewer pixels, each as large as its neighbours together."""
    del rng
    picture = _picture(values)
    few = (max(1, int(picture.width * share)), max(1, int(picture.height * share)))
    small = picture.resize(few, PIL.Image.Resampling.BOX)
    return _pixels(small.resize(picture.size, PIL.Image.Resampling.NEAREST))


def _picture(values: Floats) -> PIL.Image.Image:
    return PIL.Image.fromarray((np.clip(values, 0, 1) * 255).round().astype(np.uint8))


def _pixels(picture: PIL.Image.Image) -> Floats:
    return np.asarray(picture, float) / 255


def _scale(values: Floats) -> float:
    """The picture's side in sides of ImageNet's, for lengths."""
    height, width = values.shape[:2]
    return float(min(height, width)) / SIDE


Change = Callable[[Floats, float, Random], Floats]
KINDS: dict[str, tuple[Change, tuple[float, ...]]] = {  # what is done, and how strongly at severities 1 to 5
    "gaussian_noise": (_gaussian, (0.08, 0.12, 0.18, 0.26, 0.38)),
    "shot_noise": (_shot, (60, 25, 12, 5, 3)),
    "gaussian_blur": (_blur, (1, 2, 3, 4, 6)),
    "motion_blur": (_motion, (10, 15, 20, 25, 30)),
    "brightness": (_brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": (_contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
    "fog": (_fog, (1.5, 2.0, 2.5, 2.75, 3.0)),
    "jpeg": (_jpeg, (25, 18, 15, 10, 7)),
    "pixelate": (_pixelate, (0.6, 0.5, 0.4, 0.3, 0.25)),
}
