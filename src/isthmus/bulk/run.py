"""A bulk run: the shards that are missing, done by workers and written down one by one."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from isthmus import load_with_processor, model_folder
from isthmus.bulk.ledger import Ledger
from isthmus.bulk.pool import Line, Pool, Start
from isthmus.errors import BadData, Interrupted, IsthmusError
from isthmus.parts import cache
from isthmus.train.setup import Run

SHOWN = 3  # reasons that an error quotes


@dataclass(frozen=True)
class Task:
    """What is done with a corpus.

    Args:
        name: what the bar says.
        unit: what is counted.
        count: how many of them a line of a shard stands for.
        start: what makes a worker.
        usable: whether what a shard's lines speak of is still there.
        lost: what to say where it is not.
    """

    name: str
    unit: str
    count: Callable[[Line], int]
    start: Start
    usable: Callable[[Sequence[Line]], bool] = lambda lines: True
    lost: str = ""


class Shards(Protocol):
    """What is worked through: a `Corpus` is one."""

    size: int

    @property
    def sources(self) -> Sequence[Any]: ...

    @property
    def samples(self) -> int: ...

    @property
    def shards(self) -> int: ...

    @property
    def digest(self) -> str: ...

    @property
    def rejected(self) -> Mapping[str, int]: ...


@dataclass
class Tally:
    """How far a run is, by the lines of its shards; `failed` is why, by shard and sample, `go_on` what may follow."""

    samples: int
    tolerate: float
    go_on: str = ""
    done: int = 0
    failed: dict[tuple[int, str], str] = field(default_factory=dict)

    def add(self, number: int, lines: Sequence[Line], count: Callable[[Line], int]) -> None:
        """Raises `BadData` once more samples have failed than are tolerated."""
        self.done += sum(map(count, lines))
        for line in lines:
            if "failed" in line:
                self.failed.setdefault((number, line["id"]), line["failed"])
        if len(self.failed) > self.tolerate * self.samples:
            raise BadData(
                f"{len(self.failed):,} of {self.samples:,} samples failed, {self.tolerate:.1%} are tolerated. "
                + "; ".join(self._reasons())
                + self.go_on
            )

    def _reasons(self) -> list[str]:
        """The first reasons, each with how many it is of and the first of these."""
        each: dict[str, list[str]] = {}
        for (_, sample), why in self.failed.items():
            each.setdefault(why, []).append(sample)
        return [
            why if sample[0] in why else f"{len(sample):,} such as {sample[0]}: {why}"
            for why, sample in list(each.items())[:SHOWN]
        ]


def drive(
    task: Task,
    corpus: Shards,
    folder: Path,
    facts: dict[str, Any],
    pool: Pool,
    *,
    tolerate: float,
    resume: bool = False,
    command: str = "",
    console: Console,
) -> dict[str, Any]:
    """Do the shards of the corpus that `folder` does not have yet, and write its manifest, which is returned.

    In a process of the pool's world that is not the first, shares of the work are done, and nothing is returned.

    Args:
        facts: what the files depend on beside the corpus and the workers' kind; a run of others is not gone on with.
        tolerate: the share of samples that may fail. They are in their shards and the manifest, with reasons.
        command: how to go on after Ctrl-C, for the message of `Interrupted`.

    Raises:
        Interrupted: after Ctrl-C, at whatever moment; shards that are done are kept.
        BadRecipe: for a folder that was begun otherwise.
        BadData: when more samples fail than are tolerated.
        IsthmusError: `task.lost`, for what is gone again.
    """
    if not pool.world.first:
        pool.follow(task.start)
        return {}
    go_on = f". Mend it and go on: {command}; or tolerate more with --tolerate" if command else ""
    ledger, tally = Ledger(folder), Tally(corpus.samples, tolerate, go_on)
    told = [source.facts for source in corpus.sources]
    facts = facts | {"data": told, "samples": corpus.digest, "shard": corpus.size}
    facts |= {"threads": pool.threads, "device": pool.device}
    try:
        with ledger.claimed(facts, resume):
            missing = ledger.missing(corpus.shards, task.usable)
            for number in sorted({*range(corpus.shards)} - {*missing}):
                tally.add(number, ledger.lines(number), task.count)
            if len(missing) < corpus.shards:
                console.print(f"{corpus.shards - len(missing):,} of {corpus.shards:,} shards are there", markup=False)
            _work(task, ledger, missing, corpus, pool, tally, console)
            pool.let_go()
            if ledger.missing(corpus.shards, task.usable):
                raise IsthmusError(task.lost)
            return _finish(task, ledger, corpus, tally, console)
    except KeyboardInterrupt:
        again = command or "run the same again with resume=True"
        raise Interrupted(f"stopped; what was done is in {folder}. Go on: {again}") from None


def model_facts(name: str) -> dict[str, str]:
    """What a run's folder tells of a model: what it was called, and what stands for its files."""
    folder = model_folder(name)
    sealed = (folder / cache.MANIFEST).is_file()  # it has the SHA-256 of all the others
    files = [folder / cache.MANIFEST] if sealed else sorted(path for path in folder.rglob("*") if path.is_file())
    listing = "".join(f"{path.relative_to(folder)} {cache.sha256(path)}\n" for path in files)
    return {"name": name, "sha256": hashlib.sha256(listing.encode()).hexdigest()}


def loaded(name: str) -> Run:
    """A model with its processor."""
    return Run(*load_with_processor(name))


def _work(
    task: Task, ledger: Ledger, missing: Sequence[int], corpus: Shards, pool: Pool, tally: Tally, console: Console
) -> None:
    columns = (TextColumn("{task.description:>12}"), BarColumn(), TextColumn("{task.completed}/{task.total} shards"))
    rate = TextColumn("{task.fields[rate]}")
    with Progress(*columns, TimeRemainingColumn(), rate, console=console, refresh_per_second=2) as bar:
        shown = bar.add_task(task.name, total=corpus.shards, completed=corpus.shards - len(missing), rate="")
        start, before = time.monotonic(), tally.done
        oldest: Sequence[Line] = []
        for number, lines in pool.results(task.start, missing):
            ledger.write(number, lines)
            tally.add(number, lines, task.count)
            oldest = oldest or lines
            if not task.usable([*oldest, *lines]):  # it will not get better: rather now than after hours
                raise IsthmusError(task.lost)
            speed = (tally.done - before) / (time.monotonic() - start)
            bar.update(shown, advance=1, rate=f"{speed:,.1f} {task.unit}/s")


def _finish(task: Task, ledger: Ledger, corpus: Shards, tally: Tally, console: Console) -> dict[str, Any]:
    """The manifest: the same in whichever order shards were done."""
    order = sorted(tally.failed, key=lambda one: one[0])
    failed = [{"id": name, "shard": shard, "reason": tally.failed[shard, name]} for shard, name in order]
    rows = {"samples": corpus.samples, task.unit: tally.done, "failed": failed, "rejected": corpus.rejected}
    path = ledger.finish(rows)
    told = f"{tally.done:,} {task.unit} of {corpus.samples:,} samples, {len(failed):,} failed:  {path}"
    console.print(told, markup=False, highlight=False, soft_wrap=True)
    return rows
