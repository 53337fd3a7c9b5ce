"""Foreign code: a part or a checkpoint is weights and numbers. One that brings Python to be run is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

KEY = "auto_map"  # where transformers reads which classes to import from the folder or from a hub


def code(folder: Path) -> str | None:
    """What is wrong with `folder`: the configuration file that names code to be run, and what to do; None if none does.

    A file that cannot be read is left to whoever needs it.
    """
    for path in sorted(folder.glob("*config.json")):
        try:
            named = _names(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError):
            continue
        if named:
            return (
                f"{path} asks for Python code of its own to be run ({KEY}), and Isthmus runs none. If transformers"
                f" knows the architecture by itself, take {KEY} out of that file; otherwise choose another part"
            )
    return None


def _names(facts: Any) -> bool:
    if isinstance(facts, dict):
        return KEY in facts or any(map(_names, facts.values()))
    return isinstance(facts, list) and any(map(_names, facts))
