"""The commands that Isthmus prints for a person to paste: they run this very install, from the folder they stand in."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path


def command(*arguments: str) -> str:
    """A shell line that runs this install of Isthmus with these arguments, quoted where needed.

    It begins with `isthmus` only where the shell finds this install by that name, and else with the path of the
    running script (`.venv/bin/isthmus`), or of Python where it was started in another way.
    """
    return shlex.join([*_program(), *arguments])


def again() -> str:
    """The command that is running, once more with `--resume`."""
    return command(*sys.argv[1:], *([] if "--resume" in sys.argv else ["--resume"]))


def _program() -> list[str]:
    script = Path(sys.argv[0])
    if script.name != "isthmus" or not script.is_file():
        return [_from_here(sys.executable), "-m", "isthmus.cli"]
    found = shutil.which("isthmus")
    return ["isthmus"] if found and os.path.samefile(found, script) else [_from_here(script)]


def _from_here(path: str | Path) -> str:
    """Relative to the current folder where the path lies below it; links stay, since a venv's Python is one."""
    near = os.path.relpath(path)
    if near.startswith(os.pardir):
        return os.path.abspath(path)
    return near if os.sep in near else os.path.join(os.curdir, near)  # a shell looks for a bare name elsewhere
