"""What flows through Isthmus: a medium, a turn of question and answer, a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import PIL.Image

    from isthmus.media.forms import Clip, Cloud, Signal, Sound
    from isthmus.model.processor import Prepared

    Array = npt.NDArray[np.floating]

IGNORE_INDEX = -100  # label of a token that takes no part in the loss


@dataclass(frozen=True)
class Slice:
    """Encoded bytes within a larger file, such as a tar shard: where they begin, and how many they are."""

    path: Path
    offset: int
    size: int


@dataclass(frozen=True)
class Image:
    """An image that is not decoded yet: a path, encoded bytes, or a function that draws it.

    `isthmus.media.load` turns it into an array, and nothing else does. `page` is the page of a PDF, from 0 on. `bands`
    are the one or three bands of a GeoTIFF that are shown, from 0 on; by default its first three.
    """

    source: str | Path | bytes | Slice | Callable[[], PIL.Image.Image]
    page: int = 0
    bands: tuple[int, ...] | None = None
    kind: str = field(default="image", init=False, repr=False)


@dataclass(frozen=True)
class Audio:
    """Sound that is not decoded yet: a path, encoded bytes, a `Sound`, or a function that makes one.

    `start` and `end` are the seconds between which it is taken; by default all of it. A video's path gives its sound.
    """

    source: str | Path | bytes | Slice | Sound | Callable[[], Sound]
    start: float | None = None
    end: float | None = None
    kind: str = field(default="audio", init=False, repr=False)


@dataclass(frozen=True)
class Video:
    """A video or an animated GIF, WebP or PNG that is not decoded yet; or a `Clip`, or a function that makes one.

    `sampling` says which frames are taken: `uniform` takes `frames` of them, each from the middle of an equal share of
    the time; `fps` one every 1 / `fps` seconds; `keyframes` those that stand on their own, `frames` of them at most,
    spread evenly. Of `frames` there are 8 by default, and for a model as many as its encoder sees at once; of more, it
    sees several pieces. `start` and `end` are the seconds between which they lie. `sound` asks for the sound as well.
    """

    source: str | Path | bytes | Slice | Clip | Callable[[], Clip]
    frames: int | None = None
    sampling: Literal["uniform", "fps", "keyframes"] = "uniform"
    fps: float | None = None
    start: float | None = None
    end: float | None = None
    sound: bool = True
    kind: str = field(default="video", init=False, repr=False)


@dataclass(frozen=True)
class Points:
    """A point cloud or mesh that is not decoded yet: a path, bytes, a `Cloud` or an array [N, 3], or a function.

    `count` points are drawn from a larger cloud, or from the surface of a mesh; by default a cloud keeps all of its
    points and a mesh gives 8,192. The draw depends on `seed` alone.
    """

    source: str | Path | bytes | Slice | Cloud | Array | Callable[[], Cloud | Array]
    count: int | None = None
    seed: int = 0
    kind: str = field(default="points", init=False, repr=False)


@dataclass(frozen=True)
class Series:
    """A sensor series that is not decoded yet: a path, bytes, a `Signal` or an array [C, T], or a function.

    `time` names the column of a table that holds the times, in seconds or as dates; by default one that is called like
    it (see `isthmus.media.series.TIMES`). `rate` is the number of samples a second where there is none; by default 1.
    """

    source: str | Path | bytes | Slice | Signal | Array | Callable[[], Signal | Array]
    time: str | None = None
    rate: float | None = None
    kind: str = field(default="series", init=False, repr=False)


Medium = Image | Audio | Video | Points | Series
KINDS: dict[str, type[Medium]] = {"image": Image, "audio": Audio, "video": Video, "points": Points, "series": Series}

NOUNS = {"image": "picture", "audio": "sound", "video": "clip", "points": "cloud", "series": "series"}


def noun(kinds: Iterable[str]) -> str:
    """What a medium of these kinds is called.

    >>> noun(["audio", "audio"]), noun(["audio", "image"])
    ('sound', 'medium')
    """
    found = set(kinds)
    return NOUNS[found.pop()] if len(found) == 1 else "medium"


def plural(noun: str) -> str:
    """Several of them.

    >>> plural("sound"), plural("medium"), plural("series")
    ('sounds', 'media', 'series')
    """
    return {"medium": "media", "series": "series"}.get(noun, f"{noun}s")


@dataclass(frozen=True)
class Turn:
    """One question about a sample's media, the answer that is true, and what kind of question it is.

    `shows` of the sample's media come with this turn, where turns are chained; the others stand before all turns.
    """

    question: str
    answer: str
    kind: str = "chat"
    shows: int = 0


@dataclass(frozen=True)
class Sample:
    """Media and any number of turns about them (see `data.packing`).

    The turns do not see each other, unless they are `chained`: a conversation, in which each sees all before it.
    """

    id: str
    media: tuple[Medium, ...]
    turns: tuple[Turn, ...]
    chained: bool = False
    system: str = ""

    @property
    def text_bytes(self) -> int:
        """Bytes of text that one position comes after at most: all turns where they are chained, else the longest."""
        turns = [len(f"{turn.question}{turn.answer}".encode()) for turn in self.turns]
        return len(self.system.encode()) + (sum(turns) if self.chained else max(turns, default=0))


@dataclass(frozen=True)
class Message:
    """One message of a conversation: who speaks (`system`, `user` or `assistant`), what, and about which media."""

    role: str
    text: str
    media: tuple[Medium | Prepared, ...] = ()
