from __future__ import annotations

import gzip
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.errors import PartUnavailable
from isthmus.parts.converters import hapt_pickle

ROWS = 5


def text(words: str) -> bytes:
    return b"X" + len(words.encode()).to_bytes(4, "little") + words.encode()


def call(module: str, name: str, arguments: bytes) -> bytes:
    return f"c{module}\n{name}\n".encode() + b"(" + arguments + b"tR"


def number(value: int) -> bytes:
    return f"I{value}\n".encode()


def array(values: np.ndarray) -> bytes:
    """An array as NumPy of Python 3 writes it in protocol 2."""
    kind = call("numpy", "dtype", text(values.dtype.str[1:]) + b"I0\nI1\n") + b"(I3\n" + text("<") + b"tb"
    data = call("_codecs", "encode", text(values.tobytes("F").decode("latin-1")) + text("latin1"))
    made = call("numpy.core.multiarray", "_reconstruct", b"cnumpy\nndarray\n(I0\nt" + text("b"))
    shape = b"(" + b"".join(number(side) for side in values.shape) + b"t"
    return made + b"(I1\n" + shape + kind + b"I01\n" + data + b"tb"


def index(names: list[str]) -> bytes:
    made = call("numpy.core.multiarray", "_reconstruct", b"cnumpy\nndarray\n(I0\nt" + text("b"))
    held = made + b"(I1\n(" + number(len(names)) + b"tNI00\n(" + b"".join(map(text, names)) + b"ltb"
    return call(
        "pandas.core.indexes.base", "_new_Index", b"cpandas.core.indexes.base\nIndex\n(" + text("data") + held + b"d"
    )


def frame(values: np.ndarray, labels: np.ndarray) -> bytes:
    """A frame of pandas 1.0: six columns of floats and two of whole numbers."""
    new = lambda module, name: call(
        "copy_reg", "_reconstructor", f"c{module}\n{name}\nc__builtin__\nobject\nN".encode()
    )
    blocks = b"(" + array(values) + array(np.stack([labels * 0, labels])) + b"l"
    names = b"(" + index(list(hapt_pickle.CHANNELS)) + index(["sequence", "label"]) + b"l"
    manager = new("pandas.core.internals.managers", "BlockManager") + b"(N" + blocks + names + b"(dtb"
    return new("pandas.core.frame", "DataFrame") + b"(" + text("_data") + manager + b"db"


def convert(tmp_path: Path, data: bytes) -> Path:
    (tmp_path / "HAPT.pkl.gz").write_bytes(data)
    (tmp_path / "part").mkdir()
    hapt_pickle.convert(tmp_path / "HAPT.pkl.gz", tmp_path / "part", lambda done: None)
    return tmp_path / "part"


def pickled(values: Any, labels: Any) -> bytes:
    return b"\x80\x02(I3\n(" + frame(values, labels) + frame(values + 1, labels) + b"ld."


def test_frames_become_arrays(tmp_path: Path) -> None:
    values = np.arange(6.0 * ROWS).reshape(6, ROWS)
    labels = np.array([-1, 1, 1, 12, 5])
    folder = convert(tmp_path, gzip.compress(pickled(values, labels)))
    assert sorted(file.name for file in folder.iterdir()) == [
        "03-0-labels.npy",
        "03-0.npy",
        "03-1-labels.npy",
        "03-1.npy",
    ]
    np.testing.assert_array_equal(np.load(folder / "03-0.npy"), values.astype(np.float32), strict=True)
    np.testing.assert_array_equal(np.load(folder / "03-1.npy"), (values + 1).astype(np.float32), strict=True)
    np.testing.assert_array_equal(np.load(folder / "03-1-labels.npy"), labels.astype(np.int8), strict=True)


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("false",)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (pickle.dumps(Evil(), 2), "names posix.system, which is not called"),
        (pickle.dumps(Evil(), 4), "names posix.system, which is not called"),
        (b"cbuiltins\neval\n(" + text("1") + b"tR.", "names builtins.eval, which is not called"),
        (b"cnumpy\nload\n(" + text("x") + b"tR.", "names numpy.load, which is not called"),
        (pickle.dumps({1: [2]}), "damaged or holds something else"),
        (pickle.dumps([1]), "damaged or holds something else"),
        (pickled(np.zeros((5, ROWS)), np.zeros(ROWS, int)), "damaged or holds something else"),
        (
            pickled(np.zeros((6, ROWS), np.complex128), np.zeros(ROWS, int)),
            "an array of <c16, where numbers are expected",
        ),
    ],
)
def test_nothing_else_is_called_or_taken(data: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(PartUnavailable, match=says):
        convert(tmp_path, gzip.compress(data))


def test_damage_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gzip.compress(pickled(np.zeros((6, ROWS)), np.zeros(ROWS, int)))
    for number_, data in enumerate(
        (whole[: len(whole) // 2], b"", b"no gzip", gzip.compress(gzip.decompress(whole)[:300]))
    ):
        (place := tmp_path / f"{number_}").mkdir()
        with pytest.raises(PartUnavailable, match="damaged or holds something else"):
            convert(place, data)
    monkeypatch.setattr(hapt_pickle, "_LARGEST", 100)
    with pytest.raises(PartUnavailable, match="unpacks to more than 100 bytes"):
        convert(tmp_path, whole)
