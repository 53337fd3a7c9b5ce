"""One file for each format of released checkpoints: a transformers folder -> a composed model.

A file is named after the `model_type` in the folder's config.json (`isthmus.registry` finds it) and gives ABOUT and
`read(folder)`, which loads the original with its transformers class (that knows older layouts of the keys) and moves
its modules over. Nothing but safetensors is read, and no code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.errors import PartUnavailable
from isthmus.parts import foreign
from isthmus.registry import find

if TYPE_CHECKING:
    from isthmus.model.importers._parts import Imported


def read(source: str | Path) -> Imported:
    """The composed model and processor of the released checkpoint in a local folder.

    Raises:
        UnknownName: for a format without an importer.
        PartUnavailable: for a folder without safetensors, with code of its own, or with what cannot be expressed here.
    """
    folder = Path(source).expanduser()
    try:
        if not isinstance(kind := json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"], str):
            raise TypeError(kind)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PartUnavailable(f"{folder} is no checkpoint: config.json is missing or names no model_type") from error
    if wrong := foreign.code(folder):
        raise PartUnavailable(wrong)
    if not any(folder.glob("*.safetensors")):
        raise PartUnavailable(
            f"{folder} holds no safetensors. Other files, such as pytorch_model.bin, can run code when they are read, "
            "so they are not; save the model as safetensors with transformers where you trust it"
        )
    return find("isthmus.model.importers", kind).read(folder)  # type: ignore[no-any-return]
