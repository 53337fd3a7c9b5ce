"""What a connector's own options are: whatever its `Connector` takes after the three sizes."""

from __future__ import annotations

from typing import Any

from isthmus.options import declared
from isthmus.registry import find

SIZES = ("self", "grid", "width", "llm_width")  # these follow from the parts; nobody chooses them


def options(name: str) -> dict[str, tuple[Any, Any]]:
    """Option -> (type, default) of the connector `name`, as `isthmus.options.declared` gives them.

    Raises `UnknownName` for a connector that does not exist.

    >>> list(options("mlp"))
    ['tokens', 'hidden', 'pool', 'time', 'span']
    """
    return declared(find("isthmus.connectors", name).Connector.__init__, SIZES)
