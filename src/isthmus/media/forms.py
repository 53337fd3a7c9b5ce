"""What media are once they are decoded; a picture is an ordinary RGB `PIL.Image`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image

from isthmus.errors import BadMedia
from isthmus.media import caps

Floats = npt.NDArray[np.float32]
Times = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sound:
    """Samples in [-1, 1] of one channel, float32 [T], at `rate` a second.

    Raises `BadMedia` for samples of another shape, none at all, or ones that are not finite; louder ones are clipped.
    """

    samples: Floats
    rate: int

    def __post_init__(self) -> None:
        samples = _array(self.samples, np.float32, 1, "samples of a sound are [T]")
        if not len(samples):
            raise BadMedia("0 samples of sound: there is nothing to hear")
        caps.check_rate(self.rate)
        if not np.isfinite(samples).all():
            raise BadMedia(f"sample {np.flatnonzero(~np.isfinite(samples))[0]:,} of the sound is NaN or infinite")
        if max(samples.max(), -samples.min()) > 1:
            samples = samples.clip(-1, 1)
        object.__setattr__(self, "samples", samples)

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.samples) / self.rate

    def resampled(self, rate: int) -> Sound:
        """The same sound at another rate: SoX's band-limited resampler in its high quality. Raises `BadMedia`."""
        import soxr

        caps.check_rate(rate)
        if rate == self.rate:
            return self
        samples = soxr.resample(self.samples, self.rate, rate, quality="HQ")
        return Sound(samples if len(samples) else self.samples[:1], rate)


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames uint8 [T, H, W, 3] at `times` float64 [T] seconds, in order, and the sound from second 0, if there is any.

    Raises `BadMedia` for other shapes, no frames, or times that are not finite or run backwards.
    """

    frames: npt.NDArray[np.uint8]
    times: Times
    sound: Sound | None = None

    def __post_init__(self) -> None:
        times = _array(self.times, np.float64, 1, "times of a clip are [T]")
        if self.frames.dtype != np.uint8 or self.frames.ndim != 4 or self.frames.shape[3] != 3:
            raise BadMedia(f"frames are uint8 [T, H, W, 3], not {self.frames.dtype} {list(self.frames.shape)}")
        if not self.frames.size or len(times) != len(self.frames):
            raise BadMedia(f"a clip of {len(self.frames)} frames at {len(times)} times; at least one of each is needed")
        _in_order(times)
        object.__setattr__(self, "times", times)


@dataclass(frozen=True, eq=False)
class Cloud:
    """Points xyz float32 [N, 3] in the file's unit, colours float32 [N, 3] in 0..1, normals float32 [N, 3].

    `origin` is what was taken off the coordinates, so that float32 holds them exactly enough (maps count metres from
    afar). Raises `BadMedia` for other shapes, no points, or a coordinate that is NaN or infinite.
    """

    xyz: Floats
    colours: Floats | None = None
    normals: Floats | None = None
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        for name in ("xyz", "colours", "normals"):
            if (given := getattr(self, name)) is None:
                continue
            array = _array(given, np.float32, 2, f"{name} of points are [N, 3]")
            if array.shape != (len(self.xyz), 3):
                raise BadMedia(f"{name} of {len(self.xyz):,} points are [{len(self.xyz)}, 3], not {list(array.shape)}")
            if not np.isfinite(array).all():
                where = np.flatnonzero(~np.isfinite(array).all(axis=1))[0]
                raise BadMedia(f"point {where:,}: its {name} hold NaN or an infinite value")
            object.__setattr__(self, name, array)
        caps.check_points(len(self.xyz))
        if self.colours is not None:
            object.__setattr__(self, "colours", self.colours.clip(0, 1))


@dataclass(frozen=True, eq=False)
class Signal:
    """Values float32 [C, T] of C channels called `names` at `times` float64 [T] in seconds; NaN is a missing value.

    Where nobody said times or a rate, the times stand at one a second and are not `timed`.

    Raises `BadMedia` for other shapes, nothing in it, an infinite value, or times that are not finite or run backwards.
    """

    values: Floats
    times: Times
    names: tuple[str, ...]
    timed: bool = True

    def __post_init__(self) -> None:
        values = _array(self.values, np.float32, 2, "values of a series are [C, T]")
        times = _array(self.times, np.float64, 1, "times of a series are [T]")
        caps.check_values(*values.shape)
        if values.shape != (len(self.names), len(times)):
            raise BadMedia(f"values {list(values.shape)} for {len(self.names)} names and {len(times):,} times")
        if np.isinf(values).any():
            channel, row = np.argwhere(np.isinf(values))[0]
            raise BadMedia(f"{self.names[channel]}: value {row:,} is infinite in float32. Leave it empty if missing")
        _in_order(times)
        for name, value in (("values", values), ("times", times), ("names", tuple(self.names))):
            object.__setattr__(self, name, value)

    @property
    def rate(self) -> float:
        """Samples a second: one over the median step between two times. Raises `BadMedia` when there is no step."""
        steps = np.diff(self.times)
        if not (steps > 0).any():
            raise BadMedia(
                "the series has no two different times, so it has no rate. Give it more rows, or a rate: even(rate=...)"
            )
        return float(1 / np.median(steps[steps > 0]))

    def even(self, rate: float | None = None) -> Signal:
        """The series on an even grid of `rate` samples a second (by default its own rate), from its first time on.

        Linear between a channel's neighbouring values; NaN before its first and after its last. Raises `BadMedia` for a
        rate that is not above 0 or a grid over the caps.
        """
        rate = self.rate if rate is None else rate
        if not 0 < rate < np.inf:
            raise BadMedia(f"{rate} samples a second; a rate is above 0")
        steps = np.floor((self.times[-1] - self.times[0]) * rate * (1 + 1e-9) + 1e-6)
        caps.check_values(len(self.names), int(min(steps, 2**62)) + 1)
        grid = np.minimum(self.times[0] + np.arange(int(steps) + 1) / rate, self.times[-1])  # rounding may pass the end
        values = np.full((len(self.names), len(grid)), np.nan, np.float32)
        for row, channel in zip(values, self.values, strict=True):
            known = ~np.isnan(channel)
            if known.any():
                row[:] = np.interp(grid, self.times[known], channel[known], np.nan, np.nan)
        return Signal(values, grid, self.names)


Decoded = PIL.Image.Image | Sound | Clip | Cloud | Signal


def key(decoded: Decoded | npt.NDArray[Any]) -> bytes:
    """What makes two decoded media the same to an encoder: a hash over form, shapes, types and every byte."""
    digest = hashlib.sha256()
    if isinstance(decoded, PIL.Image.Image):
        digest.update(f"{decoded.mode}/{decoded.size}/".encode() + decoded.tobytes())
    elif isinstance(decoded, np.ndarray):
        digest.update(f"{decoded.dtype}/{decoded.shape}/".encode() + decoded.tobytes())
    else:
        _digest(decoded, digest)
    return digest.digest()[:16]


def _digest(form: Any, digest: Any) -> None:
    digest.update(f"{type(form).__name__}/".encode())
    for field in fields(form):
        value = getattr(form, field.name)
        if isinstance(value, np.ndarray):
            digest.update(f"{field.name}/{value.dtype}/{value.shape}/".encode() + value.tobytes())
        elif isinstance(value, Sound):
            _digest(value, digest)
        else:
            digest.update(f"{field.name}/{value!r}/".encode())


def _array(value: Any, dtype: Any, dimensions: int, what: str) -> Any:
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # too large for float32 is infinite, which is an error below
            array = np.ascontiguousarray(value, dtype)
    except (TypeError, ValueError) as error:
        raise BadMedia(f"{what} numbers, not {type(value).__name__}") from error
    if array.ndim != dimensions:
        raise BadMedia(f"{what}, not {list(array.shape)}")
    return array


def _in_order(times: Times) -> None:
    if not np.isfinite(times).all():
        raise BadMedia(f"time {np.flatnonzero(~np.isfinite(times))[0]:,} is NaN or infinite")
    if (late := np.flatnonzero(np.diff(times) < 0)).size:
        before, after = times[late[0]], times[late[0] + 1]
        raise BadMedia(f"times run backwards: {after:.6g} after {before:.6g} at row {late[0] + 1:,}. Sort the rows")
