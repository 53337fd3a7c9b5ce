"""What a bulk run works through: the samples of one data set or several, in shards of so many."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from isthmus.data.index import TOLERATE, Chosen, Index
from isthmus.data.sources import is_files, load_split
from isthmus.errors import BadData, BadRecipe
from isthmus.types import Medium, Sample


@dataclass(frozen=True)
class Source:
    """A split of a data set, as `data.sources.load_split` takes it.

    Args:
        tolerate: the share of rows of files that may be bad, unless the options say it.
        without: kinds of media that are passed over.
    """

    name: str
    split: str = "train"
    count: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    unanswered: bool = False
    tolerate: float = TOLERATE
    without: tuple[str, ...] = ()

    def load(self) -> Sequence[Sample]:
        """Its samples."""
        own = ({"tolerate": self.tolerate} if is_files(self.name) else {}) | self.options
        return load_split(self.name, self.split, self.count, own, self.seed, unanswered=self.unanswered)

    @property
    def facts(self) -> dict[str, Any]:
        """What decides which samples these are."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key != "tolerate"}


def options(pairs: Sequence[str]) -> dict[str, Any]:
    """A data set's options, as they are typed.

    >>> options(["concepts=120", "ask=What is it?"])
    {'concepts': 120, 'ask': 'What is it?'}
    """
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise BadRecipe(f"--option {pair}: an option of the data is given as KEY=VALUE")
        try:
            found[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise BadRecipe(f"--option {pair}: {' '.join(str(error).split())}") from error
    return found


class Corpus:
    """The samples of several sources one after another, in shards of `size`.

    In a worker, files of samples are opened again by their name, which costs nothing where their index is there; other
    samples travel as they are, since loading a folder decodes all that is in it.
    """

    def __init__(self, sources: Sequence[Source], size: int, sets: Sequence[Sequence[Sample]] | None = None) -> None:
        self.sources, self.size = list(sources), size
        self.sets = [source.load() for source in sources] if sets is None else list(sets)

    def __reduce__(self) -> Any:
        given = [None if isinstance(own, Index | Chosen) else own for own in self.sets]
        return _opened, (self.sources, self.size, given, self.digest)

    @property
    def samples(self) -> int:
        """How many there are."""
        return sum(map(len, self.sets))

    @property
    def shards(self) -> int:
        """How many there are."""
        return -(-self.samples // self.size)

    @property
    def digest(self) -> str:
        """Stands for all samples and their order, by what they are called and where their media lie."""
        own = [getattr(some, "digest", None) or repr([_stands_for(sample) for sample in some]) for some in self.sets]
        return hashlib.sha256(repr(own).encode()).hexdigest()

    @property
    def rejected(self) -> dict[str, int]:
        """Where rows of files could not be used, their number by the path of the list that says why."""
        found = {}
        for some in self.sets:
            while isinstance(some, Chosen):
                some = some.samples
            if isinstance(some, Index) and some.bad:
                found[str(some.folder / "bad.jsonl")] = some.bad
        return found

    def shard(self, number: int) -> list[tuple[Sample, tuple[str, ...]]]:
        """The samples of a shard, each with the kinds of its media that are passed over."""
        start, end = number * self.size, (number + 1) * self.size
        found: list[tuple[Sample, tuple[str, ...]]] = []
        for source, some in zip(self.sources, self.sets, strict=True):
            found += [(sample, source.without) for sample in some[max(start, 0) : max(end, 0)]]
            start, end = start - len(some), end - len(some)
        return found


def _opened(sources: list[Source], size: int, given: list[Any], digest: str) -> Corpus:
    sets = [source.load() if own is None else own for source, own in zip(sources, given, strict=True)]
    corpus = Corpus(sources, size, sets)
    if corpus.digest != digest:
        names = ", ".join(source.name for source in sources)
        raise BadData(
            f"{names}: a worker finds other samples there than this process. Give all machines the same files"
        )
    return corpus


def _stands_for(sample: Sample) -> tuple[Any, ...]:
    return sample.id, sample.turns, sample.chained, sample.system, [described(medium) for medium in sample.media]


def described(medium: Medium) -> str:
    """What describes a medium in full; of one that an anonymous function makes, or an array, its kind alone."""
    told = dataclasses.is_dataclass(medium.source) or isinstance(medium.source, str | Path | bytes)
    return repr(medium) if told else medium.kind
