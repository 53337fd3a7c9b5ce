"""A run: the stages of a recipe one after another, from parts to a checkpoint."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from isthmus.data.sources import load_split
from isthmus.errors import BadRecipe, Interrupted, IsthmusError
from isthmus.model import save_trained
from isthmus.registry import find
from isthmus.train.execution import execution
from isthmus.train.features import mixed
from isthmus.train.loop import run_stage
from isthmus.train.mixture import Mixture, read_data
from isthmus.train.recipe import Mix, Recipe, Stage
from isthmus.train.setup import Run, composed, group, helpers, objective

ROOM = 2**29  # bytes that must be free where a run is to go


def train(recipe: Recipe, folder: Path, *, resume: bool = False, command: str = "", console: Console) -> Run:
    """Train every stage and write the light checkpoint to `folder`.

    With `resume`, finished stages are put back from their states and the one under way goes on where it was; the
    result is bit for bit that of a run which was never stopped. Without it, a folder that holds a run is refused.

    Args:
        command: how to go on after Ctrl-C, for the message of `Interrupted`.

    Raises:
        Interrupted: after Ctrl-C, at whatever moment; what was done is kept.
        BadRecipe, BadData, BadMedia: for a recipe or data that cannot be used, before anything is trained.
        IsthmusError: as `loop.run_stage` does, and when the disk is full.
    """
    _claim(recipe, folder, resume, console)
    command = command or "train the same recipe again with resume=True"
    try:
        return _stages(recipe, folder, resume, command, console)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; what was done is in {folder}. Go on: {command}") from None


def _stages(recipe: Recipe, folder: Path, resume: bool, command: str, console: Console) -> Run:
    data = read_data(recipe)  # bad data stop the run before it begins
    run = composed(recipe)
    parts = [facts["sha256"] for _, facts in sorted(run.model.config.parts.items())]
    mixture: Mixture | None = None
    with ExitStack() as opened:
        logs = [find("isthmus.train.logs", name).Log(folder, recipe) for name in dict.fromkeys(["jsonl", *recipe.log])]
        for log in logs:
            opened.callback(log.close)
        for number, stage in enumerate(recipe.stages):
            console.print(f"[bold]stage {number + 1} of {len(recipe.stages)}: {stage.name}[/] ({stage.objective})")
            torch.manual_seed(recipe.seed + number)
            run.model.requires_grad_(False)
            groups = [group(run.model, where, how) for where, how in stage.train.items()]
            samples, mixes = data[number]
            mixture = mixed(run, stage, samples, mixes, before=mixture, console=console)
            quarantine(folder, stage, mixture.bad, console)
            goal = objective(run, stage, mixture.samples, mixture.some)
            groups += helpers(goal, groups)
            check = held_out(run, stage, goal, recipe.seed, console)
            run.model.train()
            with execution(run.model, stage):
                run.stages[stage.name] = run_stage(
                    stage, goal, mixture, groups, folder / "stages" / stage.name,
                    seed=recipe.seed, resume=resume, how_to_resume=command, parts=parts, console=console,
                    check=check, logs=logs,
                )  # fmt: skip
    run.model.requires_grad_(False)
    run.model.eval()
    save_trained(run.model, folder / "model")
    return run


def quarantine(folder: Path, stage: Stage, bad: Sequence[str], console: Console) -> None:
    """Write down which samples a stage leaves out, and why; a later sitting finds the same and writes them anew."""
    if bad:
        path = folder / "quarantine" / f"{stage.name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps({"reason": reason}) + "\n" for reason in bad), encoding="utf-8")
        console.print(f"{len(bad):,} samples are left out, with their reasons in {path}", markup=False)


def _claim(recipe: Recipe, folder: Path, resume: bool, console: Console) -> None:
    """Write the recipe into the run's folder, or see that the one there is the same."""
    path, text = folder / "recipe.json", recipe.model_dump_json(indent=1)
    if path.exists() and not resume:
        raise BadRecipe(f"{folder} holds a run already. Go on with --resume, or choose another folder with --out")
    if resume and not path.exists():
        console.print(f"nothing to resume in {folder}: starting there", markup=False, highlight=False)
    if path.exists() and (before := path.read_text(encoding="utf-8")) != text:
        changes = "; ".join(differences(json.loads(before), json.loads(text)))
        raise BadRecipe(
            f"{folder} was begun with another recipe ({path}): {changes}. Resume with that, or choose another --out"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(folder).free) < ROOM:
            raise BadRecipe(f"{folder}: {free / 1e6:,.0f} MB free, a run needs {ROOM / 1e6:,.0f}. Choose another --out")
        (new := path.with_suffix(".new")).write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise IsthmusError(f"{folder} cannot hold a run: {error}. Choose another folder with --out") from error


def differences(before: Any, after: Any, where: str = "") -> list[str]:
    """What differs between two recipes, by dotted keys.

    >>> differences({"seed": 0, "stages": [{"steps": 40}]}, {"seed": 0, "stages": [{"steps": 50}, {}]})
    ['stages.0.steps was 40 and is 50', 'stages.1 was not there']
    """
    if before == after:
        return []
    pairs: list[tuple[Any, Any, Any]] = []
    if isinstance(before, dict) and isinstance(after, dict):
        pairs = [(key, before.get(key, ...), after.get(key, ...)) for key in before | after]
    elif isinstance(before, list) and isinstance(after, list):
        pairs = [(i, old, new) for i, (old, new) in enumerate(itertools.zip_longest(before, after, fillvalue=...))]
    if pairs:
        return [what for key, old, new in pairs for what in differences(old, new, f"{where}.{key}".lstrip("."))]
    if before is ... or after is ...:
        return [f"{where} was not there" if before is ... else f"{where} is not there"]
    return [f"{where} was {before} and is {after}"]


def held_out(run: Run, stage: Stage, goal: Any, seed: int, console: Console) -> Callable[[], float] | None:
    """What gives the objective's loss on the samples that the stage is checked on; None where it is not."""
    if (held := stage.check) is None:
        return None
    samples = load_split(held.data, held.split, held.count, held.options, seed + 1)
    mixture = mixed(run, stage, samples, [Mix(options=held.options)] * len(samples), console=console)
    samples = mixture.samples  # without those whose media are damaged
    weigh = getattr(goal, "weigh", len)

    @torch.no_grad()
    def loss() -> float:
        run.model.eval()
        total = weight = 0.0
        for start in range(0, len(samples), stage.batch):
            some, seen = mixture.batch(range(start, min(start + stage.batch, len(samples))), random.Random(start))
            total += goal(some, seen)[0].item() * weigh(some)
            weight += weigh(some)
        run.model.train()
        return total / weight

    return loss
