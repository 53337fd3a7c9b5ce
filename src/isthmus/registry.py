"""The file is the registry: a part is found by the name of the file that defines it."""

from __future__ import annotations

import ast
import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from isthmus.errors import UnknownName


def names(package: str) -> list[str]:
    """The public modules of a package, as the names users type (`vit_s` is typed `vit-s`).

    >>> "mlp" in names("isthmus.connectors")
    True
    """
    path = importlib.import_module(package).__path__
    found = (module.name for module in pkgutil.iter_modules(path))
    return sorted(name.replace("_", "-") for name in found if not name.startswith("_"))


def find(package: str, name: str) -> ModuleType:
    """The module of `package` called `name` (`visual_expert` is `visual-expert`).

    An unknown name raises `UnknownName` with the nearest.
    """
    known = names(package)
    if name.replace("_", "-") not in known:
        raise UnknownName(miss(package.rsplit(".", 1)[-1].removesuffix("s"), name, known))
    return importlib.import_module(f"{package}.{name.replace('-', '_')}")


def constants(package: str, name: str) -> dict[str, Any]:
    """What the file called `name` assigns to names in capitals, where these are literals.

    It is read and not imported: that would load a model library for a listing.

    >>> constants("isthmus.encoders", "clip")["SIZE"]
    336
    """
    (folder,) = importlib.import_module(package).__path__
    found = {}
    for node in ast.parse((Path(folder) / f"{name.replace('-', '_')}.py").read_text(encoding="utf-8")).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if value is not None and isinstance(target, ast.Name) and target.id.isupper():
            with suppress(ValueError):
                found[target.id] = ast.literal_eval(value)
    return found


def miss(what: str, name: str, known: Iterable[str]) -> str:
    """The sentence that answers a name which does not exist.

    >>> miss("connector", "mof_mlp", ["linear", "mlp"])
    "no connector 'mof_mlp'. Did you mean 'mlp'? Known: linear, mlp"
    """
    known = list(known)
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    return f"no {what} {name!r}.{guess} Known: {', '.join(known)}"
