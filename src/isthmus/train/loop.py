"""The training loop: one for every stage and objective."""

from __future__ import annotations

import hashlib
import math
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from isthmus.data.seen import Seen
from isthmus.errors import BadCheckpoint, BadRecipe, Interrupted, IsthmusError
from isthmus.train import screen, state
from isthmus.train.mixture import Mixture, kinds
from isthmus.train.order import order
from isthmus.train.recipe import Stage
from isthmus.train.state import Progressed, Saver
from isthmus.train.world import ALONE, World, norm_of
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
    world: World = ALONE,
    model: nn.Module | None = None,
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
        world: the processes among which each batch is divided; of several, each runs this, with the `model`.

    Raises:
        Interrupted: after Ctrl-C, once the checkpoint is written.
        BadCheckpoint: when the checkpoint cannot be used, or data or parts are no longer those that it was made with.
        BadRecipe: when a part that should be trained gets no gradient.
        IsthmusError: when `SKIPS` batches in a row are not finite; the checkpoint is from before them.
    """
    with (
        screen.bar(console) as bar,
        screen.stops() as pressed,
        Saver(folder, world) as saver,
        ThreadPoolExecutor(1) as ahead,
    ):
        it = _Stage(stage, objective, mixture, groups, saver, seed, world, ahead, model)
        done = it.begin(resume, parts)
        task = bar.add_task(stage.name, total=stage.steps, completed=done.step, note="")
        for log in logs:
            log.begin(stage.name, done.step)
        while done.step < stage.steps and not (stage.minutes is not None and done.seconds > 60 * stage.minutes):
            facts = it.step()
            if "norm" in facts:
                bar.update(task, completed=done.step, note=screen.note(done))
                facts |= it.check(check)
                for log in logs:
                    log.step(done.step, **facts)
            else:
                said = (
                    f"skipped after step {done.step}: loss {facts['loss']}, samples {screen.listed(done.skipped[-1:])}"
                )
                bar.console.print(said)
            if it.bad == SKIPS:
                raise IsthmusError(_diverged(stage, done, folder, it.back()))
            stopping = it.agreed(pressed)
            it.save(stopping)
            if stopping:
                raise Interrupted(f"stopped at step {done.step} of stage {stage.name}; saved. Go on: {how_to_resume}")
        it.end()
        if it.agreed(pressed):  # after the last step
            raise Interrupted(f"stopped at the end of stage {stage.name}; saved. Go on: {how_to_resume}")
    return done


@dataclass
class _Stage:
    """A stage under way, as one of the processes of its `world` runs it."""

    stage: Stage
    objective: Any
    mixture: Mixture
    groups: list[dict[str, Any]]
    saver: Saver
    seed: int
    world: World
    ahead: Executor  # reads and prepares the next batch while this one is computed
    model: nn.Module | None
    bad: int = 0  # batches in a row that were skipped

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.AdamW(self.groups, weight_decay=0.0, fused=True)
        self.trained = [weight for group in self.groups for weight in group["params"]]
        self.buffers = [buffer for group in self.groups for buffer in group.get("buffers", ())]
        self.peaks = [group["lr"] for group in self.groups]
        self.loss = self.objective if self.model is None else self.world.replicate(self.objective, self.model)
        self.batches = order(self.mixture, self.stage, self.seed)
        self.next: tuple[int, Future[_Drawn]] | None = None

    def begin(self, resume: bool, parts: Sequence[str]) -> Progressed:
        """Where the stage is: at its start, or where its checkpoint is."""
        folder = self.saver.folder
        done = state.restore(folder, self.trained, self.optimizer, self.buffers) if resume else Progressed()
        _same_data(done, self.mixture, parts, folder)
        self.done, self.saved = done, done.seconds
        self.started = time.monotonic() - done.seconds
        return done

    def step(self) -> dict[str, float]:
        """One batch: its loss; and where that and its gradient were usable, so that weights changed, their norm."""
        done, tick = self.done, time.monotonic()
        factor = rate(done.step, self.stage.steps, self.stage.warmup)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor
        drawn = self._drawn(done.place)
        torch.manual_seed(drawn.seed + self.world.rank)  # dropout, where an LLM has it
        before = [buffer.clone() for buffer in self.buffers]
        self.optimizer.zero_grad(set_to_none=True)
        value, tokens = self._gradients(drawn)
        usable = math.isfinite(value) and not _spike(value, done, self.stage)
        norm = _update(self.optimizer, self.trained, self.stage.clip) if usable else None
        self.world.average(self.buffers)
        now = time.monotonic()
        done.seconds = self.world.sum(now - self.started if self.world.first else 0.0)[0]
        if norm is None:
            self.bad += 1
            for buffer, was in zip(self.buffers, before, strict=True):
                buffer.copy_(was)
            done.skipped.append([sample.id for sample in drawn.samples])
            return {"loss": value}
        if done.step == 0:
            found = {group["name"]: [weight.grad for weight in group["params"]] for group in self.groups}
            all_learn(self.stage, found, later=kinds(self.mixture.samples) - kinds(drawn.samples))
        self.bad = 0
        done.add(value, tokens / max(now - tick, 1e-9))
        return {"loss": value, "rate": factor, "norm": norm, "tokens_per_second": done.points[-1][3]}

    def _drawn(self, place: int) -> _Drawn:
        """The batches of a step, which were begun during the step before; those of the next one are begun."""
        now = self.next[1] if self.next and self.next[0] == place else self.ahead.submit(self._draw, place)
        self.next = None
        if self.done.step + 1 < self.stage.steps:
            self.next = place + 1, self.ahead.submit(self._draw, place + 1)
        return now.result()

    def _draw(self, place: int) -> _Drawn:
        rng = random.Random(f"{self.seed}/{self.stage.name}/{place}")
        seed, parts, samples = rng.getrandbits(63) % 2**62, [], []
        for number in range(place * self.stage.accumulate, (place + 1) * self.stage.accumulate):
            indices = self.batches[number]
            picked = self.mixture.pick(indices, rng)
            mine = self.world.share(range(len(indices)))
            weight = self._weigh([picked[i] for i in mine])
            if not weight:  # with nothing to do, a process keeps step with the others
                mine = [next((i for i, sample in enumerate(picked) if self._weigh([sample])), 0)]
            parts.append(([picked[i] for i in mine], self.mixture.take([indices[i] for i in mine]), weight))
            samples += picked
        return _Drawn(seed, samples, parts)

    def _weigh(self, samples: Sequence[Sample]) -> int:
        """How much the mean over some samples counts beside those of other processes and batches."""
        many = self.stage.accumulate * self.world.size > 1
        return self.objective.weigh(samples) if many and samples else len(samples)

    def _gradients(self, drawn: _Drawn) -> tuple[float, int]:
        """The loss over several batches as if they were one, its gradients, and the tokens in it.

        Each batch's mean counts by its supervised tokens, so that the gradient is that of the mean over all of them;
        one mean of means would favour the tokens of batches with few.
        """
        total, value, tokens = self.world.sum(sum(weight for *_, weight in drawn.parts))[0], 0.0, 0.0
        for number, (samples, taken, weight) in enumerate(drawn.parts, 1):
            last = number == len(drawn.parts)
            with self.world.precision(), nullcontext() if last else getattr(self.loss, "no_sync", nullcontext)():
                loss, count = self.loss(samples, self.mixture.made(taken, learns=True))
                share = weight / total
                sums = self.world.sum(loss.item() * share, count if weight else 0)
                value, tokens = value + sums[0], tokens + sums[1]
                if not math.isfinite(value):
                    break
                if loss.requires_grad:  # no text does where only what brings media in is trained
                    (loss * (share * self.world.size)).backward()  # DDP and FSDP give means over the processes
        return value, int(tokens)

    def check(self, check: Callable[[], float] | None) -> dict[str, float]:
        """The loss on what is held out, at the steps at which it is asked for; the best weights are kept."""
        held, done = self.stage.check, self.done
        if not check or not held or done.step % held.every:
            return {}
        value = check()  # by all of them, whose last digits may differ
        done.checks.append((done.step, self.world.sum(value if self.world.first else 0.0)[0]))
        if done.best == done.checks[-1]:
            state.save(best(self.saver.folder), self.trained, None, done, self.buffers, self.world)
        return {"held_out_loss": done.checks[-1][1]}

    def agreed(self, pressed: Collection[int]) -> bool:
        """Whether to stop: all processes do, when one was told to."""
        return self.world.sum(len(pressed))[0] > 0

    def save(self, stopping: bool) -> None:
        """Write the checkpoint when it is due, or now when `stopping`."""
        if not stopping and self.done.seconds - self.saved <= SAVE_EVERY:
            return
        self.saver.save(state.snapshot(self.trained, self.optimizer, self.done, self.buffers, copy=not stopping))
        self.saved = self.done.seconds
        if stopping:
            self.saver.wait()

    def back(self) -> list[list[str]]:
        """Save the state from before the last `SKIPS` batches, which are returned."""
        lost = self.done.skipped[-SKIPS:]
        del self.done.skipped[-SKIPS:]
        self.save(stopping=True)
        return lost

    def end(self) -> None:
        """What is left to do after the last step."""
        self.objective.finish()
        self.saver.wait()
        held, folder = self.stage.check, self.saver.folder
        if held and held.keep == "best" and self.done.best and state.step(best(folder)) == self.done.best[0]:
            state.restore(best(folder), self.trained, self.optimizer, self.buffers)  # of this sitting's past
        state.save(folder, self.trained, None, self.done, self.buffers, self.world)
        self.world.wait()  # others may read it


@dataclass(frozen=True)
class _Drawn:
    """What a step is made of: its samples, and of each of its batches this process's, what they show, and their say."""

    seed: int
    samples: list[Sample]
    parts: list[tuple[list[Sample], Seen, int]]


def best(folder: Path) -> Path:
    """Where a stage keeps the weights that did best on what is held out."""
    return folder.with_name(f"{folder.name}-best")


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
    norm = norm_of(gradients := [weight.grad for weight in trained if weight.grad is not None])
    if not math.isfinite(norm):
        return None
    for gradient in gradients if norm > clip else ():
        gradient.mul_(clip / norm)
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


def _diverged(stage: Stage, done: Progressed, folder: Path, lost: list[list[str]]) -> str:
    return (
        f"stage {stage.name}: loss or gradient was not finite for {SKIPS} batches in a row after step {done.step}."
        f" Samples: {screen.listed(lost)}. The state from before them is in {folder}."
        " Begin anew with a lower learning rate or without these samples, under another --out."
    )
