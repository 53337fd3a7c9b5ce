"""The folder of a bulk run: what it was begun with, and a file for each shard that is done.

    OUT/run.json         model, data and options; a run with others is refused
        00012.jsonl      the lines of one shard, there whole or not at all
        manifest.json    when all shards are there: how much was done, and what could not be

A shard whose file is deleted is done again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from isthmus.bulk.pool import Line
from isthmus.errors import BadData, BadRecipe, IsthmusError
from isthmus.train.run import differences

RUN, MANIFEST, LOCK, WRITING = "run.json", "manifest.json", ".lock", ".writing-"


class Ledger:
    """The files of a run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def claimed(self, facts: dict[str, Any], resume: bool) -> Iterator[None]:
        """Hold the folder for a run of these facts, alone.

        Raises `BadRecipe` where there is a run already and `resume` is not given, or it was begun with other facts, and
        `IsthmusError` where another process is at it or it cannot be written.
        """
        before = _read(self.folder / RUN)
        if before is not None and not resume:
            raise BadRecipe(f"{self.folder} holds a run already. Go on with --resume, or choose another --out")
        if before is None and self.folder.exists() and any(path.name != LOCK for path in self.folder.iterdir()):
            raise BadRecipe(f"{self.folder} holds something else already. Choose another --out")
        if before is not None and (changes := "; ".join(differences(before, json.loads(json.dumps(facts))))):
            raise BadRecipe(f"{self.folder} was begun otherwise: {changes}. Resume with that, or choose another --out")
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise IsthmusError(f"another process is working in {self.folder}") from None
        try:
            for left in self.folder.glob(f"{WRITING}*"):
                left.unlink()
            if before is None:
                self._put(RUN, json.dumps(facts, indent=1) + "\n")
            yield
        finally:
            lock.release()

    def missing(self, shards: int, usable: Callable[[Sequence[Line]], bool]) -> list[int]:
        """The numbers of shards that have no file, or one that is not `usable` any more."""
        return [n for n in range(shards) if not self.path(n).is_file() or not usable(self.lines(n))]

    def path(self, number: int) -> Path:
        """The file of a shard."""
        return self.folder / f"{number:05}.jsonl"

    def lines(self, number: int) -> list[Line]:
        """What is in a shard's file. Raises `BadData` where it was damaged."""
        path = self.path(number)
        try:
            return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
        except ValueError as error:
            raise BadData(f"{path} is damaged ({error}). Delete it and resume; it is made again") from error

    def write(self, number: int, lines: Sequence[Line]) -> None:
        """The file of a shard that is done."""
        self._put(self.path(number).name, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))

    def finish(self, facts: dict[str, Any]) -> Path:
        """Write the manifest."""
        self._put(MANIFEST, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
        return self.folder / MANIFEST

    def _put(self, name: str, text: str) -> None:
        """Flushed to disk before it has its name, so that no interruption leaves half of it."""
        with (new := self.folder / f"{WRITING}{name}").open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.folder / name)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None
    except ValueError as error:
        raise BadData(f"{path} is damaged ({error}). Choose another --out") from error
