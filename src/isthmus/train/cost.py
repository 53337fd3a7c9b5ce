"""What a recipe costs: matrix products of a step, seconds of a step, sizes, time to the first token, peak memory."""

from __future__ import annotations

import math
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from rich.console import Console
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from isthmus.errors import BadRecipe, Interrupted
from isthmus.model import encoding
from isthmus.train.features import encode, mixed
from isthmus.train.loop import run_stage
from isthmus.train.mixture import Mixture, stage_samples
from isthmus.train.order import order
from isthmus.train.recipe import Recipe, Stage
from isthmus.train.setup import Run, composed, helpers, objective, trained
from isthmus.types import Sample

TIMED = 10  # steps by which a stage is timed
EARLY = 2  # of these, the first are slower and not counted
RUNS = 9  # of the first token; the median is taken


@dataclass
class Cost:
    """What was measured of a recipe before it is trained, by stage and by trained part.

    `slots` are the places of one medium in the text; `memory` the soft tokens that layers in the LLM look at beside
    the text (0 where there are none). `left_out` says why a stage cannot be run with this connector.
    """

    flops: dict[str, int] = field(default_factory=dict)  # of one step
    seconds: dict[str, float] = field(default_factory=dict)  # of one step; empty where nothing was timed
    parameters: dict[str, int] = field(default_factory=dict)
    slots: int = 0
    memory: int = 0
    left_out: dict[str, str] = field(default_factory=dict)


def cost(recipe: Recipe, *, timed: bool, console: Console) -> Cost:
    """Compose the recipe's parts and measure one step of each stage, on real data; `timed` steps are really made.

    Media are encoded and kept, so that the training finds them. The model is thrown away.

    Raises what `train.run.train` raises for a recipe that cannot be used.
    """
    run, found = composed(recipe), Cost()
    mixture: Mixture | None = None
    for stage in recipe.stages:
        samples, mixes = stage_samples(stage, recipe.seed)
        groups = trained(run, stage)
        mixture = mixed(run, stage, samples, mixes, before=mixture, console=console)
        try:
            goal = objective(run, stage, samples, mixture.some)
        except BadRecipe as error:
            found.left_out[stage.name] = str(error)
            continue
        found.parameters |= {part["name"]: sum(weight.numel() for weight in part["params"]) for part in groups}
        groups += helpers(goal, groups)
        found.slots, found.memory = tokens(run)
        run.model.train()
        found.flops[stage.name] = step_flops(goal, mixture, stage, recipe.seed)
        if timed:
            found.seconds[stage.name] = _step_seconds(goal, mixture, groups, stage, recipe.seed)
    return found


def tokens(run: Run) -> tuple[int, int]:
    """Slots of a medium in the text, and soft tokens beside it for layers in the LLM; of the first kind there is."""
    if not (kinds := list(run.model.connectors)):
        return 0, 0
    connector = run.model.connectors[kinds[0]]
    count = math.prod(encoding.grid(run.model.config, kinds[0]))
    made = count if connector.soft is None else connector.soft.num_tokens
    return connector.num_tokens, made if made > connector.num_tokens else 0


def step_flops(goal: Any, mixture: Mixture, stage: Stage, seed: int) -> int:
    """Floating-point operations of matrix products (a multiplication and an addition are two) in one step, forward and
    backward, on the stage's batch of median length.

    Element-wise work and the optimizer are not counted. Attention is computed by its plain formula here, because
    torch's counter does not know the fused one on every device.
    """
    lengths = mixture.lengths
    batches = order(mixture, stage, seed)
    epoch = [batches[place] for place in range(-(-len(lengths) // stage.batch))]
    batch = sorted(epoch, key=lambda some: sum(lengths[i] for i in some))[len(epoch) // 2]
    known: dict[Any, Callable[..., int]] = {torch.ops.aten.addmm_: _product}  # in place, as the fused adapter adds
    if "bitsandbytes" in sys.modules:  # weights in 4 bits
        known[torch.ops.bitsandbytes.gemm_4bit] = _quantised
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, custom_mapping=known) as counter:
        samples, seen = mixture.batch(batch, random.Random(seed))
        goal(samples, seen)[0].backward()
    return int(counter.get_total_flops())


def _product(into: Any, a: Sequence[int], b: Sequence[int], *_: Any, **__: Any) -> int:
    """Operations of a b, by shape."""
    return 2 * a[0] * a[1] * b[1]


def _quantised(a: Sequence[int], b: Sequence[int], shape: Sequence[int], *_: Any, **__: Any) -> int:
    """Operations of a W^T, W [N, K] in 4 bits, by the shapes of a [..., K] and W."""
    return 2 * math.prod(a) * shape[0]


def _step_seconds(goal: Any, mixture: Mixture, groups: list[dict[str, Any]], stage: Stage, seed: int) -> float:
    """The mean over real steps of the training loop, whose first ones do not count."""
    short = stage.model_copy(update={"steps": TIMED, "minutes": None})
    quiet = Console(quiet=True)
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = run_stage(short, goal, mixture, groups, Path(folder) / "stage", seed=seed, console=quiet)
        except Interrupted:  # there is nothing to go on with
            raise KeyboardInterrupt from None
    times = [point[1] for point in done.points]
    return fmean(later - earlier for earlier, later in zip(times[EARLY:], times[EARLY + 1 :], strict=False))


@torch.inference_mode()
def first_token(run: Run, sample: Sample) -> tuple[float, float]:
    """Median seconds until the first token of an answer about a sample's media: from their features, and from the media
    themselves (decoded already; preprocessing and encoder are then part of it). One question, batch 1."""
    question, processor = sample.turns[0].question, run.processor
    arrays = [(medium.kind, processor.arrays(medium)) for medium in sample.media]
    seen = encode(run, [sample])
    ids = torch.tensor([processor.template.prefix(seen.slots(0)) + processor.template.question(question)])
    own = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    own |= processor.texts((kind, question) for kind, _ in seen.slots(0))

    def answer(inputs: dict[str, Any]) -> None:
        run.model.generate(**own, **inputs, max_new_tokens=1, do_sample=False)

    def prepared() -> dict[str, Any]:
        each = {kind: [one for its, some in arrays if its == kind for one in some] for kind, _ in arrays}
        made = {kind: processor.stack(kind, some) for kind, some in each.items()}
        valid = {kind: length for kind, (_, length) in made.items() if length is not None}
        return {"media": {kind: values for kind, (values, _) in made.items()}} | ({"valid": valid} if valid else {})

    from_features = _median(lambda: answer(seen.inputs()))
    return from_features, _median(lambda: answer(prepared()))


def _median(work: Callable[[], None]) -> float:
    work()  # the first time is slower
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return median(times)


def peak_memory() -> int | None:
    """The most bytes of memory that this process has had resident; None where the system does not tell.

    On Linux `ru_maxrss` also counts what the process that started this one had, so the kernel's own mark is read.
    """
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return 1024 * int(found[1])
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
