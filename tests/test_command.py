"""The commands that are printed run this install: by name where the shell finds it, else by path."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from isthmus.command import command


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The script that `make demo` installs, running; the shell knows no other."""
    path = tmp_path / "here/.venv/bin/isthmus"
    path.parent.mkdir(parents=True)
    path.touch(0o755)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "argv", [str(path), "demo"])
    monkeypatch.setenv("PATH", os.devnull)
    return path


def test_a_script_that_is_not_on_the_path_is_named_by_its_own(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command("chat", "What is this?") == ".venv/bin/isthmus chat 'What is this?'"
    monkeypatch.chdir(script.parent)
    assert command("parts") == "./isthmus parts"
    (elsewhere := script.parents[3] / "else where").mkdir()
    monkeypatch.chdir(elsewhere)
    assert command("parts") == f"{script} parts"


def test_the_bare_name_is_for_this_very_install(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "bin/isthmus"
    other.parent.mkdir()
    other.touch(0o755)
    monkeypatch.setenv("PATH", str(other.parent))
    assert command("parts") == ".venv/bin/isthmus parts"
    other.unlink()
    other.symlink_to(script)
    assert command("parts") == "isthmus parts"


def test_another_way_in_is_named_by_its_python(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/isthmus/cli.py"])
    monkeypatch.setattr(sys, "executable", str(script.with_name("python")))
    assert command("parts") == ".venv/bin/python -m isthmus.cli parts"
