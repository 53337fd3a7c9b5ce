"""NumPy's own files, of numbers only: no objects, no pickles."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.lib.format
import numpy.typing as npt

from isthmus.errors import BadMedia

MAGIC = b"\x93NUMPY"


def read(data: bytes, check_shape: Callable[[tuple[int, ...]], None]) -> npt.NDArray[Any]:
    """The array in a NPY file, in its shape and type; `check_shape` may refuse what the header declares.

    Raises `BadMedia` for a file that is damaged, holds less than it declares, or anything but real numbers.
    """
    file = io.BytesIO(data)
    try:
        version = numpy.lib.format.read_magic(file)
        header = {(1, 0): numpy.lib.format.read_array_header_1_0, (2, 0): numpy.lib.format.read_array_header_2_0}[
            version
        ]
        shape, columns_first, dtype = header(file)
    except Exception as error:  # its header is a Python literal, so almost anything can be wrong with it
        raise BadMedia("damaged, its header cannot be read as a NPY file's") from error
    if not all(type(side) is int and side >= 0 for side in shape):
        raise BadMedia(f"damaged, its header declares the shape {shape}")
    if dtype.kind not in "iuf":
        raise BadMedia(f"an array of {dtype}; only integers and floats are read")
    check_shape(shape)
    wanted, held = math.prod(shape) * dtype.itemsize, len(data) - file.tell()
    if wanted > held:
        raise BadMedia(f"its header declares {wanted:,} bytes of numbers and the file holds {held:,}. Write it again")
    flat = np.frombuffer(data, dtype, math.prod(shape), file.tell())
    return flat.reshape(shape, order="F" if columns_first else "C")
