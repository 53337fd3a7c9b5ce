"""The checkpoint of a stage: trained tensors, their buffers, the optimizer's moments while it is under way, the step.

It is written to a temporary folder with a manifest and renamed, so a kill or a full disk leaves the one before intact.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from isthmus.errors import BadCheckpoint, IsthmusError
from isthmus.parts import cache
from isthmus.train.world import ALONE, World

WHOLE = "state.safetensors"
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass
class Progressed:
    """Where a stage is: what its checkpoint holds beside the tensors."""

    step: int = 0  # updates made
    seconds: float = 0.0
    points: list[tuple[int, float, float, float]] = field(default_factory=list)  # step, seconds, loss, tokens/s
    skipped: list[list[str]] = field(default_factory=list)  # sample ids of batches that gave no finite loss or gradient
    data: str = ""  # stands for the stage's data and parts (`loop.run_stage`)
    checks: list[tuple[int, float]] = field(default_factory=list)  # step, loss on what is held out

    @property
    def best(self) -> tuple[int, float] | None:
        """The step and loss of the best check so far."""
        finite = [check for check in self.checks if math.isfinite(check[1])]
        return min(finite, key=lambda check: check[1], default=None)

    @property
    def place(self) -> int:
        """Batches drawn so far: where the stage is in the order of its data."""
        return self.step + len(self.skipped)

    def add(self, loss: float, tokens_per_second: float) -> None:
        """One update more, at `seconds`."""
        self.step += 1
        self.points.append((self.step, self.seconds, loss, tokens_per_second))


@dataclass(frozen=True)
class Snapshot:
    """A checkpoint that is not written yet: tensors by name, and the facts beside them."""

    tensors: dict[str, Tensor]
    facts: str


def snapshot(
    trained: Sequence[Tensor],
    optimizer: torch.optim.Optimizer | None,
    done: Progressed,
    buffers: Sequence[Tensor] = (),
    *,
    copy: bool = False,
) -> Snapshot:
    """What a checkpoint holds; of a finished stage, whose moments nobody needs, without `optimizer`.

    `buffers` change with what is trained, but not by its gradients: a batch norm's mean and variance. With `copy`, the
    training may go on while it is written.
    """
    tensors = {f"weight.{i}": weight.detach().contiguous() for i, weight in enumerate(trained)}
    tensors |= {f"buffer.{i}": buffer.contiguous() for i, buffer in enumerate(buffers)}
    steps = {}
    for i, weight in enumerate(trained if optimizer else ()):
        if moments := optimizer.state.get(weight):  # type: ignore[union-attr]
            tensors |= {f"{name}.{i}": moments[name] for name in MOMENTS}
            steps[str(i)] = float(moments["step"])
    if copy and not any(isinstance(tensor, DTensor) for tensor in tensors.values()):
        tensors = {name: tensor.to("cpu", copy=True) for name, tensor in tensors.items()}
    return Snapshot(tensors, json.dumps({"progress": asdict(done), "optimizer_steps": steps}))


def save(
    folder: Path,
    trained: Sequence[Tensor],
    optimizer: torch.optim.Optimizer | None,
    done: Progressed,
    buffers: Sequence[Tensor] = (),
    world: World = ALONE,
) -> None:
    """Write the checkpoint of `snapshot`'s arguments; raises `IsthmusError` as `write` does."""
    write(folder, snapshot(trained, optimizer, done, buffers), world)


def write(folder: Path, own: Snapshot, world: World = ALONE) -> None:
    """Write a checkpoint; of weights that are divided among processes, each writes what it has.

    Raises `IsthmusError` when the disk is full, with the one before untouched.
    """
    several = any(isinstance(tensor, DTensor) for tensor in own.tensors.values())
    if not (several or world.first):
        return
    scratch = folder.with_name(f".writing-{folder.name}")
    try:
        with cache.scratch(scratch) if world.first else nullcontext():
            new = scratch / folder.name
            if several:
                world.wait()  # the folder is there
                from isthmus.train import divided

                divided.write(new, own.tensors)
            else:
                new.mkdir()
                save_file(own.tensors, new / WHOLE)
            if world.first:
                (new / "state.json").write_text(own.facts)
                cache.write_manifest(new, {"checkpoint": "stage"})
                cache.publish(new, folder)
    except (OSError, SafetensorError) as error:
        raise IsthmusError(
            f"the state {folder} was not written: {error}. What was there is unchanged. Free some space, then --resume."
        ) from error
    if several:
        world.wait()  # it is there for all of them


class Saver:
    """Writes checkpoints in a thread of its own; a training that goes on is not what it writes (`snapshot`, copied).

    What is divided among processes is written at once: they wait for each other.
    """

    def __init__(self, folder: Path, world: World = ALONE) -> None:
        self.folder, self.world = folder, world
        self._pool = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def save(self, own: Snapshot) -> None:
        """Begin to write, once the one before is written. Raises `IsthmusError` if that could not be."""
        self.wait()
        if self.world.shard:
            write(self.folder, own, self.world)
        else:
            self._pending = self._pool.submit(write, self.folder, own, self.world)

    def wait(self) -> None:
        """Until everything is written. Raises `IsthmusError` if it could not be."""
        pending, self._pending = self._pending, None
        if pending:
            pending.result()


def restore(
    folder: Path,
    trained: Sequence[Tensor],
    optimizer: torch.optim.Optimizer | None,
    buffers: Sequence[Tensor] = (),
    *,
    helped: bool = False,
) -> Progressed:
    """Put a checkpoint back; where there is none, the stage starts at step 0.

    With `helped`, more weights may be in it, behind these: of what an objective trains and throws away.

    Raises `BadCheckpoint` when it is incomplete or altered, or belongs to other trained parts.
    """
    earlier = folder.with_name(f".replaced-{folder.name}")
    if not folder.exists() and (earlier / cache.MANIFEST).is_file():  # killed between the two renames of `publish`
        with suppress(FileNotFoundError):  # another process did it
            earlier.rename(folder)
    if not folder.exists():
        return Progressed()
    own = {f"weight.{i}": weight for i, weight in enumerate(trained)}
    own |= {f"buffer.{i}": buffer for i, buffer in enumerate(buffers)}
    try:
        altered = cache.altered(folder)
        facts = json.loads((folder / "state.json").read_text())
        done, steps = Progressed(**facts["progress"]), facts["optimizer_steps"]
        if (folder / WHOLE).exists():
            tensors = load_file(folder / WHOLE)
        else:
            from isthmus.train import divided

            moments = {f"{m}.{i}": own[f"weight.{i}"] for i in steps for m in MOMENTS}
            tensors = divided.read(folder, own | moments, more=helped)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise BadCheckpoint(f"{folder}: incomplete or altered ({error}). Delete it to start the stage anew") from error
    if altered:
        raise BadCheckpoint(f"{folder}: {altered[0]} differs from its manifest. Delete the folder to start anew")
    kept = {name: tensor.shape for name, tensor in tensors.items() if name.startswith(("weight.", "buffer."))}
    if helped:
        kept = {name: shape for name, shape in kept.items() if name in own or name.startswith("buffer.")}
    if kept != {name: tensor.shape for name, tensor in own.items()}:
        raise BadCheckpoint(f"{folder}: made for other trained parts. Delete it to start the stage anew")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(_like(tensors[name], tensor))
        for i, weight in enumerate(trained):
            if optimizer and str(i) in steps:
                restored = {name: _like(tensors[f"{name}.{i}"], weight) for name in MOMENTS}
                optimizer.state[weight] = {"step": torch.tensor(steps[str(i)]), **restored}
    done.checks = [(int(step), loss) for step, loss in done.checks]
    done.points = [(int(step), seconds, loss, speed) for step, seconds, loss, speed in done.points]
    return done


def step(folder: Path) -> int | None:
    """The step of a checkpoint; None where there is none."""
    try:
        return int(json.loads((folder / "state.json").read_text())["progress"]["step"])
    except (OSError, ValueError, KeyError):
        return None


def _like(own: Tensor, other: Tensor) -> Tensor:
    """A tensor as it lies in memory or among processes where another one does."""
    if isinstance(other, DTensor) and not isinstance(own, DTensor):
        return distribute_tensor(own.to(other.device), other.device_mesh, other.placements)
    return own.to(other.device)
