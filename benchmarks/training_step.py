"""How fast is our training step beside the same model in transformers' Llava, trained by transformers' `Trainer`?

    python benchmarks/training_step.py [--quick] [--threads N] [--batch N]  writes benchmarks/results/training_step.json

Both train stage 2 of the recipe `demo`: the same starting weights (the connector after a short warm start), the same
question-answer pairs step by step, the same LoRA, AdamW, learning rates and clipping, fp32, the same threads. Ours is
`run_stage` as the demo calls it. The peer (`_llava_peer.py`) is the ordinary way: one picture and one pair an example,
pixels through the frozen encoder every step, rows padded on the right, logits at every position.

Text tokens are those of question, template and answer, counted alike for both; slots of pictures are not. The two take
turns in one process, and figures are medians over the turns; then their losses on other pairs are compared (not with
`--quick`). Where other programs share the machine, `--threads 1` and CPU seconds tell more: threads that wait for a
descheduled one spin.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from _common import RESULTS, machine, matmul, merge
from _llava_peer import Peer
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import Tensor

from isthmus.data.packing import collate, pack
from isthmus.data.seen import Seen
from isthmus.train.cost import peak_memory
from isthmus.train.features import encode, features
from isthmus.train.loop import rate, run_stage
from isthmus.train.mixture import Mixture, stage_samples
from isthmus.train.order import Order
from isthmus.train.recipe import Lora, Recipe, Stage, load_recipe
from isthmus.train.setup import Run, composed, group, objective
from isthmus.types import IGNORE_INDEX, Sample

RESULT = RESULTS / "training_step.json"
PEER = "transformers LlavaForConditionalGeneration + Trainer"
ROUNDS, BURST = 5, 5  # turns of each side, the first of which is not counted; steps of a turn
WARM_START = 30  # steps, fewer than the demo's own: what matters is that both sides start from the same
HELD_OUT = 60  # pairs
MEMORY_STEPS = 4
Steps = list[list[Sample]]


@dataclasses.dataclass
class Bench:
    """Stage 2 of the demo, ready to run: what every measurement starts from."""

    recipe: Recipe
    stage: Stage
    mixture: Mixture
    run: Run

    def plan(self, steps: int) -> Steps:
        """The samples, with the turns drawn, of our first steps: as `run_stage` draws them."""
        order = Order(self.mixture.lengths, self.stage.batch, f"{self.recipe.seed}/{self.stage.name}")
        rngs = [random.Random(f"{self.recipe.seed}/{self.stage.name}/{place}") for place in range(steps)]
        for rng in rngs:
            rng.getrandbits(63)  # the loop's seed for dropout
        return [self.mixture.pick(order[place], rng) for place, rng in enumerate(rngs)]

    def fit(self, steps: int, expected: Steps, between: Any = None) -> None:
        """Train our side for some steps, which must be the `expected` ones."""
        stage = self.stage.model_copy(update={"steps": steps, "warmup": warmup(steps)})
        self.run.model.requires_grad_(False)
        torch.manual_seed(self.recipe.seed)
        groups = [group(self.run.model, where, how) for where, how in stage.train.items()]
        self.run.model.train()
        goal = objective(self.run, stage, self.mixture.samples, self.mixture.some)
        with tempfile.TemporaryDirectory() as folder:
            run_stage(
                stage, Watched(goal, expected, between), self.mixture, groups, Path(folder) / "stage",
                seed=self.recipe.seed, console=Console(quiet=True),
            )  # fmt: skip

    @torch.no_grad()
    def loss(self, sample: Sample, *, exact: bool = False) -> list[float]:
        """The loss of each pair of a sample, all packed behind one prefix as in training.

        `exact` encodes the picture anew: cached features are rounded to float16.
        """
        self.run.model.eval()
        index = next(i for i, other in enumerate(self.mixture.samples) if other.id == sample.id)
        _, cached = self.mixture.batch([index], random.Random(0))
        seen = encode(self.run, [sample]) if exact else cached
        row = pack(sample, self.run.processor.template, seen.media(0))
        losses = []
        for number in range(1, len(sample.turns) + 1):
            pairs = zip(row.labels, row.segments, strict=True)
            alone = [label if segment == number else IGNORE_INDEX for label, segment in pairs]
            batch = collate([dataclasses.replace(row, labels=alone)], pad=0)
            losses.append(self.run.model(use_cache=False, **batch, **seen.inputs()).loss.item())
        return losses


class Watched:
    """An objective that sees to it that steps are the planned ones, and lets `between` act between bursts."""

    def __init__(self, objective: Any, expected: Steps, between: Any = None) -> None:
        self.objective, self.expected, self.between, self.step = objective, expected, between, 0

    def __call__(self, samples: Sequence[Sample], seen: Seen) -> tuple[Tensor, int]:
        """The objective's own loss."""
        assert [(s.id, s.turns) for s in samples] == [(s.id, s.turns) for s in self.expected[self.step]]
        if self.between and self.step % BURST == 0:
            self.between(self.step)
        self.step += 1
        return self.objective(samples, seen)  # type: ignore[no-any-return]

    def finish(self) -> None:
        """The last burst ends."""
        if self.between:
            self.between(self.step)


def bench(connector: Path, batch: int | None) -> Bench:
    """Parts, data and features of stage 2, with the connector of `connector`; a short warm start writes it."""
    recipe = load_recipe("demo", [f"stages.instruct.batch={batch}"] if batch else [])
    first, stage = recipe.stages[0], recipe.stages[-1]
    run, (samples, mixes) = composed(recipe), stage_samples(stage, recipe.seed)
    mixture = Mixture(samples, mixes, features(run, samples, console=Console(quiet=True)))
    module = run.model.connectors["image"]
    if not connector.exists():
        warm, mixes = stage_samples(first, recipe.seed)
        data = Mixture(warm, mixes, mixture.features if warm == samples else features(run, warm))
        goal = objective(run, first, warm, data.some)
        run.model.requires_grad_(False)
        groups = [group(run.model, where, how) for where, how in first.train.items()]
        run_stage(
            first.model_copy(update={"steps": WARM_START}), goal, data, groups, connector.parent / "warm",
            seed=recipe.seed, console=Console(quiet=True),
        )  # fmt: skip
        save_file({name: t.contiguous() for name, t in module.state_dict().items()}, connector)
    module.load_state_dict(load_file(connector))
    return Bench(recipe, stage, mixture, run)


def pair_tokens(ours: Bench, steps: Steps) -> int:
    """Text tokens of the pairs: question, template and answer."""
    rows = [pack(sample, ours.run.processor.template) for step in steps for sample in step]
    return sum(segment > 0 for row in rows for segment in row.segments)


def alone(steps: Steps) -> Steps:
    """Every pair as a sample of its own: what the peer runs."""
    return [[Sample(s.id, s.media, (turn,)) for s in step for turn in s.turns] for step in steps]


def flops(ours: Bench, steps: Steps, *, peer: bool) -> float:
    """Floating-point operations of the matrix products that the model needs for these steps, padding left out.

    A weight takes 2 a token forward, 2 backward to its input, and 2 more for its own gradient where it is trained; the
    connector's first layer has no gradient to its input. Attention takes 4 D for every pair of positions that see each
    other forward and 8 D backward, and the head's weights 4 at each position that has logits.
    """
    model, config = ours.run.model, ours.run.model.config.get_text_config()
    connector, how = model.connectors["image"], ours.stage.train["llm"]
    assert isinstance(how, Lora)
    width, layers, heads = config.hidden_size, config.num_hidden_layers, config.num_attention_heads * config.head_dim
    kv = config.num_key_value_heads * config.head_dim
    shapes = [(width, heads), (width, kv), (width, kv), (heads, width)]
    shapes += [(width, config.intermediate_size)] * 2 + [(config.intermediate_size, width)]
    per_token = layers * sum(4 * i * o + 6 * how.lora * (i + o) for i, o in shapes)
    first, second = connector.linear_1.weight.numel(), connector.linear_2.weight.numel()
    own = model.config.image_config
    patches = ours.mixture.features.store["image"].shape[1]
    encoder = patches * 2 * own.num_channels * own.patch_size**2 * own.hidden_size
    encoder += (patches + 1) * own.num_hidden_layers * 2 * (4 + 2 * own.mlp_ratio) * own.hidden_size**2
    encoder += (patches + 1) ** 2 * own.num_hidden_layers * 4 * own.hidden_size
    total = 0.0
    for sample in (sample for step in (alone(steps) if peer else steps) for sample in step):
        row = pack(sample, ours.run.processor.template)
        prefix = row.segments.count(0)
        turns = [row.segments.count(number) for number in range(1, len(sample.turns) + 1)]
        seen = prefix * (prefix + 1) / 2 + sum(n * prefix + n * (n + 1) / 2 for n in turns)
        with_logits = len(row.ids) if peer else sum(label != IGNORE_INDEX for label in row.labels)
        total += per_token * len(row.ids) + 12 * heads * layers * seen + 4 * width * config.vocab_size * with_logits
        total += connector.num_tokens * (4 * first + 6 * second) + (encoder if peer else 0)
    return total


def losses(ours: Bench, peer: Peer, steps: Steps, *, exact: bool = False) -> tuple[float, float, float]:
    """Mean loss over the pairs of some samples on each side, and the largest difference of a pair."""
    samples = [sample for step in steps for sample in step]
    mine = [loss for sample in samples for loss in ours.loss(sample, exact=exact)]
    theirs = [loss for sample in samples for loss in peer.loss(sample)]
    gap = max(abs(a - b) for a, b in zip(mine, theirs, strict=True))
    return sum(mine) / len(mine), sum(theirs) / len(theirs), gap


def throughput(ours: Bench, peer: Peer, plan: Steps) -> dict[str, Any]:
    """Train both on `plan`, turn by turn, with one learning rate's course over all of it.

    Returns medians over the turns: tokens and GFLOP per second of wall and of CPU for each side, GFLOP of `torch.mm`.
    """
    bursts = [plan[i : i + BURST] for i in range(0, len(plan), BURST)]
    seconds: dict[str, list[tuple[float, float]]] = {"ours": [], "peer": [], "matmul": []}
    began = [0.0, 0.0]

    def between(step: int) -> None:
        if step:
            seconds["ours"].append((time.perf_counter() - began[0], time.process_time() - began[1]))
            first = step - BURST
            course = lambda k: rate(min(first + k, len(plan) - 1), len(plan), warmup(len(plan)))
            seconds["peer"].append(peer.fit(bursts[first // BURST], course))
            seconds["matmul"].append(matmul(1024, 1024, 1024))
        began[:] = time.perf_counter(), time.process_time()

    ours.fit(len(plan), plan, between)
    found: dict[str, Any] = {"matmul": [median(column) for column in zip(*seconds["matmul"][1:], strict=True)]}
    for side in ("ours", "peer"):
        for name, work in (("tokens", pair_tokens), ("gflop", lambda o, s: flops(o, s, peer=side == "peer") / 1e9)):  # noqa: B023
            rates = [[work(ours, burst) / t for t in taken] for burst, taken in zip(bursts, seconds[side], strict=True)]
            found[side, name] = [median(column) for column in zip(*rates[1:], strict=True)]
    return found


def memory(side: str, connector: Path, batch: int) -> float:
    """Peak resident memory [MB] of one side training a few steps, in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--connector", str(connector)]
    command += ["--threads", str(torch.get_num_threads()), "--batch", str(batch)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def one_side(side: str, connector: Path, batch: int) -> None:
    """What `memory` runs."""
    ours = bench(connector, batch)
    plan = ours.plan(MEMORY_STEPS)
    if side == "ours":
        ours.fit(MEMORY_STEPS, plan)
    else:
        peer = Peer(ours.run, ours.stage, ours.recipe.seed)
        ours.mixture.features = Seen()
        peer.fit(plan, lambda _: 0.1)
    print((peak_memory() or 0) / 2**20)


def warmup(steps: int) -> int:
    """Steps of warm-up in a run as short as these are."""
    return steps // 5


def up_to(steps: Steps, count: int) -> Steps:
    """The first steps that have `count` pairs together."""
    return next(steps[:n] for n in range(1, len(steps) + 1) if pairs(steps[:n]) >= count)


def pairs(steps: Steps) -> int:
    """How many question-answer pairs the steps hold."""
    return sum(len(sample.turns) for step in steps for sample in step)


def row(what: str, batch: int, ours: float, peer: float, unit: str) -> dict[str, Any]:
    """One result; of what should be small (loss, memory, arithmetic) the ratio is turned round."""
    name = f"{what}, batch {batch}"
    ours, peer = float(f"{ours:.5g}"), float(f"{peer:.5g}")
    ratio = round(peer / ours if unit in ("loss", "MB", "MFLOP") else ours / peer, 3)
    found = {"name": name, "ours": ours, "peer": peer, "peer_name": PEER, "ratio": ratio, "unit": unit}
    print(f"{name:<72} ours {ours:<9g} peer {peer:<9g} ratio {ratio:<6g} {unit}", flush=True)
    return found | {"machine": machine()}


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="leave out the comparison of losses after training")
    parser.add_argument("--threads", type=int, help="of torch, on both sides (default: torch's own choice)")
    parser.add_argument("--batch", type=int, help="pictures of a step, on both sides (default: the recipe's)")
    parser.add_argument("--side", choices=("ours", "peer"), help=argparse.SUPPRESS)
    parser.add_argument("--connector", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads or torch.get_num_threads())
    if options.side:
        return one_side(options.side, options.connector, options.batch)
    with tempfile.TemporaryDirectory() as folder:
        fresh = measure(Path(folder) / "connector.safetensors", options.quick, options.batch)
    merge(RESULT, fresh)


def measure(connector: Path, quick: bool, batch: int | None) -> list[dict[str, Any]]:
    """Every row of the result."""
    ours = bench(connector, batch)
    batch = ours.stage.batch
    peer = Peer(copy.deepcopy(ours.run), ours.stage, ours.recipe.seed)
    plan = ours.plan(ROUNDS * BURST + HELD_OUT)
    train, rest = plan[: ROUNDS * BURST], plan[ROUNDS * BURST :]
    mine, theirs, gap = losses(ours, peer, train[:1], exact=True)
    print(f"at the start no pair's loss differs by more than {gap:.1e}, over {pairs(train[:1])} pairs")
    assert gap < 1e-4, "the two sides are not the same model"
    results = [row("loss at the start, the same pairs", batch, mine, theirs, "loss")]
    found = throughput(ours, peer, train)
    mm = found["matmul"]
    print(f"torch.mm 1024 x 1024 x 1024: {mm[0]:.1f} GFLOP a second, {mm[1]:.1f} a CPU second")
    for k, per in enumerate(("second", "CPU second")):
        what = f"question-answer text tokens per {per} of training"
        results.append(row(what, batch, found["ours", "tokens"][k], found["peer", "tokens"][k], f"tokens/{per}"))
    each = [flops(ours, train, peer=peer) / 1e6 / pair_tokens(ours, train) for peer in (False, True)]
    results.append(row("arithmetic of a training step per text token", batch, each[0], each[1], "MFLOP"))
    for k, per in enumerate(("wall", "CPU")):
        shares = [found[side, "gflop"][k] / mm[k] for side in ("ours", "peer")]
        results.append(row(f"share of the measured matrix-multiply peak, by {per} seconds", batch, *shares, "share"))
    if not quick:
        test = up_to(rest, HELD_OUT)
        mine, theirs, _ = losses(ours, peer, test)
        results.append(
            row(f"held-out loss after {pairs(train)} pairs, on {pairs(test)} others", batch, mine, theirs, "loss")
        )
    del ours, peer
    used = [memory(side, connector, batch) for side in ("ours", "peer")]
    results.append(row("peak memory of training", batch, *used, "MB"))
    return results


if __name__ == "__main__":
    main()
