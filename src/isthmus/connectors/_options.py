"""What a connector's own options are: whatever its `Connector` takes after the three sizes."""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

from isthmus.registry import find

SIZES = ("self", "features", "width", "llm_width")  # these follow from the parts; nobody chooses them


def options(name: str) -> dict[str, tuple[Any, Any]]:
    """Option -> (type, default) of the connector `name`, as its signature declares them; `...` where one is needed.

    Raises `UnknownName` for a connector that does not exist.

    >>> list(options("mlp"))
    ['tokens', 'hidden']
    """
    build = find("isthmus.connectors", name).Connector.__init__
    hints = get_type_hints(build, include_extras=True)
    return {
        key: (hints.get(key, Any), ... if known.default is known.empty else known.default)
        for key, known in inspect.signature(build).parameters.items()
        if key not in SIZES and known.kind not in (known.VAR_POSITIONAL, known.VAR_KEYWORD)
    }
