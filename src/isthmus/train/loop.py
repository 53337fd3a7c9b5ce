"""The training loop: one for every stage and objective."""

from __future__ import annotations

import hashlib
import math
import random
import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, stdev
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
from isthmus.train.state import Progressed, Saver
from isthmus.types import Sample

SKIPS = 5  # batches in a row whose loss or gradient may be NaN or infinite before the run stops
RECENT = 50  # steps by whose losses a spike is told
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
    check: Callable[[], float] | None = None,
    logs: Sequence[Any] = (),
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
        check: the loss on what is held out, asked for as `stage.check` says.
        logs: what each step is told to (`train.logs`).
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
    with _bar(console) as bar, _ctrl_c() as stopping, Saver(folder) as saver:
        task = bar.add_task(stage.name, total=stage.steps, completed=done.step, note="")
        for log in logs:
            log.begin(stage.name, done.step)
        while done.step < stage.steps and not _over(stage, done):
            factor = rate(done.step, stage.steps, stage.warmup)
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
            rng = random.Random(f"{seed}/{stage.name}/{done.place}")
            torch.manual_seed(rng.getrandbits(63))  # dropout, where an LLM has it
            tick = time.monotonic()
            before = [buffer.clone() for buffer in buffers]
            places = range(done.place * stage.accumulate, (done.place + 1) * stage.accumulate)
            parts_of = [mixture.batch(batches[place], rng) for place in places]
            samples = [sample for some, _ in parts_of for sample in some]
            optimizer.zero_grad(set_to_none=True)
            value, tokens = _gradients(objective, parts_of, stage)
            usable = math.isfinite(value) and not _spike(value, done, stage)
            norm = _update(optimizer, trained, stage.clip) if usable else None
            now = time.monotonic()
            done.seconds = now - started
            if norm is not None:
                if done.step == 0:
                    found = {group["name"]: [weight.grad for weight in group["params"]] for group in groups}
                    all_learn(stage, found, later=_kinds(mixture.samples) - _kinds(samples))
                bad = 0
                done.add(value, tokens / max(now - tick, 1e-9))
                for log in logs:
                    log.step(done.step, loss=value, rate=factor, norm=norm, tokens_per_second=done.points[-1][3])
                bar.update(task, completed=done.step, note=_note(done))
            else:
                bad += 1
                for buffer, was in zip(buffers, before, strict=True):
                    buffer.copy_(was)
                done.skipped.append([sample.id for sample in samples])
                bar.console.print(f"skipped after step {done.step}: loss {value}, samples {_list(done.skipped[-1:])}")
            if bad == SKIPS:
                lost, done.skipped = done.skipped[-SKIPS:], done.skipped[:-SKIPS]
                saver.wait()
                state.save(folder, trained, optimizer, done, buffers)
                raise IsthmusError(_diverged(stage, done, folder, lost))
            if norm is not None and check and stage.check and done.step % stage.check.every == 0:
                done.checks.append((done.step, check()))
                for log in logs:
                    log.step(done.step, held_out_loss=done.checks[-1][1])
                if done.best == done.checks[-1]:
                    state.save(best(folder), trained, None, done, buffers)
            if stopping or time.monotonic() - saved > SAVE_EVERY:
                saver.save(state.snapshot(trained, optimizer, done, buffers, copy=not stopping))
                saved = time.monotonic()
            if stopping:
                saver.wait()
                raise Interrupted(f"stopped at step {done.step} of stage {stage.name}; saved. Go on: {how_to_resume}")
        objective.finish()
        saver.wait()
        if stage.check and stage.check.keep == "best" and done.checks:
            state.restore(best(folder), trained, optimizer, buffers)
        state.save(folder, trained, None, done, buffers)
        if stopping:  # pressed after the last step
            raise Interrupted(f"stopped at the end of stage {stage.name}; saved. Go on: {how_to_resume}")
    return done


def best(folder: Path) -> Path:
    """Where a stage keeps the weights that did best on what is held out."""
    return folder.with_name(f"{folder.name}-best")


def _gradients(objective: Any, batches: Sequence[tuple[Any, Any]], stage: Stage) -> tuple[float, int]:
    """The loss over several batches as if they were one, its gradients, and the tokens in it.

    Each batch's mean counts by its supervised tokens, so that the gradient is that of the mean over all of them; one
    mean of means would favour the tokens of batches with few.
    """
    if len(batches) > 1 and not hasattr(objective, "weigh"):
        raise BadRecipe(f"stage {stage.name}: {stage.objective} compares within a batch: raise batch, not accumulate")
    weights = [objective.weigh(samples) for samples, _ in batches] if len(batches) > 1 else [1]
    value, tokens = 0.0, 0
    for (samples, seen), weight in zip(batches, weights, strict=True):
        loss, count = objective(samples, seen)
        share = weight / sum(weights)
        value, tokens = value + loss.item() * share, tokens + count
        if not math.isfinite(value):
            break
        (loss * share).backward()
    return value, tokens


def _spike(value: float, done: Progressed, stage: Stage) -> bool:
    """Whether a loss is so far above those of the last steps that its batch is left out."""
    last = [point[2] for point in done.points[-RECENT:]]
    return len(last) == RECENT and value > fmean(last) + stage.spike * stdev(last)


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


def _update(optimizer: torch.optim.Optimizer, trained: list[Tensor], clip: float) -> float | None:
    """One step of the optimizer, and the gradient's norm; None where that is not finite, and then nothing changes."""
    norm = float(torch.nn.utils.clip_grad_norm_(trained, clip))
    if not math.isfinite(norm):
        return None
    optimizer.step()
    return norm


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
