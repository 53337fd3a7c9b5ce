"""Samples of files of any size: read through once, then one by one from disk, in any order.

    <cache>/index/<key>/samples.jsonl   one sample a line, with references to its media
                        offsets.npy     where each line begins
                        lengths.npy     roughly how long each sample is, for batches of like length
                        media.bin       media that were embedded in a table
                        bad.jsonl       rows that cannot be used, each with its place and reason

The key is made of the files' paths, sizes and times, and of how they are read. Lines and offsets are memory-mapped, so
a set of a million samples takes no more memory than the samples that a batch looks at.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Annotated, Any

import numpy as np
from numpy.lib.format import open_memmap
from pydantic import Field

from isthmus.data import containers
from isthmus.data.containers import Found, _hugging_face
from isthmus.data.folder import QUESTION
from isthmus.data.schema import Reading
from isthmus.errors import BadData, BadMedia
from isthmus.parts import cache
from isthmus.parts.mapped import mapped
from isthmus.types import KINDS, Medium, Sample, Slice, Turn

VERSION = 2  # of what an index holds
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
TURN = 16  # characters of a short turn: what `Index.lengths` counts in
TOLERATE = 0.01  # the share of rows, or of samples whose media are decoded, that may be bad
SHOWN = 3  # bad rows that an error quotes


class Index(Sequence[Sample]):
    """The samples of an index folder; `bad` rows were left out, and `digest` stands for all that is in it.

    `kinds` of media are in it, and no sample has more than `longest` bytes of text before its last token.
    """

    def __init__(self, folder: Path) -> None:
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        self.folder, self.bad, self.digest = folder, int(facts["bad"]), str(facts["digest"])
        self.kinds, self.longest = frozenset(facts["kinds"]), int(facts["longest"])
        self.offsets = open_memmap(folder / "offsets.npy", "r")
        self.lengths = open_memmap(folder / "lengths.npy", "r")
        self._lines = mapped(folder / "samples.jsonl")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, place: Any) -> Any:
        """The sample at a place; a slice of them is a list."""
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        start, end = self.offsets[place % len(self)], self.offsets[place % len(self) + 1]
        return _sample(json.loads(self._lines[start:end]), self.folder)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Index) and (self.folder, self.digest) == (other.folder, other.digest)

    def __hash__(self) -> int:
        return hash(self.folder)

    def __reduce__(self) -> Any:
        return Index, (self.folder,)


@dataclass(frozen=True, eq=False)
class Chosen(Sequence[Sample]):
    """Some samples of a sequence, read when they are asked for."""

    samples: Index | Chosen
    places: np.ndarray[Any, np.dtype[np.int64]]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self.samples[i] for i in self.places[place]]
        return self.samples[int(self.places[place])]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Chosen) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.samples)

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of media of all samples among which these were chosen."""
        return self.samples.kinds

    @property
    def longest(self) -> int:
        """No sample has more bytes of text before its last token."""
        return self.samples.longest

    @property
    def lengths(self) -> Any:
        """Roughly how long each one is."""
        return self.samples.lengths[self.places]

    @property
    def digest(self) -> str:
        """Stands for all of them and their order."""
        return hashlib.sha256(self.samples.digest.encode() + self.places.tobytes()).hexdigest()


def files(name: str) -> list[Path]:
    """The files that a name means: one, a glob (`set/*.tar`) or a range (`set/{000..012}.tar`); none if it means none.

    >>> [path.name for path in files("{08..10}.tar")]
    []
    """
    spread = [name]
    while any(RANGE.search(one) for one in spread):
        spread = [
            RANGE.sub(f"{number:0{len(found[1])}}", one, count=1)
            for one in spread
            if (found := RANGE.search(one))
            for number in range(int(found[1]), int(found[2]) + 1)
        ]
    if len(spread) == 1 and any(mark in name for mark in "*?["):
        first = Path(name)
        anchor = Path(*itertools.takewhile(lambda part: not set(part) & set("*?["), first.parts))
        spread = [str(path) for path in sorted(anchor.glob(str(first.relative_to(anchor))))]
    paths = [Path(one) for one in spread]
    return [path for path in paths if path.is_file() and containers.container(path)]


def means_files(name: str) -> bool:
    """Whether a name is that of files of samples, or of a data set of Hugging Face's."""
    return name.startswith(_hugging_face.PREFIX) or bool(files(name))


def load(
    name: str,
    split: str,
    count: int | None = None,
    seed: int = 0,
    *,
    media: str | None = None,
    ask: str = QUESTION,
    chained: bool | None = None,
    columns: dict[str, str] | None = None,
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    tolerate: Annotated[float, Field(ge=0, lt=1)] = TOLERATE,
    config: str | None = None,
    unanswered: bool = False,
) -> Index | Chosen:
    """The samples of the files that `name` means, or of `hf:NAME`; read through when they are first asked for.

    Args:
        count: a seeded sample of so many.
        media: the folder that paths lie in; by default the files' own.
        ask: the question that captions answer.
        chained: whether a row's turns see those before them; by default what the row's form says.
        columns: a column's usual name -> its name here.
        held_out: the share that other splits than `train` have, chosen by a hash of the sample's id. With 0, every
            split is all of it: for files that are for training, or for testing, as they are.
        tolerate: the share of rows that may be bad. They are left out, and listed in the index's `bad.jsonl`.
        config: which configuration of an `hf:` data set.
        unanswered: take rows whose questions have no answer too, for a model to answer; nothing is learned from them.

    Raises `BadData` when more rows are bad, quoting the first ones, or when none is good.
    """
    paths = [] if name.startswith(_hugging_face.PREFIX) else files(name)
    root = Path(media) if media else paths[0].parent if paths else Path.cwd()
    stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    theirs = "train" if held_out else split
    hub: list[Any] = [] if paths else [name, theirs, config, _files_of(name)]
    facts = [VERSION, stats, hub, str(root.resolve()), ask, chained, sorted((columns or {}).items())]
    facts += ["unanswered"] * unanswered
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]
    folder = cache.root() / "index" / key
    if not cache.intact(folder):
        with cache.locked(f"index-{key}", progress=True):
            if not cache.intact(folder):
                found = _rows(paths) if paths else _hugging_face.rows(name, theirs, config)
                _write(found, Reading(root, ask, chained, columns, unanswered), folder)
    read = Index(folder)
    if not len(read) or read.bad > tolerate * (read.bad + len(read)):
        raise BadData(f"{name}: {_rejected(read, tolerate)}")
    return _chosen(read, split, count, seed, held_out)


def _files_of(name: str) -> list[tuple[str, int, int]]:
    """The files of a local folder in the format of Hugging Face's `datasets`, with their sizes and times."""
    found = sorted(path for path in Path(name.removeprefix(_hugging_face.PREFIX)).rglob("*") if path.is_file())
    return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in found]


def _rejected(read: Index, tolerate: float) -> str:
    path, rows = read.folder / "bad.jsonl", read.bad + len(read)
    with path.open(encoding="utf-8") as file:
        first = "; ".join(json.loads(line)["reason"] for line in itertools.islice(file, SHOWN))
    return f"{read.bad:,} of {rows:,} rows cannot be used, {tolerate:.1%} are tolerated (all are in {path}). {first}"


def _chosen(read: Index, split: str, count: int | None, seed: int, held_out: float) -> Index | Chosen:
    places = np.arange(len(read))
    if held_out:
        drawn = np.array([zlib.crc32(sample.id.encode()) / 2**32 < held_out for sample in read])
        places = places[drawn == (split != "train")]
    if count is not None and count < len(places):
        places = np.sort(np.random.default_rng([seed, zlib.crc32(split.encode())]).choice(places, count, replace=False))
    return read if len(places) == len(read) else Chosen(read, places)


def _rows(paths: Iterable[Path]) -> Iterator[Found]:
    """The rows of every file; where one breaks off, that is a bad row, and the next file is read."""
    for path in paths:
        try:
            yield from containers.container(path).rows(path)
        except (BadData, OSError) as error:
            yield str(path), error if isinstance(error, BadData) else BadData(f"{path}: {error}")


def _write(found: Iterator[Found], reading: Reading, folder: Path) -> None:
    """Read all rows once and write the index. A full disk leaves nothing behind."""
    offsets, lengths, bad, longest = [0], [], 0, 0
    kinds: set[str] = set()
    names: set[bytes] = set()
    digest = hashlib.sha256()
    with (
        cache.writing(f"the index {folder.name}", 0),
        cache.scratch(folder.with_name(f".writing-{folder.name}")) as new,
    ):
        with (
            (new / "samples.jsonl").open("wb") as lines,
            (new / "media.bin").open("wb") as blob,
            (new / "bad.jsonl").open("w", encoding="utf-8") as rejected,
        ):
            for where, row in found:
                try:
                    if isinstance(row, BadData):
                        raise row
                    sample = _distinct(_usable(reading.sample(row, where), reading.unanswered), names)
                    line = json.dumps(_line(sample, blob), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
                except (BadData, BadMedia, UnicodeEncodeError) as error:
                    bad += 1
                    text = str(error) if where in str(error) else f"{where}: {error}"
                    rejected.write(json.dumps({"where": where, "reason": text}) + "\n")
                    continue
                lines.write(line)
                digest.update(line)
                offsets.append(offsets[-1] + len(line))
                said = sum(len(turn.question) + len(turn.answer) for turn in sample.turns)
                lengths.append(len(sample.turns) + said // TURN)
                kinds |= {medium.kind for medium in sample.media}
                longest = max(longest, sample.text_bytes)
        np.save(new / "offsets.npy", np.array(offsets, np.int64))
        np.save(new / "lengths.npy", np.array(lengths, np.int32))
        facts = {"kinds": sorted(kinds), "longest": longest}
        (new / "facts.json").write_text(json.dumps(facts | {"bad": bad, "digest": digest.hexdigest()}))
        cache.write_manifest(new, {"index": str(VERSION)})
        cache.publish(new, folder)


def _usable(sample: Sample, unanswered: bool) -> Sample:
    needed = sample.turns[:-1] if sample.chained else ()  # what the last turn of a conversation is asked behind
    for turn in needed if unanswered else sample.turns:
        if not turn.answer.strip():
            raise BadData(f"{turn.question[:80]!r} has no answer, so nothing in it would be learned")
    return sample


def _distinct(sample: Sample, names: set[bytes]) -> Sample:
    """The sample, renamed if another one has its id: reports and errors name samples by it."""
    mark = hashlib.sha256(sample.id.encode()).digest()[:8]
    own = replace(sample, id=f"{sample.id} #{len(names) + 1}") if mark in names else sample
    names.add(hashlib.sha256(own.id.encode()).digest()[:8])
    return own


def _line(sample: Sample, blob: IO[bytes]) -> list[Any]:
    media = [[medium.kind, *_reference(medium, blob)] for medium in sample.media]
    turns = [[turn.question, turn.answer, turn.kind, turn.shows] for turn in sample.turns]
    return [sample.id, media, turns, int(sample.chained), sample.system]


def _reference(medium: Medium, blob: IO[bytes]) -> list[Any]:
    """Where a medium's bytes are: a path, or a path (none: the index's own file), where they begin, their number."""
    source = medium.source
    if isinstance(source, Slice):
        return [str(source.path.resolve()), source.offset, source.size]
    if isinstance(source, bytes):
        start = blob.tell()
        blob.write(source)
        return ["", start, len(source)]
    return [str(source)]


def _sample(line: list[Any], folder: Path) -> Sample:
    title, media, turns, chained, system = line
    return Sample(
        title,
        tuple(KINDS[kind](_source(place, folder)) for kind, *place in media),
        tuple(Turn(*turn) for turn in turns),
        bool(chained),
        system,
    )


def _source(place: list[Any], folder: Path) -> Path | Slice:
    path, *span = place
    return Slice(Path(path) if path else folder / "media.bin", *span) if span else Path(path)
