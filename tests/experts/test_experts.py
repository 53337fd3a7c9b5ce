"""The contract that every expert in the folder keeps, on real media, and what is common to them."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import told_media
from hypothesis import given
from hypothesis import strategies as st

import isthmus.experts
from isthmus import Audio, Image, Points, Video, parts
from isthmus.errors import BadMedia, PartUnavailable, UnknownName
from isthmus.experts import Experts, Told, bounded, resolve
from isthmus.extras import need
from isthmus.media.forms import Clip, Sound
from isthmus.registry import constants, find, names
from isthmus.types import KINDS

NAMES = names("isthmus.experts")
BLACK = np.zeros((12, 72, 96, 3), np.uint8)
NOTHING: dict[str, Any] = {  # media in which nothing is said or written
    "audio": Audio(Sound(np.zeros(48_000, np.float32), 16_000)),
    "image": Image(lambda: told_media.page()),
    "video": Video(Clip(BLACK, np.arange(12) / 4)),
}


@pytest.mark.parametrize("name", NAMES)
def test_its_file_gives_what_callers_read(name: str) -> None:
    module, read = find("isthmus.experts", name), constants("isthmus.experts", name)
    assert read["ABOUT"]
    assert set(read["KINDS"]) <= set(KINDS)
    assert set(read.get("INCLUDES", ())) < set(NAMES)
    assert set(read.get("PARTS", ())) <= set(parts.known())
    assert {key: getattr(module, key) for key in read} == read
    assert all(wanted.default is not wanted.empty for wanted in inspect.signature(module.load).parameters.values())
    assert resolve(read["SHORT"]) == resolve(name) == resolve(name.replace("-", "_")) == name


def test_short_names_are_different() -> None:
    short = [constants("isthmus.experts", name)["SHORT"] for name in NAMES]
    assert len({*short, *NAMES}) == len({*short}) + len({*NAMES}) - sum(one in NAMES for one in short)
    assert len(set(short)) == len(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_tells_nothing_of_nothing_and_refuses_what_it_cannot_take(name: str) -> None:
    expert = find("isthmus.experts", name).load()
    for kind, medium in NOTHING.items():
        if kind in constants("isthmus.experts", name)["KINDS"]:
            assert expert(medium) == []
            with pytest.raises(BadMedia):
                expert(KINDS[kind](b"no medium of any kind"))
            with pytest.raises(BadMedia, match="nowhere"):
                expert(KINDS[kind]("nowhere.mp4"))
    with pytest.raises(BadMedia, match=f"{name} takes"):
        expert(Points(np.zeros((3, 3))))


def test_a_miss_knows_both_forms() -> None:
    with pytest.raises(
        UnknownName, match=r"no expert 'speach'. Did you mean 'speech'\? Known: ocr, speech, video, speech-to"
    ):
        Experts(["ocr", "speach"])


def test_an_expert_that_another_includes_is_not_asked_twice() -> None:
    every = Experts(["speech", "ocr", "video"])
    assert every.about("video") == ["video-to-text"]
    assert every.about("audio") == ["speech-to-text"]
    assert every.about("image") == ["ocr"]
    assert every.about("series") == []
    assert Experts(["ocr", "speech", "ocr"]).about("video") == ["ocr", "speech-to-text"]
    assert Experts([]).about("image") == []


@given(st.lists(st.text(max_size=900), max_size=150))
def test_what_is_told_is_bounded_and_says_so(texts: list[str]) -> None:
    told = [Told("text", text, float(k), float(k)) for k, text in enumerate(texts)]
    kept, note = bounded(told)
    assert len(kept) <= isthmus.experts.LINES
    assert sum(len(str(one)) + 1 for one in kept) <= isthmus.experts.CHARACTERS
    assert all(len(one.text) <= isthmus.experts.LONGEST for one in kept)
    assert [one.start for one in kept] == [one.start for one in told[: len(kept)]]
    assert (note == "") == (len(kept) == len(told))
    if note:
        assert note.startswith(f"{len(told) - len(kept)} of {len(told)} lines")


def test_a_missing_extra_is_named() -> None:
    with pytest.raises(PartUnavailable, match=r"rapidocr_that_is_not is needed for this: pip install 'isthmus\[ocr\]'"):
        need("rapidocr_that_is_not.main", "ocr")


KNOWN = ("experts", "extras", "media", "parts", "registry", "types", "errors")


def test_experts_know_no_model() -> None:
    """They stand before `data` and `model` in the layout (docs/design.md)."""
    for path in Path(isthmus.experts.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("isthmus."):
                assert node.module.split(".")[1] in KNOWN, path


def test_naming_experts_loads_no_library() -> None:
    code = "import sys, isthmus.experts as e; e.resolve('ocr'); print({'torch', 'rapidocr'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
