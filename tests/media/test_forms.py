"""Decoded media, and what `load` is given."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import PIL.Image
import pytest
from media_files import RATE, SINE

import isthmus
from isthmus.errors import BadMedia
from isthmus.media import load
from isthmus.media.forms import Clip, Cloud, Decoded, Signal, Sound, key
from isthmus.types import Audio, Image, Medium, Points, Series, Video

ONES = np.ones((2, 3, 4, 3), np.uint8)
XYZ = np.arange(12).reshape(4, 3)

DIFFERENT: list[Decoded] = [
    PIL.Image.new("RGB", (2, 3)),
    PIL.Image.new("RGB", (3, 2)),
    PIL.Image.new("L", (6, 3)),
    Sound(SINE, RATE),
    Sound(SINE, RATE * 2),
    Sound(-SINE, RATE),
    Clip(ONES, np.arange(2)),
    Clip(ONES.reshape(2, 4, 3, 3), np.arange(2)),
    Clip(ONES, np.arange(2) / 2),
    Clip(ONES, np.arange(2), Sound(SINE, RATE)),
    Cloud(XYZ),
    Cloud(XYZ, colours=np.zeros((4, 3))),
    Cloud(XYZ, normals=np.zeros((4, 3))),
    Cloud(XYZ, origin=(1.0, 0.0, 0.0)),
    Signal(XYZ, np.arange(3), tuple("abcd")),
    Signal(XYZ, np.arange(3), tuple("abce")),
    Signal(XYZ.reshape(3, 4), np.arange(4), tuple("abc")),
]


def test_keys_tell_apart_what_is_different() -> None:
    assert len({key(form) for form in DIFFERENT}) == len(DIFFERENT)
    for form in DIFFERENT:
        copy = form.copy() if isinstance(form, PIL.Image.Image) else dataclasses.replace(form)
        assert key(copy) == key(form)
        assert len(key(form)) == 16


@pytest.mark.parametrize("kind", [Image, Audio, Video, Points, Series])
def test_media_are_values(kind: type[Medium]) -> None:
    medium = kind("a.bin")
    assert medium == kind("a.bin") == pickle.loads(pickle.dumps(medium))
    assert len({medium, kind("a.bin"), kind("b.bin")}) == 2
    assert medium.kind == kind.__name__.lower()
    assert getattr(isthmus, kind.__name__) is kind
    with pytest.raises(BadMedia, match=r"a\.bin: no such file"):
        load(medium)
    with pytest.raises(BadMedia, match="not int"):
        load(kind(3))  # type: ignore[arg-type]


def test_what_is_no_medium() -> None:
    with pytest.raises(BadMedia, match="a medium is an Image, Audio, Video, Points or Series, not str"):
        load("a.png")  # type: ignore[call-overload]
