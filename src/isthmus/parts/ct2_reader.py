"""Read a model in CTranslate2's binary format, checking every length it declares against the file's before it is used.

Format: CTranslate2's `python/ctranslate2/specs/model_spec.py` (`_serialize`), versions 4 to 6, little-endian: the name
of its kind, its revision, variables (name, shape, type, bytes), then aliases (name, the variable it stands for).
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import PartUnavailable
from isthmus.parts.mapped import mapped

Array = npt.NDArray[Any]

_TYPES = dict(enumerate(("<f4", "i1", "<i2", "<i4", "<f2")))  # bfloat16 is the sixth, which NumPy does not know

_MAX_RANK = 8  # of a variable; the format has room for 255, NumPy has not


class _CorruptError(ValueError):
    """A length or a type that cannot be."""


class Ct2:
    """The `kind` of a model ("WhisperSpec"), its `variables` and its `aliases`, by name.

    Raises `PartUnavailable` if the file is truncated, corrupt, of an unknown version or holds an unknown type.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._bytes = mapped(path)
        self._at = 0
        self.variables: dict[str, Array] = {}
        try:
            if (version := self._number("I")) not in (4, 5, 6):
                raise _CorruptError(f"version {version} is not 4 to 6")
            self.kind, self.revision = self._text(), self._number("I")
            for _ in range(self._number("I")):
                name = self._text()
                self.variables[name] = self._array(name)
            self.aliases = {self._text(): self._text() for _ in range(self._number("I"))}
        except (_CorruptError, UnicodeDecodeError) as error:
            raise PartUnavailable(f"{path} is truncated or corrupt: {error}") from error

    def _array(self, name: str) -> Array:
        shape = [self._number("I") for _ in range(self._number("B"))]
        kind, size = self._number("B"), self._number("I")
        if kind not in _TYPES:
            raise _CorruptError(f"variable {name} has the unknown type {kind}")
        dtype = np.dtype(_TYPES[kind])
        if len(shape) > _MAX_RANK or not size or math.prod(shape) * dtype.itemsize != size:
            raise _CorruptError(f"variable {name} has the shape {shape} of {dtype} in {size:,} bytes")
        start = self._skip(size)
        return np.frombuffer(self._bytes, dtype, math.prod(shape), start).reshape(shape)

    def _skip(self, count: int) -> int:
        """Where the next `count` bytes begin."""
        if count > len(self._bytes) - self._at:
            raise _CorruptError(f"{count:,} bytes are declared at byte {self._at:,}, the file has {len(self._bytes):,}")
        self._at += count
        return self._at - count

    def _number(self, letter: str) -> int:
        form = f"<{letter}"
        return int(struct.unpack_from(form, self._bytes, self._skip(struct.calcsize(form)))[0])

    def _text(self) -> str:
        """Its length with the NUL at its end goes before it."""
        size = self._number("H")
        start = self._skip(size)
        return self._bytes[start : start + size].removesuffix(b"\0").decode("utf-8")
