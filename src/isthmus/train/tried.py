"""Media that every step encodes anew are decoded once before: a damaged one is left out, as where features are kept."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Sequence
from typing import Any

from rich.console import Console
from rich.progress import track

from isthmus.errors import BadMedia
from isthmus.media import load
from isthmus.media.forms import key
from isthmus.types import Medium, Sample


def tried(
    processor: Any, samples: Sequence[Sample], kinds: Collection[str], bad: dict[int, str], console: Console | None
) -> str:
    """A digest of the samples' media of these kinds; it changes with any of them.

    Places of samples with a medium that cannot be decoded, or that its encoder does not take, go to `bad` with reasons,
    and those that are there already are passed over. Media that a data set makes are described in full, and not made.
    """
    digest = hashlib.sha256()
    shown = track(samples, f"{'media':>12}", total=len(samples), disable=len(samples) < 128, console=console)
    for place, sample in enumerate(shown):
        try:
            if place not in bad:
                found = [stands_for(medium, processor) for medium in sample.media if medium.kind in kinds]
                digest.update(repr(found).encode())
        except BadMedia as error:
            bad[place] = f"sample {sample.id}: {error}"
    return digest.hexdigest()


def stands_for(medium: Medium, processor: Any = None) -> str | list[bytes]:
    """A made medium's description, or a hash of what is decoded of another: all of it, or what a `processor` takes.

    Raises `BadMedia` for a medium that cannot be decoded.
    """
    if dataclasses.is_dataclass(medium.source) and callable(medium.source):
        return repr(medium)
    if processor is None:
        return [key(load(medium))]
    found: list[bytes] = []

    def noted(asked: Any) -> Any:
        found.append(key(decoded := load(asked)))
        return decoded

    processor.arrays(medium, noted)
    return found
