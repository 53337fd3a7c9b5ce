"""Read a GGUF file, checking every length it declares against the file's before it is used.

Format: the GGUF specification of ggml, versions 2 and 3, little-endian. The `gguf` package has a reader too; this one
exists because that one loops for ever on an array whose declared length the file does not hold, and is ten times
slower on a vocabulary. Dequantisation is left to the package.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import PartUnavailable
from isthmus.parts.mapped import mapped

_SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}  # field type -> struct's letter
_STRING, _ARRAY = 8, 9


class _CorruptError(ValueError):
    """A length or a type that cannot be."""


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies: `shape` is row-major as in torch, `start` and `size` are in bytes of the file."""

    shape: tuple[int, ...]
    kind: int
    start: int
    size: int


class Gguf:
    """The metadata `fields` and the `tensors` of a GGUF file, by name.

    Raises `PartUnavailable` if the file is truncated, corrupt or of an unknown version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._bytes = mapped(path)
        self._at = 0
        try:
            self.fields, self.tensors = self._header()
        except (_CorruptError, UnicodeDecodeError, RecursionError) as error:
            raise PartUnavailable(f"{path} is truncated or corrupt: {error}") from error

    def array(self, name: str) -> npt.NDArray[np.float32]:
        """The tensor called `name`, dequantised to float32, in its row-major shape."""
        import gguf

        tensor = self.tensors[name]
        kind = gguf.GGMLQuantizationType(tensor.kind)
        block, size = gguf.GGML_QUANT_SIZES[kind]
        raw = np.frombuffer(self._bytes, np.uint8, tensor.size, tensor.start)
        try:
            values = gguf.dequantize(raw.reshape(-1, tensor.shape[-1] // block * size), kind)
        except NotImplementedError as error:
            raise PartUnavailable(f"{self.path}: tensor {name}: {error}") from error
        return np.ascontiguousarray(values, dtype=np.float32).reshape(tensor.shape)

    def _header(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        if self._take(4) != b"GGUF":
            raise _CorruptError("it does not begin with GGUF")
        if (version := self._number("I")) not in (2, 3):
            raise _CorruptError(f"version {version} is not 2 or 3")
        tensors, pairs = self._number("Q"), self._number("Q")
        fields: dict[str, Any] = {}
        for _ in range(pairs):
            key = self._text()
            fields[key] = self._value(self._number("I"))
        headers = [self._tensor_header() for _ in range(tensors)]
        alignment = fields.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment <= 0:
            raise _CorruptError(f"alignment {alignment!r}")
        data = math.ceil(self._at / alignment) * alignment
        return fields, {name: self._place(name, tensor, data) for name, tensor in headers}

    def _tensor_header(self) -> tuple[str, Tensor]:
        name = self._text()
        shape = tuple(self._number("Q") for _ in range(self._number("I")))
        kind, start = self._number("I"), self._number("Q")
        return name, Tensor(shape[::-1], kind, start, 0)

    def _place(self, name: str, tensor: Tensor, data: int) -> Tensor:
        import gguf

        try:
            block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(tensor.kind)]
        except ValueError as error:
            raise _CorruptError(f"tensor {name} has the unknown type {tensor.kind}") from error
        count = math.prod(tensor.shape)
        if not tensor.shape or count == 0 or tensor.shape[-1] % block:
            raise _CorruptError(f"tensor {name} has the shape {tensor.shape} in blocks of {block}")
        start, length = data + tensor.start, count // block * size
        if start + length > len(self._bytes):
            raise _CorruptError(f"tensor {name} ends at byte {start + length:,}, the file at {len(self._bytes):,}")
        return Tensor(tensor.shape, tensor.kind, start, length)

    def _take(self, count: int) -> bytes:
        if count > len(self._bytes) - self._at:
            raise _CorruptError(f"{count:,} bytes are declared at byte {self._at:,}, the file has {len(self._bytes):,}")
        self._at += count
        return self._bytes[self._at - count : self._at]

    def _scalars(self, letter: str, count: int) -> tuple[Any, ...]:
        return struct.unpack(f"<{count}{letter}", self._take(count * struct.calcsize(f"<{letter}")))

    def _number(self, letter: str) -> int:
        return int(self._scalars(letter, 1)[0])

    def _text(self) -> str:
        return self._take(self._number("Q")).decode("utf-8")

    def _value(self, kind: int) -> Any:
        if letter := _SCALARS.get(kind):
            return self._scalars(letter, 1)[0]
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            raise _CorruptError(f"unknown field type {kind} at byte {self._at:,}")
        kind, count = self._number("I"), self._number("Q")
        if letter := _SCALARS.get(kind):
            return list(self._scalars(letter, count))
        return [self._value(kind) for _ in range(count)]
