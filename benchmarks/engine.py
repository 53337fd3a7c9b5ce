"""How fast do we train beside transformers' `Trainer` and TRL's `SFTTrainer` on the same Llava?

    python benchmarks/engine.py [--quick] [--threads N] [--only NAME]      writes benchmarks/results/engine.json

Three sides train the connector and LoRA of the recipe `demo`'s parts: the same starting weights, the same samples in
the same batches in the same order, the same LoRA, AdamW, learning rates and clipping, fp32, the same threads. Ours is
`run_stage`. Both peers (`_llava_peer.py`) pad their rows, and take a step's samples `at_once` so many, with gradient
accumulation, since all of them would not fit into memory. They are given rows and pixels ready made, so that no
tokenising and no drawing is in their time.

Workloads (`_workloads.py`): `lengths` is a mix of conversations as instruction data has it, in a random order, 16 a
step as LLaVA-1.5 has on each GPU, of which peers take four at once or, to pad nothing, one; and in batches of like
length, four a step (for `Trainer`, `train_sampling_strategy="group_by_length"`: all sides get the same batches).
`questions` has five questions about each picture, which do not see each other, with the demo's 16 soft tokens a
picture, and with 256. Before anything is timed, the sides' losses of the first step must agree.

Ours and one peer are processes of their own (both peers beside us would not fit into 24 GB); they take turns, a few
steps at a time, and each measures its matrix products' peak after its turn; the best of them counts. A rate is what all
turns held over what all took, but for the first turn: turns hold different samples, and a median would leave out those
with much padding. Tokens are those of the text with its template, for all sides alike; padding and pictures' slots are
not counted. MFU is the arithmetic that the loss needs (`needed`: no padding, no logits without a label, no encoder,
nothing computed twice) over that peak.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from _common import RESULTS, best_shape, matmul, merge, needed, result
from _llava_peer import Peer, TrlPeer
from _workloads import lengths, questions
from rich.console import Console
from transformers import TrainerCallback

from isthmus.data.packing import Template, alone, pack
from isthmus.data.seen import Seen
from isthmus.train.cost import peak_memory
from isthmus.train.features import encode, features
from isthmus.train.loop import rate, run_stage
from isthmus.train.mixture import Mixture
from isthmus.train.order import Order
from isthmus.train.recipe import Lora, Mix, Recipe, Stage, load_recipe
from isthmus.train.setup import Run, composed, group, objective
from isthmus.types import Sample

RESULT = RESULTS / "engine.json"
PEERS = {"Trainer": Peer, "SFTTrainer": TrlPeer}
AGREE = 1e-3  # how far the losses of the first step may be apart
Steps = list[list[Sample]]
Between = Callable[[int], None]


@dataclass(frozen=True)
class Work:
    """A workload: what is drawn, the batch, and how many turns of how many steps each side takes."""

    name: str
    grouped: bool = False
    soft: int = 16  # tokens of a picture
    batch: int = 4
    at_once: int = 4  # samples that a peer takes at once
    rounds: int = 5
    burst: int = 1

    @cached_property
    def recipe(self) -> Recipe:
        """The demo's parts; with more soft tokens, pictures of 224 pixels a side, one token for each patch."""
        more = [] if self.soft == 16 else ["model.image.size=224", f"model.image.tokens={self.soft}"]
        return load_recipe("demo", more)

    @property
    def stage(self) -> Stage:
        """The demo's stage 2, as long as this takes."""
        steps = self.rounds * self.burst
        return self.recipe.stages[-1].model_copy(update={"steps": steps, "warmup": steps // 5, "batch": self.batch})

    def samples(self, template: Template) -> Any:
        """What is trained on: as many samples as the steps take, each once."""
        count = self.batch * self.stage.steps
        if self.name.startswith("lengths"):
            return lengths(count, template, self.recipe.seed, self.grouped)
        return questions(count, self.recipe.seed)


WORK = {
    work.name: work
    for work in (
        Work("lengths, random order", batch=16, rounds=7),
        Work("lengths, random order, peers one by one", batch=16, at_once=1),
        Work("lengths, like lengths together", grouped=True),
        Work("questions, 16 soft tokens"),
        Work("questions, 256 soft tokens", soft=256, batch=1, at_once=1, rounds=4),
    )
}


class Side:
    """One side in its own process: the samples step by step, and one training that stops between turns."""

    def __init__(self, name: str, work: Work) -> None:
        self.name, self.work, self.stage = name, work, work.stage
        self.run: Run = composed(work.recipe)
        torch.manual_seed(work.recipe.seed)
        self.run.model.requires_grad_(False)
        self.samples = work.samples(self.run.processor.template)
        order = Order(self.samples.lengths.tolist(), work.batch, f"{work.recipe.seed}/{self.stage.name}")
        self.plan: Steps = [[self.samples[i] for i in order[step]] for step in range(self.stage.steps)]
        if name in PEERS:
            self.peer = PEERS[name](self.run, self.stage, work.recipe.seed, work.at_once)
            self.peer.prepare(self.plan)
            if work.grouped:  # the least padding
                sizes = {one.id: len(pack(one, self.peer.template).ids) for step in self.plan for one in step}
                self.plan = [sorted(step, key=lambda one: sizes[one.id]) for step in self.plan]
            return
        self.groups = [group(self.run.model, where, how) for where, how in self.stage.train.items()]
        mixes = [Mix()] * len(self.samples)
        self.mixture = Mixture(self.samples, mixes, features(self.run, self.samples, console=Console(quiet=True)))
        self.goal = objective(self.run, self.stage, self.samples, self.mixture.some)

    def loss(self) -> float:
        """The loss of the first step, as this side computes it; ours of pictures encoded anew, not rounded ones."""
        if self.name in PEERS:
            return self.peer.first_loss(self.plan[0])
        self.run.model.eval()
        with torch.no_grad():
            return float(self.goal(self.plan[0], encode(self.run, self.plan[0]))[0])

    def train(self, between: Between) -> None:
        """All steps; `between` is called before each turn, with the steps done."""
        steps = self.stage.steps
        if self.name in PEERS:
            course = lambda step: rate(min(step, steps - 1), steps, self.stage.warmup)
            return self.peer.train(self.plan, course, Turns(self.work.burst, between))
        self.run.model.train()
        with tempfile.TemporaryDirectory() as folder:
            run_stage(
                self.stage, Watched(self.goal, self.plan, self.work.burst, between), self.mixture, self.groups,
                Path(folder) / "stage", seed=self.work.recipe.seed, console=Console(quiet=True),
            )  # fmt: skip


class Watched:
    """Our objective, which sees to it that steps are the planned ones and lets `between` act before each turn."""

    def __init__(self, goal: Any, plan: Steps, burst: int, between: Between) -> None:
        self.goal, self.plan, self.burst, self.between, self.step = goal, plan, burst, between, 0

    def __call__(self, samples: Sequence[Sample], seen: Seen) -> Any:
        """The objective's own loss."""
        assert [s.id for s in samples] == [s.id for s in self.plan[self.step]]
        if self.step % self.burst == 0:
            self.between(self.step)
        self.step += 1
        return self.goal(samples, seen)

    def finish(self) -> None:
        """The last turn ends."""
        self.between(self.step)
        self.goal.finish()


class Turns(TrainerCallback):
    """The same for a trainer."""

    def __init__(self, burst: int, between: Between) -> None:
        self.burst, self.between = burst, between

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A turn begins."""
        if state.global_step % self.burst == 0:
            self.between(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The last one ends."""
        if state.global_step == state.max_steps:
            self.between(state.global_step)


def serve(name: str, work: Work) -> None:
    """What a side's process runs: a line of JSON for each line that it reads."""
    out, sys.stdout = sys.stdout, sys.stderr  # trainers print
    say = lambda what: print(json.dumps(what), file=out, flush=True)
    with contextlib.redirect_stdout(sys.stderr):
        side, began = Side(name, work), [0.0, 0.0]
        say({"loss": side.loss()} | (facts(side) if name not in PEERS else {}))
        shape = best_shape()

        def between(step: int) -> None:
            if step:
                took = time.perf_counter() - began[0], time.process_time() - began[1]
                say({"seconds": took, "matmul": matmul(*shape), "MB": (peak_memory() or 0) / 2**20})
            if step < side.stage.steps and not sys.stdin.readline():
                raise SystemExit("nobody asks for another turn")
            began[:] = time.perf_counter(), time.process_time()

        side.train(between)


def facts(side: Side) -> dict[str, Any]:
    """What the turns hold: samples, questions, text tokens and needed GFLOP of each, and how long the rows are."""
    template, burst = side.run.processor.template, side.work.burst
    turns = [list(chain.from_iterable(side.plan[i : i + burst])) for i in range(0, len(side.plan), burst)]
    slots = set(template.placeholders.values())
    how = side.stage.train["llm"]
    assert isinstance(how, Lora)
    work = partial(needed, side.run.model.config.get_text_config(), how.lora)
    rows = [[pack(one, template) for sample in turn for one in ways(sample)] for turn in turns]
    sizes = sorted(len(row.ids) for turn in rows for row in turn)
    return {
        "samples": [len(turn) for turn in turns],
        "questions": [sum(len(sample.turns) for sample in turn) for turn in turns],
        "tokens": [sum(token not in slots for row in turn for token in row.ids) for turn in rows],
        "GFLOP ours": [sum(work(pack(sample, template)) for sample in turn) / 1e9 for turn in turns],
        "GFLOP peers": [sum(work(row) for row in turn) / 1e9 for turn in rows],
        "row lengths": {f"{p} %": sizes[min(len(sizes) - 1, p * len(sizes) // 100)] for p in (0, 25, 50, 75, 95, 100)},
        "soft tokens": sum(token in slots for turn in rows for row in turn for token in row.ids),
    }


def ways(sample: Sample) -> list[Sample]:
    """The rows that a peer makes of a sample: a conversation is one, separate questions are one each."""
    return [sample] if sample.chained else alone(sample)


class Process:
    """A side's process, as the one that compares sees it."""

    def __init__(self, name: str, work: Work, threads: int, errors: Any) -> None:
        command = [sys.executable, __file__, "--side", name, "--only", work.name, "--threads", str(threads)]
        command += ["--turns", str(work.rounds)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors}
        self.name, self.errors = name, errors
        self.process: Any = subprocess.Popen(command, text=True, bufsize=1, **pipes)

    def read(self) -> dict[str, Any]:
        """What the side says next."""
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise SystemExit(f"{self.name} ended early:\n{self.errors.read()[-4000:]}")
        return dict(json.loads(line))

    def turn(self) -> dict[str, Any]:
        """Let the side train for one turn."""
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self.read()


def measure(work: Work, peer: str, threads: int) -> list[dict[str, Any]]:
    """Every row of one workload, beside one peer."""
    names = ["ours", peer]
    with contextlib.ExitStack() as files:
        sides, about = {}, {}
        for name in names:  # one after another: loading takes a core
            errors = files.enter_context(tempfile.TemporaryFile("w+"))
            sides[name] = Process(name, work, threads, errors)
            about[name] = sides[name].read()
        losses = {name: about[name]["loss"] for name in names}
        print(f"{work.name}: losses of the first step {losses}", flush=True)
        assert max(losses.values()) - min(losses.values()) < AGREE, "the sides do not compute the same loss"
        told: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for turn in range(work.rounds):
            for name in names[:: 1 if turn % 2 else -1]:
                told[name].append(sides[name].turn())
        for side in sides.values():
            side.process.wait()
    return rows(work, peer, about["ours"], told, losses)


def rows(work: Work, peer: str, about: dict[str, Any], told: Any, losses: dict[str, float]) -> list[dict[str, Any]]:
    """Results of one workload."""
    lengths_of, soft = about["row lengths"], about["soft tokens"]
    how = {
        "turns": work.rounds - 1, "steps of a turn": work.burst, "batch": work.batch,
        "samples that a peer takes at once": work.at_once, "samples": sum(about["samples"]),
        "questions": sum(about["questions"]), "text tokens": sum(about["tokens"]), "soft tokens of the peers": soft,
        "row lengths of the peers": lengths_of, "losses of the first step": losses,
        "GFLOP needed, ours": sum(about["GFLOP ours"]), "GFLOP needed, peers": sum(about["GFLOP peers"]),
    }  # fmt: skip
    first = int(work.rounds > 1)  # the first turn does not count, where there are more

    def seconds(name: str, clock: int) -> list[float]:
        return [turn["seconds"][clock] for turn in told[name]][first:]

    def over(name: str, of: str, clock: int) -> float:
        return float(sum(about[of][first:]) / sum(seconds(name, clock)))

    def share(name: str, clock: int) -> float:
        peak = max(turn["matmul"][clock] for turn in told[name])
        return over(name, f"GFLOP {'ours' if name == 'ours' else 'peers'}", clock) / peak

    found = []
    unit = "questions" if work.name.startswith("questions") else "samples"
    for clock, per in enumerate(("second", "CPU second")):
        for of in ("tokens", unit):
            pair = [over(name, of, clock) for name in ("ours", peer)]
            each = {f"{of} of each turn": about[of][first:]}
            each |= {
                f"{per}s of each turn, {name}": [round(t, 3) for t in seconds(name, clock)] for name in ("ours", peer)
            }
            found.append(result(f"{work.name}: {of} per {per}, beside {peer}", *pair, peer, f"{of}/{per}", how | each))
        name = f"{work.name}: MFU by {per}s, beside {peer}"
        found.append(result(name, share("ours", clock), share(peer, clock), peer, "share", how))
    memory = [max(turn["MB"] for turn in told[name]) for name in ("ours", peer)]
    found.append(result(f"{work.name}: peak memory, beside {peer}", *memory, peer, "MB", how))
    return found


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one turn of each side of the first workload, not written")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch, on all sides")
    parser.add_argument("--only", choices=WORK, help="one workload")
    parser.add_argument("--peer", choices=PEERS, help="one peer")
    parser.add_argument("--turns", type=int, help="of each side (default: the workload's own)")
    parser.add_argument("--side", choices=("ours", *PEERS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    chosen = [WORK[options.only]] if options.only else list(WORK.values())
    if options.quick:
        chosen, options.turns = chosen[:1], 1
    for work in chosen:
        work = replace(work, rounds=options.turns or work.rounds)
        if options.side:
            return serve(options.side, work)
        for peer in [options.peer] if options.peer else PEERS:
            found = measure(work, peer, options.threads)
            if not options.quick:
                merge(RESULT, found)


if __name__ == "__main__":
    random.seed(0)
    main()
