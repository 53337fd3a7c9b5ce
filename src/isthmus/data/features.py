"""Frozen means cached: an encoder's features are computed once for each medium and kept for every later run.

The key of a medium is a hash over the encoder's weights, its preprocessing and what the encoder is given of the medium,
with its form and shape (two pictures of equal bytes and different shape are different pictures).
"""

from __future__ import annotations

import hashlib
import itertools
import os
import sqlite3
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from isthmus.data.shards import ENDING, SHARD, Rows, cap, room
from isthmus.errors import IsthmusError
from isthmus.media.forms import key

BATCH = 32  # media
Pieces = Sequence[Any]  # what an encoder is given of one medium: pictures or arrays
Encode = Callable[[list[Any]], tuple[Tensor, Tensor | None]]
Entry = tuple[Tensor, Tensor | None, tuple[int, int]]  # features [pieces, N, D], units of each piece, N and D
Kept = tuple[str, int, int, bytes | None, int]  # shard, first row, pieces, units of each, checksum


@dataclass(frozen=True)
class Source:
    """A medium that is read only where its name is not known yet: the name (none: always), and how it is read.

    A medium that gives None is left out.
    """

    name: str
    read: Callable[[], Pieces | None]


class TooLarge(IsthmusError):
    """Features do not fit into the space that they may take."""


class FeatureCache:
    """Features of media on disk, as float16, for one encoder and preprocessing (see `data.shards`); `close` it.

    Several processes may write at once. Raises `IsthmusError` when a file is cut off or cannot be written, the disk is
    full, or the features of one call are more than the folder may hold.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder, self.here = folder, folder / fingerprint[:24]
        self.path = self.here / "index.sqlite"
        self._file: BinaryIO | None = None  # of the shard that is being written
        self._written = 0  # rows of it
        with self._usable():
            self.here.mkdir(parents=True, exist_ok=True)
            self.db = sqlite3.connect(self.path, timeout=60)
        try:
            with self._usable(), self.db:
                self.db.execute("CREATE TABLE IF NOT EXISTS shards (name TEXT PRIMARY KEY, n INT, d INT)")
                self.db.execute("CREATE TABLE IF NOT EXISTS sources (name TEXT PRIMARY KEY, key BLOB)")
                self.db.execute(
                    "CREATE TABLE IF NOT EXISTS media"
                    " (key BLOB PRIMARY KEY, shard TEXT, row INT, pieces INT, units BLOB, crc INT)"
                )
        except IsthmusError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the files."""
        if self._file:
            self._file.close()
        self.db.close()

    def get(
        self, media: Iterable[Source], count: int, encode: Encode
    ) -> tuple[Rows, Tensor | None, list[range | None]]:
        """Features [P, N, D] of N = `count` media's pieces as float16, their `valid` [P], and each medium's pieces.

        What is read of a medium is what its encoder is given: one array or picture, or several pieces. Equal media
        share theirs. `encode` is called in batches for those not there yet, and media are read as they are needed. An
        interrupted call keeps the batches it had.

        Args:
            encode: pieces of several media -> features [K, N, D], and how many units of each are real [K] or None.
        """
        first: dict[bytes, range] = {}  # medium -> its pieces
        shards: dict[str, int] = {}  # name -> number
        places: list[tuple[int, int]] = []
        units: list[bytes | None] = []
        mapped: dict[str, Any] = {}
        out: list[range | None] = []
        digest, more = hashlib.sha256(), iter(media)
        while some := list(itertools.islice(more, BATCH)):
            named, read, found = self._named(some)
            wanted = [k for k in dict.fromkeys(named) if k is not None and k not in found and k not in first]
            if wanted:
                made = dict(zip(wanted, _encoded([read[k] for k in wanted], encode), strict=True))
                with self._usable():
                    used = {self.here / name for name in (*shards, *(own[0] for own in found.values()))}
                    found |= self._write(made, used, len(out), count)
            for k in dict.fromkeys(named):
                if k is None or k in first:
                    continue
                shard, row, pieces, own, crc = found[k]
                number = shards.setdefault(shard, len(shards))
                with self._usable():
                    self._hold(mapped, shard, row + pieces)
                first[k] = range(len(places), len(places) + pieces)
                places += [(number, row + i) for i in range(pieces)]
                units.append(own)
                digest.update(k + crc.to_bytes(4, "big"))
            with self._usable():
                for name in shards:  # one that this process was writing may be finished now
                    self._hold(mapped, name, 0)
            out += [None if k is None else first[k] for k in named]
        with self._usable():
            held = [self._map(name) if name not in mapped else mapped[name] for name in shards]
        known = [_array(own, np.int64) for own in units if own is not None]
        rows = Rows(held, np.array(places, np.int64).reshape(-1, 2), digest.hexdigest())
        return rows, torch.cat(known) if known else None, out

    def _named(self, some: Sequence[Source]) -> tuple[list[bytes | None], dict[bytes, Pieces], dict[bytes, Kept]]:
        """The key of each medium, None where it is left out; what was read of those that had to be; what is there."""
        names = list({own.name for own in some if own.name})
        with self._usable():
            marks = ",".join("?" * len(names))
            known = dict(self.db.execute(f"SELECT name, key FROM sources WHERE name IN ({marks})", names).fetchall())
            found = self._read(set(known.values()))
        keys: list[bytes | None] = []
        read: dict[bytes, Pieces] = {}
        learned: dict[str, bytes] = {}
        for own in some:
            if (k := known.get(own.name)) not in found:
                k = None
                if (pieces := own.read()) is not None:
                    read[k := _key(pieces)] = pieces
                    learned |= {own.name: k} if own.name else {}
            keys.append(k)
        with self._usable(), self.db:
            self.db.executemany("INSERT OR REPLACE INTO sources VALUES (?, ?)", [*learned.items()])
            found |= self._read(read.keys() - found)
        return keys, read, found

    def _hold(self, mapped: dict[str, Any], name: str, rows: int) -> None:
        """Map a shard up to so many rows at least, so that it can be read even if another process deletes it."""
        mine = self._file is not None and Path(self._file.name).name == name  # it grows, and nobody deletes it
        if not mine and (name not in mapped or len(mapped[name]) < rows):
            mapped[name] = self._map(name)

    def _map(self, name: str) -> Any:
        os.utime(self.here / name)  # it is in use
        n, d = self.db.execute("SELECT n, d FROM shards WHERE name = ?", (name,)).fetchone()
        return np.memmap(self.here / name, np.float16, "r").reshape(-1, n, d)

    def _read(self, keys: Iterable[bytes]) -> dict[bytes, Kept]:
        """What is there of these media. Of a shard that was deleted for room, nothing is."""
        marks = ",".join("?" * len(wanted := list(keys)))
        rows = self.db.execute(
            f"SELECT key, shard, row, pieces, units, crc FROM media WHERE key IN ({marks})", wanted
        ).fetchall()
        gone = {name for name in {row[1] for row in rows} if not (self.here / name).is_file()}
        if gone:
            with self.db:
                self.db.executemany("DELETE FROM media WHERE shard = ?", [(name,) for name in gone])
        return {k: tuple(own) for k, *own in rows if own[0] not in gone}

    def _write(self, made: dict[bytes, Entry], used: set[Path], before: int, count: int) -> dict[bytes, Kept]:
        """Add features to this process's shard, on the disk before the index says so."""
        data = {k: own.contiguous().numpy().tobytes() for k, (own, _, _) in made.items()}
        need = sum(map(len, data.values()))
        if not room(self.folder, need, used | ({Path(self._file.name)} if self._file else set())):
            raise TooLarge(
                f"features of {before:,} of {count:,} media fill the {cap() / 1e9:g} GB that {self.folder} may hold."
                " Set ISTHMUS_FEATURES_GB to more"
            )
        n, d = next(iter(made.values()))[2]
        if self._file is None or self._file.tell() > SHARD:
            if self._file:
                self._file.close()
            self._file, self._written = (self.here / f"{uuid.uuid4().hex}{ENDING}").open("wb"), 0
            with self.db:
                self.db.execute("INSERT INTO shards VALUES (?, ?, ?)", (Path(self._file.name).name, n, d))
        name, found = Path(self._file.name).name, {}
        for k, (own, lengths, _) in made.items():
            pieces = own.numel() // (n * d)
            units = None if lengths is None else lengths.numpy().tobytes()
            found[k] = (name, self._written, pieces, units, zlib.crc32(data[k]))
            self._file.write(data[k])
            self._written += pieces
        self._file.flush()
        os.fsync(self._file.fileno())
        with self.db:
            self.db.executemany(
                "INSERT OR REPLACE INTO media VALUES (?, ?, ?, ?, ?, ?)", [(k, *own) for k, own in found.items()]
            )
        return found

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError) as error:
            raise IsthmusError(
                f"the feature cache {self.path} cannot be used: {error}. Free some space; if it is damaged, delete its"
                " folder."
            ) from error


def _key(pieces: Pieces) -> bytes:
    """What makes two media the same to their encoder."""
    keys = [key(piece) for piece in pieces]
    return keys[0] if len(keys) == 1 else hashlib.sha256(b"".join(keys)).digest()[:16]


def _encoded(media: Sequence[Pieces], encode: Encode) -> list[Entry]:
    """Features [pieces, N, D] of each medium, how long its pieces are, N and D."""
    pieces = [piece for medium in media for piece in medium]
    made = [encode(pieces[i : i + BATCH]) for i in range(0, len(pieces), BATCH)]
    features = torch.cat([own for own, _ in made]).to(torch.float16)
    units = [own for _, own in made if own is not None]
    valid = torch.cat(units) if units else None
    if not bool(features.isfinite().all()):
        raise IsthmusError("the encoder's features are not finite in float16. Is its checkpoint damaged?")
    counts = [len(medium) for medium in media]
    lengths = [None] * len(media) if valid is None else torch.split(valid, counts)
    shape = (features.shape[1], features.shape[2])
    return [(own, length, shape) for own, length in zip(torch.split(features, counts), lengths, strict=True)]


def _array(value: bytes, dtype: Any) -> Tensor:
    return torch.from_numpy(np.frombuffer(value, dtype).copy())
