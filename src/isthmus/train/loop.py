"""The training loop: one for every stage and objective."""

from __future__ import annotations

import hashlib
import math
import random
import signal
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from isthmus.errors import BadCheckpoint, BadRecipe, Interrupted, IsthmusError
from isthmus.train import state
from isthmus.train.mixture import Mixture
from isthmus.train.order import order
from isthmus.train.recipe import Stage
from isthmus.train.state import Progressed
from isthmus.types import Sample

SKIPS = 5  # batches in a row whose loss or gradient may be NaN or infinite before the run stops
SAVE_EVERY = 120.0  # seconds between checkpoints
FLOOR = 0.05  # the learning rate's last value over its peak


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
    parts: Sequence[str] = (),
    console: Console | None = None,
) -> Progressed:
    """Run one stage to its last step, or to the ceiling in minutes.

    Everything random in a step follows from (seed, stage, batches drawn), so a resumed stage repeats nothing and
    gives, on the same machine and threads, bit for bit what an uninterrupted one gives. A batch whose loss or gradient
    is not finite is skipped: it changes no weight and no buffer, is no step, and its samples are recorded.

    Args:
        groups: parameter groups as AdamW takes them, each with its part's name, its peak learning rate and, where its
            part has any, the `buffers` that change while it learns.
        folder: where the stage keeps its checkpoint (see `train.state`).
        how_to_resume: the command that `Interrupted` names.
        parts: what stands for the model's parts; a checkpoint goes on only with the same parts, samples and features.

    Raises:
        Interrupted: after Ctrl-C, once the checkpoint is written.
        BadCheckpoint: when the checkpoint cannot be used, or data or parts are no longer those that it was made with.
        BadRecipe: when a part that should be trained gets no gradient.
        IsthmusError: when `SKIPS` batches in a row are not finite; the checkpoint is from before them.
    """
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0, fused=True)
    trained = [weight for group in groups for weight in group["params"]]
    buffers = [buffer for group in groups for buffer in group.get("buffers", ())]
    peaks = [group["lr"] for group in groups]
    done = state.restore(folder, trained, optimizer, buffers) if resume else Progressed()
    _same_data(done, mixture, parts, folder)
    batches = order(mixture, stage, seed)
    started, saved, bad = time.monotonic() - done.seconds, time.monotonic(), 0
    with _bar(console) as bar, _ctrl_c() as stopping:
        task = bar.add_task(stage.name, total=stage.steps, completed=done.step, note="")
        while done.step < stage.steps and not _over(stage, done):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * rate(done.step, stage.steps, stage.warmup)
            rng = random.Random(f"{seed}/{stage.name}/{done.place}")
            torch.manual_seed(rng.getrandbits(63))  # dropout, where an LLM has it
            tick = time.monotonic()
            before = [buffer.clone() for buffer in buffers]
            samples, features = mixture.batch(batches[done.place], rng)
            loss, tokens = objective(samples, features)
            value = loss.item()
            finite = math.isfinite(value) and _update(loss, optimizer, trained, stage.clip)
            now = time.monotonic()
            done.seconds = now - started
            if finite:
                if done.step == 0:
                    found = {group["name"]: [weight.grad for weight in group["params"]] for group in groups}
                    all_learn(stage, found, later=_kinds(mixture.samples) - _kinds(samples))
                bad = 0
                done.add(value, tokens / max(now - tick, 1e-9))
                bar.update(task, completed=done.step, note=_note(done))
            else:
                bad += 1
                for buffer, was in zip(buffers, before, strict=True):
                    buffer.copy_(was)
                done.skipped.append([sample.id for sample in samples])
                bar.console.print(f"skipped after step {done.step}: loss {value}, samples {_list(done.skipped[-1:])}")
            if bad == SKIPS:
                lost, done.skipped = done.skipped[-SKIPS:], done.skipped[:-SKIPS]
                state.save(folder, trained, optimizer, done, buffers)
                raise IsthmusError(_diverged(stage, done, folder, lost))
            if stopping or now - saved > SAVE_EVERY:
                state.save(folder, trained, optimizer, done, buffers)
                saved = time.monotonic()
            if stopping:
                raise Interrupted(f"stopped at step {done.step} of stage {stage.name}; saved. Go on: {how_to_resume}")
        objective.finish()
        state.save(folder, trained, None, done, buffers)
        if stopping:  # pressed after the last step
            raise Interrupted(f"stopped at the end of stage {stage.name}; saved. Go on: {how_to_resume}")
    return done


def _same_data(done: Progressed, mixture: Mixture, parts: Sequence[str], folder: Path) -> None:
    """Note what stands for data and parts, or see that they are those that the checkpoint was made with."""
    digest = hashlib.sha256(" ".join([mixture.digest, *parts]).encode()).hexdigest()
    if done.data not in ("", digest):
        raise BadCheckpoint(
            f"{folder}: the stage's samples, pictures or parts changed since, or features were computed anew."
            " Put back what changed, or delete the folder to start anew"
        )
    done.data = digest


def rate(step: int, steps: int, warmup: int) -> float:
    """The learning rate over its peak: linear warm-up, then a cosine down to `FLOOR` (Loshchilov and Hutter, 2017).

    >>> rate(0, 100, 10), rate(9, 100, 10), round(rate(99, 100, 10), 2)
    (0.1, 1.0, 0.05)
    """
    if step < warmup:
        return (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * share))


def _update(loss: Tensor, optimizer: torch.optim.Optimizer, trained: list[Tensor], clip: float) -> bool:
    """One step of the optimizer, unless a gradient is not finite: then nothing changes and the answer is false."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    finite = bool(torch.nn.utils.clip_grad_norm_(trained, clip).isfinite())
    if finite:
        optimizer.step()
    return finite


def all_learn(stage: Stage, gradients: Mapping[str, Sequence[Tensor | None]], later: Collection[str] = ()) -> None:
    """Raises `BadRecipe` for a trained part to whose weights the loss gave no gradient.

    Parts of the kinds of media that come `later`, and were not in this batch, are left out.
    """
    for name, found in gradients.items():
        if name.partition(".")[0] not in later and all(gradient is None for gradient in found):
            raise BadRecipe(
                f"stage {stage.name}: the objective {stage.objective} gives {name} no gradient, so it"
                " would not be trained. Take it out of `train`, or choose another objective."
            )


def _kinds(samples: Iterable[Sample]) -> set[str]:
    return {medium.kind for sample in samples for medium in sample.media}


def _over(stage: Stage, done: Progressed) -> bool:
    return stage.minutes is not None and done.seconds > 60 * stage.minutes


def _note(done: Progressed) -> str:
    last = done.points[-20:]
    return f"loss {fmean(point[2] for point in last):.3f}  {fmean(point[3] for point in last):.0f} tokens/s"


def _diverged(stage: Stage, done: Progressed, folder: Path, lost: list[list[str]]) -> str:
    return (
        f"stage {stage.name}: loss or gradient was not finite for {SKIPS} batches in a row after step {done.step}."
        f" Samples: {_list(lost)}. The state from before them is in {folder}."
        " Lower the learning rate, or leave these samples out."
    )


def _list(batches: list[list[str]]) -> str:
    found = sorted({name for ids in batches for name in ids})
    return ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")


def _bar(console: Console | None) -> Progress:
    columns = (TextColumn("{task.description:>12}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    note = TextColumn("{task.fields[note]}")
    return Progress(*columns, TimeRemainingColumn(), note, refresh_per_second=2, console=console)


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
