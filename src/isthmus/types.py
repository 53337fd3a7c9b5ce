"""What flows through Isthmus: a medium, a turn of question and answer, a sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import PIL.Image

IGNORE_INDEX = -100  # label of a token that takes no part in the loss


@dataclass(frozen=True)
class Image:
    """An image that is not decoded yet: a path, encoded bytes, or a function that draws it.

    `isthmus.media.load` turns it into an array, and nothing else does.
    """

    source: str | Path | bytes | Callable[[], PIL.Image.Image]
    kind: str = field(default="image", init=False, repr=False)


@dataclass(frozen=True)
class Turn:
    """One question about a sample's media, the answer that is true, and what kind of question it is."""

    question: str
    answer: str
    kind: str = "chat"


@dataclass(frozen=True)
class Sample:
    """Media and any number of turns about them; the turns do not see each other (see `data.packing`)."""

    id: str
    media: tuple[Image, ...]
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Message:
    """One message of a conversation: who speaks (`system`, `user` or `assistant`), what, and about which media."""

    role: str
    text: str
    media: tuple[Image, ...] = ()
