"""One file for each format that other programs read: a composed model -> a folder.

A file is named after what users type (`isthmus.registry` finds it) and gives ABOUT, LOADS (what
reads the result, and how) and `write(model, processor, folder)` into a folder that exists. What the format cannot
express is refused with the reason, before anything is written.
"""

from __future__ import annotations

import copy
import errno
from pathlib import Path
from typing import Any

from isthmus.errors import IsthmusError
from isthmus.parts import cache
from isthmus.registry import find


def write(model: Any, processor: Any, to: str, out: str | Path) -> None:
    """Write a model in the format `to`, adapters merged; the model itself stays as it is.

    Raises:
        UnknownName: for a format without an exporter.
        IsthmusError: for a model that the format cannot express, a folder that holds something, or a full disk.
    """
    from isthmus.model import merge_lora, quantize

    exporter, folder = find("isthmus.model.exporters", to), Path(out).expanduser().absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise IsthmusError(f"{folder} holds something. Name a folder that is new or empty.")
    quantize.refuse(model.config, f"an export to {to}")
    if model.config.beside:
        kinds = ", ".join(model.config.beside["kinds"])
        raise IsthmusError(f"{to} cannot hold an adapter that works for some media ({kinds}) and not for others")
    merge_lora(model := copy.deepcopy(model))
    try:
        with cache.scratch(folder.with_name(f".writing-{folder.name}")) as scratch:
            (new := scratch / folder.name).mkdir()
            exporter.write(model, processor, new)
            cache.publish(new, folder)
    except OSError as error:
        full = cache.disk_full(error)
        error = OSError(errno.ENOSPC, "the disk is full") if full else error
        raise IsthmusError(f"{folder} was not written: {error}") from error
