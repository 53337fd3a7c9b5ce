"""The gzipped pickle of pandas frames that HAPT lies in -> NumPy files, without pandas and without its constructors.

HAPT (Reyes-Ortiz et al., "Transition-aware human activity recognition using smartphones", Neurocomputing 171, 2016).
A pickle may call whatever it names. This one may name the twelve things of `_STAND_INS` alone, each of which stands for
a constructor of NumPy's or pandas' and does no more than keep what it is given; arrays are then made of their bytes.
"""

from __future__ import annotations

import gzip
import io
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import PartUnavailable
from isthmus.parts.progress import Tick

VERSION = 1

Array = npt.NDArray[Any]
CHANNELS = ("acc-x", "acc-y", "acc-z", "gyro-x", "gyro-y", "gyro-z")
_TYPES = ("<f8", "<i8")
_DAMAGE = (pickle.UnpicklingError, AttributeError, IndexError, KeyError, TypeError, ValueError)  # as `pickle` documents
_LARGEST = 500_000_000  # bytes that it may unpack to; five times what it does


class _Held:
    """What stands for an object: its state, as the pickle gives it."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Type(_Held):
    """What stands for `numpy.dtype("f8", ...)`; its state holds the byte order."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code = code


_STAND_INS: dict[str, Callable[..., Any]] = {
    "copy_reg._reconstructor": lambda *_: _Held(),
    "__builtin__.object": _Held,
    "__builtin__.slice": lambda *ends: ends,
    "_codecs.encode": lambda text, _: text.encode("latin-1"),
    "numpy.dtype": _Type,
    "numpy.ndarray": _Held,
    "numpy.core.multiarray._reconstruct": lambda *_: _Held(),
    "pandas.core.frame.DataFrame": _Held,
    "pandas.core.internals.managers.BlockManager": _Held,
    "pandas.core.indexes.base.Index": _Held,
    "pandas.core.indexes.base._new_Index": lambda _, facts: facts,
    "pandas.core.indexes.range.RangeIndex": _Held,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (known := _STAND_INS.get(f"{module}.{name}")) is None:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not called")
        return known


def convert(source: Path, target: Path, tick: Tick) -> None:
    """Write two files for each recording: `01-0.npy`, float32 [6, T], and `01-0-labels.npy`, int8 [T].

    The first number is the person's, the second counts the person's recordings. Values are accelerations in g and
    turning in rad/s along x, y and z, 50 times a second. Labels are 1 to 12, or -1 for none.

    Raises `PartUnavailable` if the file is damaged, names anything else or holds other tables.
    """
    try:
        with gzip.open(source) as file:
            if len(data := file.read(_LARGEST + 1)) > _LARGEST:
                raise PartUnavailable(f"{source} unpacks to more than {_LARGEST:,} bytes")
        tables = {
            f"{person:02}-{index}": _columns(frame)
            for person, frames in _Unpickler(io.BytesIO(data)).load().items()
            for index, frame in enumerate(frames)
        }
        for name, columns in tables.items():
            values = np.stack([columns[key] for key in CHANNELS]).astype(np.float32)
            np.save(target / f"{name}.npy", values, allow_pickle=False)
            np.save(target / f"{name}-labels.npy", columns["label"].astype(np.int8), allow_pickle=False)
    except (*_DAMAGE, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise PartUnavailable(f"{source} is damaged or holds something else: {error}") from error
    tick(sum(file.stat().st_size for file in target.glob("*.npy")))


def _columns(frame: _Held) -> dict[str, Array]:
    """A frame's columns by name: its manager holds blocks [columns, rows] of one type each, and their names."""
    _, blocks, names, _ = frame.state["_data"].state
    found: dict[str, Array] = {}
    for block, its in zip(blocks, names, strict=True):
        found |= dict(zip(its["data"].state[4], _array(block), strict=True))
    return found


def _array(held: _Held) -> Array:
    """The array of numbers in the state of what stands for a `numpy.ndarray`."""
    _, shape, kind, columns_first, data = held.state
    name = f"{kind.state[1]}{kind.code}"
    if name not in _TYPES:
        raise pickle.UnpicklingError(f"an array of {name}, where numbers are expected")
    return np.frombuffer(data, name).reshape(shape, order="F" if columns_first else "C")
