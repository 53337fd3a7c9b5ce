"""A run: the stages of a recipe one after another, from parts to a checkpoint."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from isthmus import model_folder
from isthmus.data.sources import load_split
from isthmus.errors import BadRecipe, Interrupted, IsthmusError
from isthmus.model import save_trained
from isthmus.registry import find
from isthmus.train import state
from isthmus.train.execution import execution
from isthmus.train.features import mixed
from isthmus.train.loop import run_stage
from isthmus.train.mixture import Mixture, read_data
from isthmus.train.recipe import Mix, Recipe, Stage
from isthmus.train.setup import Run, composed, helpers, objective, trained
from isthmus.train.world import ALONE, Shard, World, world

ROOM = 2**29  # bytes that must be free where a run is to go


def train(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    shard: Shard | None = None,
    command: str = "",
    console: Console,
) -> Run:
    """Train every stage and write the light checkpoint to `folder`.

    With `resume`, finished stages are put back from their states and the one under way goes on where it was; the
    result is bit for bit that of a run which was never stopped. Without it, a folder that holds a run is refused.

    Launched as several processes (`train.world`), each calls this, and `folder` is one that all of them see.

    Args:
        shard: divide the LLM among all processes, or among those of each machine; by default each has all of it.
        command: how to go on after Ctrl-C, for the message of `Interrupted`.

    Raises:
        Interrupted: after Ctrl-C, at whatever moment; what was done is kept.
        BadRecipe, BadData, BadMedia: for a recipe or data that cannot be used, before anything is trained.
        UnknownName: for a model to start from that is not there, before anything is written.
        IsthmusError: as `loop.run_stage` does, and when the disk is full.
    """
    if recipe.start is not None:
        model_folder(recipe.start)  # a miss leaves no folder that a second try would find taken
    with world(shard) as all_of_them:
        console = console if all_of_them.first else Console(quiet=True)
        if all_of_them.first:
            _claim(recipe, folder, resume, console)
        command = command or "train the same recipe again with resume=True"
        try:
            return _Sitting(recipe, folder, resume, command, console, all_of_them).run()
        except KeyboardInterrupt:
            raise Interrupted(f"stopped; what was done is in {folder}. Go on: {command}") from None


@dataclass
class _Sitting:
    """One call of `train`, as one of the processes of its `world` sees it."""

    recipe: Recipe
    folder: Path
    resume: bool
    command: str
    console: Console
    world: World

    def run(self) -> Run:
        """All stages."""
        recipe, folder = self.recipe, self.folder
        with self.world.first_before_others():  # which find the indexes of files that the first one made
            data = read_data(recipe)  # bad data stop the run before it begins
        run = composed(recipe)
        self.world.place(run.model)
        mixture: Mixture | None = None
        with ExitStack() as opened:
            wanted = dict.fromkeys(["jsonl", *recipe.log]) if self.world.first else []
            logs = [find("isthmus.train.logs", name).Log(folder, recipe) for name in wanted]
            for log in logs:
                opened.callback(log.close)
            for number, stage in enumerate(recipe.stages):
                self.console.print(
                    f"[bold]stage {number + 1} of {len(recipe.stages)}: {stage.name}[/] ({stage.objective})"
                )
                if self.world.shard and number:
                    run = self._anew(run, number)
                torch.manual_seed(recipe.seed + number)
                groups = trained(run, stage)
                mixture = mixed(run, stage, *data[number], before=mixture, console=self.console, world=self.world)
                if self.world.first:
                    quarantine(folder, stage, mixture.bad, self.console)
                goal = objective(run, stage, mixture.samples, mixture.some)
                if self.world.shard:
                    self.world.spread(run.model)
                    groups = trained(run, stage)  # their weights are others now
                check = held_out(run, stage, goal, recipe.seed, self.console, self.world)
                run.model.train()
                with execution(run.model, stage):
                    run.stages[stage.name] = run_stage(
                        stage, goal, mixture, groups + helpers(goal, groups), folder / "stages" / stage.name,
                        seed=recipe.seed, resume=self.resume, how_to_resume=self.command, parts=run.parts,
                        console=self.console, check=check, logs=logs, world=self.world, model=run.model,
                    )  # fmt: skip
        if self.world.shard:
            run = self._anew(run, len(recipe.stages))
        run.model.requires_grad_(False).to("cpu").eval()
        if self.world.first:
            save_trained(run.model, folder / "model")
        self.world.wait()
        return run

    def _anew(self, before: Run, stages: int) -> Run:
        """The model after so many stages, whole in every process: what was divided is put together from its states."""
        run = composed(self.recipe)
        for stage in self.recipe.stages[:stages]:
            groups = trained(run, stage)
            weights = [weight for group in groups for weight in group["params"]]
            buffers = [buffer for group in groups for buffer in group.get("buffers", ())]
            state.restore(self.folder / "stages" / stage.name, weights, None, buffers, helped=True)
        self.world.place(run.model)
        return Run(run.model, run.processor, before.stages, run.parts)


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


def held_out(
    run: Run, stage: Stage, goal: Any, seed: int, console: Console, world: World = ALONE
) -> Callable[[], float] | None:
    """What gives the objective's loss on the samples that the stage is checked on; None where it is not."""
    if (held := stage.check) is None:
        return None
    samples = load_split(held.data, held.split, held.count, held.options, seed + 1)
    mixes = [Mix(options=held.options)] * len(samples)
    mixture = mixed(run, stage, samples, mixes, console=console, world=world)
    samples = mixture.samples  # without those whose media are damaged

    @torch.no_grad()
    def loss() -> float:  # by every process for itself: they are the same samples for each number of processes
        run.model.eval()
        total = weight = 0.0
        for start in range(0, len(samples), stage.batch):
            some, seen = mixture.batch(range(start, min(start + stage.batch, len(samples))), random.Random(start))
            total += goal(some, seen)[0].item() * goal.weigh(some)
            weight += goal.weigh(some)
        run.model.train()
        return total / weight

    return loss
