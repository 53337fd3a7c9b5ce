"""The training loop: one for every stage and objective."""

from __future__ import annotations

import math
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from isthmus.errors import IsthmusError
from isthmus.train import state
from isthmus.train.mixture import Mixture
from isthmus.train.order import Order
from isthmus.train.recipe import Stage

SKIPS = 5  # steps in a row whose loss may be NaN or infinite before the run stops
SAVE_EVERY = 120.0  # seconds between checkpoints
FLOOR = 0.05  # the learning rate's last value over its peak


class Interrupted(IsthmusError):
    """Ctrl-C: everything is saved, and the message says how to go on."""


@dataclass
class Progressed:
    """Where a stage is: what a checkpoint holds beside the tensors."""

    step: int = 0
    seconds: float = 0.0
    points: list[tuple[int, float, float, float]] = field(default_factory=list)  # step, seconds, loss, tokens/s
    skipped: list[list[str]] = field(default_factory=list)  # sample ids of steps whose loss was not finite


def run_stage(
    stage: Stage,
    objective: Any,
    mixture: Mixture,
    groups: list[dict[str, Any]],
    folder: Path,
    *,
    seed: int = 0,
    resume: bool = False,
    how_to_resume: str = "",
) -> Progressed:
    """Run one stage to its last step, or to the ceiling in minutes.

    Args:
        groups: parameter groups as AdamW takes them, each with its peak learning rate.
        folder: where the stage keeps its checkpoint (see `train.state`).
        how_to_resume: the command that `Interrupted` names.

    Raises:
        Interrupted: after Ctrl-C, once the checkpoint is written.
        IsthmusError: when the loss stays NaN for `SKIPS` steps; the checkpoint is from before them.
    """
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    trained = [weight for group in groups for weight in group["params"]]
    peaks = [group["lr"] for group in groups]
    done = state.restore(folder, trained, optimizer) if resume else Progressed()
    order = Order(mixture.lengths, stage.batch, f"{seed}/{stage.name}")
    started, saved, bad = time.monotonic() - done.seconds, time.monotonic(), 0
    with _bar() as bar, _ctrl_c() as stopping:
        task = bar.add_task(stage.name, total=stage.steps, completed=done.step, note="")
        while done.step < stage.steps and not _over(stage, done):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * rate(done.step, stage.steps, stage.warmup)
            samples, features = mixture.batch(order[done.step], random.Random(f"{seed}/{stage.name}/{done.step}"))
            tick = time.monotonic()
            loss, tokens = objective(samples, features)
            value = loss.item()
            if math.isfinite(value):
                _update(loss, optimizer, trained, stage.clip)
                bad = 0
            else:
                bad += 1
                done.skipped.append([sample.id for sample in samples])
            done.step += 1
            now = time.monotonic()
            done.seconds = now - started
            done.points.append((done.step, done.seconds, value, tokens / max(now - tick, 1e-9)))
            if bad == SKIPS:
                raise IsthmusError(_diverged(stage, done, folder))
            note = f"loss {_recent(done, 2):.3f}  {_recent(done, 3):.0f} tokens/s"
            bar.update(task, completed=done.step, note=note)
            if stopping or (now - saved > SAVE_EVERY and not bad):
                state.save(folder, trained, optimizer, done)
                saved = time.monotonic()
            if stopping:
                raise Interrupted(f"stopped at step {done.step} of stage {stage.name}; saved. Go on: {how_to_resume}")
    objective.finish()
    return done


def rate(step: int, steps: int, warmup: int) -> float:
    """The learning rate over its peak: linear warm-up, then a cosine down to `FLOOR` (Loshchilov and Hutter, 2017).

    >>> rate(0, 100, 10), rate(9, 100, 10), round(rate(99, 100, 10), 2)
    (0.1, 1.0, 0.05)
    """
    if step < warmup:
        return (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * share))


def _update(loss: Tensor, optimizer: torch.optim.Optimizer, trained: list[Tensor], clip: float) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(trained, clip)
    optimizer.step()


def _over(stage: Stage, done: Progressed) -> bool:
    return stage.minutes is not None and done.seconds > 60 * stage.minutes


def _recent(done: Progressed, column: int) -> float:
    last = [point[column] for point in done.points[-20:]]
    return sum(last) / len(last)


def _diverged(stage: Stage, done: Progressed, folder: Path) -> str:
    names = ", ".join(sorted({name for ids in done.skipped[-SKIPS:] for name in ids})[:8])
    where = f" The last good state is in {folder}." if (folder / "state.json").exists() else ""
    return (
        f"the loss of stage {stage.name} was not finite for {SKIPS} steps up to step {done.step}."
        f" Samples: {names}.{where} Lower the learning rate, or leave these samples out."
    )


def _bar() -> Progress:
    columns = (TextColumn("{task.description:>12}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    return Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[note]}"), refresh_per_second=2)


@contextmanager
def _ctrl_c() -> Iterator[list[int]]:
    """A list that is filled by the first Ctrl-C, so that a step is never cut in half; the second one interrupts."""
    seen: list[int] = []

    def note(number: int, frame: object) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: the caller handles signals
        yield seen
        return
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
