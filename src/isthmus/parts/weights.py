"""A part's folder loaded by transformers: no hub, no foreign code, no pickles, and no weight left at random."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from isthmus.errors import PartUnavailable

SAFE = {"local_files_only": True, "trust_remote_code": False}  # no hub, no code that lies beside the weights


def pretrained(kind: Any, folder: Path, *, unused: Sequence[str] = (), **options: Any) -> Any:
    """The model of the transformers class `kind` whose weights lie in `folder` as safetensors, in fp32.

    `unused` weights may be missing, and are zeros then: features do not need them. `options` go to `from_pretrained`:
    what the class takes besides its configuration, `key_mapping` for a model that lies inside a larger one.

    Raises `PartUnavailable` when they cannot be read, do not fit, or do not fill the model: of a missing weight
    transformers says so in its log, and draws it at random.
    """
    try:
        with _unreported():
            model, info = kind.from_pretrained(
                folder, **SAFE, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **options
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise PartUnavailable(f"the part in {folder} cannot be loaded: {error}") from error
    for name in info["missing_keys"] & set(unused):
        torch.nn.init.zeros_(model.get_parameter(name))  # not what was drawn: the same part is the same model
    if missing := sorted(info["missing_keys"] - set(unused)):
        raise PartUnavailable(
            f"the part in {folder} does not fill a {type(model).__name__}: {len(missing)} of its weights are missing, "
            f"such as {missing[0]}. Is it a model of another kind?"
        )
    if "key_mapping" in options:  # transformers would turn it round when the model is saved, which it is not made for
        model.__dict__.pop("_weight_conversions", None)
    return model


@contextmanager
def _unreported() -> Iterator[None]:
    """Without transformers' table of weights that the model does not take: of a larger model, it names all the rest."""
    log = logging.getLogger("transformers.modeling_utils")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
