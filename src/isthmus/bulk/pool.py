"""Who does the work: this process, those that torchrun launched, or actors of Ray Data on this machine or a cluster.

Ray is imported only there.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import distributed

from isthmus.errors import IsthmusError
from isthmus.train.world import ALONE, World

Line = dict[str, Any]  # of a shard's file
STORE = 2**27  # bytes of a local Ray's object store; what goes through it are numbers of shards and lines of text
HANDED = ("ISTHMUS_CACHE", "ISTHMUS_FEATURES_GB", "ISTHMUS_PACKAGES", "TRANSFORMERS_VERBOSITY")  # workers have them too
NO_RAY = "Ray is not installed, and more than one worker, or a cluster, needs it: pip install 'isthmus[ray]'"


class Work(Protocol):
    """What holds a model and does one shard after another."""

    def __call__(self, number: int) -> list[Line]: ...

    def close(self) -> None: ...


Start = Callable[[str], Work]  # device -> what works there; it travels to workers


@dataclass(frozen=True)
class Pool:
    """How many workers, and what each of them has; `address` is that of a Ray cluster that is running already.

    Of several processes in a `world` each is one worker, and the first of them leads.
    """

    workers: int = 1
    gpus: float = 0.0
    threads: int = 1
    address: str | None = None
    world: World = ALONE

    @property
    def device(self) -> str:
        """Where models are."""
        return "cuda" if self.gpus or self.world.device.type == "cuda" else "cpu"

    def results(self, start: Start, numbers: Sequence[int]) -> Iterator[tuple[int, list[Line]]]:
        """The lines of each shard, as they are done: one worker of this machine's does them here and in order.

        Raises `IsthmusError` where Ray is needed and not there, or no GPU is, and what the work raises.
        """
        if not numbers:
            return
        if self.world.size > 1:
            yield from self._led(start, numbers)
        elif self.workers == 1 and self.address is None:
            yield from self._here(start, numbers)
        else:
            yield from _on_ray(self, start, numbers)

    def follow(self, start: Start) -> None:
        """Do what the first process of the world leads, until it lets go."""
        work: Work | None = None
        while (numbers := self._told(None)) is not None:
            work = work or start(str(self.world.device))
            for _ in self._rounds(work, numbers):
                pass
        if work is not None:
            work.close()

    def let_go(self) -> None:
        """There is nothing more to do for the other processes."""
        if self.world.size > 1:
            self._told(None)

    def _led(self, start: Start, numbers: Sequence[int]) -> Iterator[tuple[int, list[Line]]]:
        self._told(list(numbers))
        work = start(str(self.world.device))
        try:
            yield from self._rounds(work, numbers)
        finally:
            work.close()

    def _told(self, numbers: list[int] | None) -> list[int] | None:
        """What the first process says, in all of them."""
        box = [numbers]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def _rounds(self, work: Work, numbers: Sequence[int]) -> Iterator[tuple[int, list[Line]]]:
        """Each round every process does one shard, and all have all lines; what one raises, all raise."""
        size = self.world.size
        for begin in range(0, len(numbers), size):
            own: tuple[int, list[Line], str] | None = None
            if (place := begin + self.world.rank) < len(numbers):
                try:
                    own = numbers[place], work(numbers[place]), ""
                except (IsthmusError, OSError) as error:
                    own = numbers[place], [], str(error) or type(error).__name__
            every: list[Any] = [None] * size
            distributed.all_gather_object(every, own)
            for number, lines, wrong in (one for one in every if one is not None):
                if wrong:
                    raise IsthmusError(wrong)
                yield number, lines

    def _here(self, start: Start, numbers: Sequence[int]) -> Iterator[tuple[int, list[Line]]]:
        if self.gpus and not torch.cuda.is_available():
            raise IsthmusError("PyTorch sees no GPU here. Leave --gpus-per-worker out to work on the CPU")
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            work = start(self.device)
            try:
                for number in numbers:
                    yield number, work(number)
            finally:
                work.close()
        finally:
            torch.set_num_threads(before)


class Actor:
    """A worker of Ray Data's. What is the input's fault comes back as text; anything else is a bug and is raised."""

    def __init__(self, start: Start, device: str, threads: int, environment: dict[str, str]) -> None:
        os.environ.update(environment)
        torch.set_num_threads(threads)
        self.start, self.device = start, device
        self.work: Work | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """The lines of the one shard of a batch, as JSON."""
        number, lines, error = int(batch["shard"][0]), [], ""
        try:
            self.work = self.work or self.start(self.device)
            lines = self.work(number)
        except (IsthmusError, OSError) as found:
            error = str(found) or type(found).__name__
        return {"shard": [number], "lines": [json.dumps(lines)], "error": [error]}


def _on_ray(pool: Pool, start: Start, numbers: Sequence[int]) -> Iterator[tuple[int, list[Line]]]:
    """A block of Ray Data's is one shard, so that each is written down as soon as it is done."""
    with _ray(pool) as data:
        environment = {name: os.environ[name] for name in HANDED if name in os.environ}
        shards = data.from_items([{"shard": number} for number in numbers], override_num_blocks=len(numbers))
        done = shards.map_batches(
            Actor,
            fn_constructor_args=(start, pool.device, pool.threads, environment),
            batch_size=1,
            compute=data.ActorPoolStrategy(size=min(pool.workers, len(numbers))),
            num_cpus=pool.threads,
            num_gpus=pool.gpus,
        )
        for batch in done.iter_batches(batch_size=1, prefetch_batches=0):
            if error := str(batch["error"][0]):
                raise IsthmusError(error)
            yield int(batch["shard"][0]), json.loads(str(batch["lines"][0]))


@contextmanager
def _ray(pool: Pool) -> Iterator[Any]:
    """`ray.data`, connected: to the program's own Ray if it has one, to `address`, or to a new local one, without
    dashboard and usage statistics, that ends with the block."""
    if pool.address is None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else it warns of its own doings; its files have them
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise IsthmusError(f"{NO_RAY} ({error})") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR if pool.address is None else logging.WARNING)
    own = not ray.is_initialized()
    if own:
        local = {"num_cpus": pool.workers * pool.threads, "include_dashboard": False, "object_store_memory": STORE}
        where = {"address": pool.address} if pool.address else {"address": "local"} | local  # whatever RAY_ADDRESS says
        ray.init(**where, logging_level=logging.ERROR, log_to_driver=False)
    try:
        if pool.address is None:  # a cluster may grow; here, Ray would wait for ever
            _room(pool, ray.cluster_resources())
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        yield ray.data
    finally:
        if own:
            ray.shutdown()


def _room(pool: Pool, there: dict[str, float]) -> None:
    """Raises `IsthmusError` where workers want more than Ray has."""
    for name, wanted in {"CPU": pool.workers * pool.threads, "GPU": pool.workers * pool.gpus}.items():
        if (found := there.get(name, 0)) < wanted:
            raise IsthmusError(f"{pool.workers} workers want {wanted:g} {name}s, and Ray has {found:g}. Take fewer")
