"""Read an ONNX graph: its weights by name, and which node makes or uses a value."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isthmus.errors import PartUnavailable

Array = npt.NDArray[Any]


class Onnx:
    """The graph of an ONNX file.

    Raises `PartUnavailable` if the file is truncated or corrupt, or if a weight does not lie in it whole.
    """

    def __init__(self, path: Path) -> None:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

        self.path = path
        try:
            # Weights in other files are refused below, so that a graph cannot make us read any path it names.
            model = onnx.load(str(path), load_external_data=False)
        except (DecodeError, ValueError) as error:
            raise PartUnavailable(f"{path} is truncated or corrupt: {error}") from error
        self.nodes: list[Any] = list(model.graph.node)
        if not self.nodes:
            raise PartUnavailable(f"{path} is truncated or corrupt: it holds no graph")
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        for tensor in self._weights.values():
            self._check(tensor)
        self._makers = {output: node for node in self.nodes for output in node.output}
        self._users: dict[str, list[Any]] = {}
        for node in self.nodes:
            for value in node.input:
                self._users.setdefault(value, []).append(node)

    @property
    def names(self) -> list[str]:
        """The names of the weights."""
        return list(self._weights)

    def array(self, name: str) -> Array:
        """The weight called `name`."""
        from onnx import numpy_helper

        array: Array = numpy_helper.to_array(self._weights[name])
        return array

    def users(self, value: str, kind: str) -> list[Any]:
        """The nodes of operator `kind` that take `value`."""
        return [node for node in self._users.get(value, []) if node.op_type == kind]

    def origin(self, value: str) -> str | None:
        """The weight that `value` comes from, following first inputs back; None if there is none."""
        for _ in self.nodes:  # a graph has no cycles, but a corrupt one may
            if value in self._weights:
                return value
            if value not in self._makers or not self._makers[value].input:
                return None
            value = self._makers[value].input[0]
        return None

    def _check(self, tensor: Any) -> None:
        import onnx

        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise PartUnavailable(f"{self.path}: the weight {tensor.name} lies in another file, which is not read")
        if tensor.HasField("raw_data"):
            size = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
            declared = math.prod(tensor.dims) * size
            if declared != len(tensor.raw_data):
                raise PartUnavailable(
                    f"{self.path} is truncated or corrupt: the weight {tensor.name} declares {declared:,} bytes "
                    f"and holds {len(tensor.raw_data):,}"
                )
