"""Packages that only some of what Isthmus does needs: extras, imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any

from isthmus.errors import PartUnavailable


def need(module: str, extra: str) -> Any:
    """A module of an extra. Raises `PartUnavailable` saying how to install it, when it is not there."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise PartUnavailable(f"{package} is needed for this: pip install 'isthmus[{extra}]'") from error
