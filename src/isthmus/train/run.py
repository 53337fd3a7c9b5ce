"""A run: the stages of a recipe one after another, from parts to a checkpoint."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from isthmus.data.features import FeatureCache
from isthmus.errors import BadRecipe, Interrupted, IsthmusError
from isthmus.media import picture
from isthmus.model import add_lora, compose, part, save_trained, unfreeze
from isthmus.options import checked
from isthmus.parts import cache
from isthmus.registry import find
from isthmus.train.loop import run_stage
from isthmus.train.mixture import Mixture, check_benchmarks, stage_samples
from isthmus.train.recipe import OBJECTIVE, Lora, Recipe, Stage
from isthmus.train.state import Progressed
from isthmus.types import Sample

ROOM = 2**29  # bytes that must be free where a run is to go
NO_MATTER = ("transformers_version", "_name_or_path", "architectures", "dtype")  # features do not depend on these


@dataclass
class Run:
    """A model with its processor, and how each stage went."""

    model: Any
    processor: Any
    stages: dict[str, Progressed] = field(default_factory=dict)

    @property
    def minutes(self) -> float:
        """How long the stages took, over all the sittings of a run that was resumed."""
        return sum(stage.seconds for stage in self.stages.values()) / 60


def composed(recipe: Recipe) -> Run:
    """The recipe's parts put together, untrained."""
    image = {key: value for key, value in recipe.model.image.model_dump().items() if value is not None}
    return Run(*compose(llm=recipe.model.llm, image=image, seed=recipe.seed))


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
    data = [stage_samples(stage, recipe.seed) for stage in recipe.stages]  # bad data stop the run before it begins
    check_benchmarks(recipe.evaluate, recipe.seed)
    run = composed(recipe)
    parts = [facts["sha256"] for _, facts in sorted(run.model.config.parts.items())]
    mixture: Mixture | None = None
    for number, stage in enumerate(recipe.stages):
        console.print(f"[bold]stage {number + 1} of {len(recipe.stages)}: {stage.name}[/] ({stage.objective})")
        torch.manual_seed(recipe.seed + number)
        run.model.requires_grad_(False)
        groups = [group(run.model, where, how) for where, how in stage.train.items()]
        samples, mixes = data[number]
        if learns_to_see(stage):
            mixture = Mixture(samples, mixes, encode=functools.partial(encode, run))
        elif mixture is None or mixture.features is None or mixture.samples != samples:
            mixture = Mixture(samples, mixes, features(run, samples, console=console))
        else:
            mixture = Mixture(samples, mixes, mixture.features)
        goal = objective(run, stage, samples, mixture.some)
        run.model.train()
        run.stages[stage.name] = run_stage(
            stage, goal, mixture, groups, folder / "stages" / stage.name,
            seed=recipe.seed, resume=resume, how_to_resume=command, parts=parts, console=console,
        )  # fmt: skip
    run.model.requires_grad_(False)
    run.model.eval()
    save_trained(run.model, folder / "model")
    return run


def _claim(recipe: Recipe, folder: Path, resume: bool, console: Console) -> None:
    """Write the recipe into the run's folder, or see that the one there is the same."""
    path, text = folder / "recipe.json", recipe.model_dump_json(indent=1)
    if path.exists() and not resume:
        raise BadRecipe(f"{folder} holds a run already. Go on with --resume, or choose another folder with --out")
    if resume and not path.exists():
        console.print(f"nothing to resume in {folder}: starting there", markup=False, highlight=False)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise BadRecipe(f"{folder} was begun with another recipe ({path}). Resume with that, or choose another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(folder).free) < ROOM:
            raise BadRecipe(f"{folder}: {free / 1e6:,.0f} MB free, a run needs {ROOM / 1e6:,.0f}. Choose another --out")
        (new := path.with_suffix(".new")).write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise IsthmusError(f"{folder} cannot hold a run: {error}. Choose another folder with --out") from error


def group(model: Any, where: str, how: float | Lora) -> dict[str, Any]:
    """AdamW's parameter group of one trained part: all its weights, or those of its adapter.

    Raises `BadRecipe` for a part that does not exist, or an adapter of another size than the one that an earlier stage
    put there.
    """
    module = part(model, where)
    if isinstance(how, Lora):
        wanted = {"r": how.lora, "alpha": how.lora * how.scale}
        if where not in model.config.adapters:
            add_lora(model, where, how.lora, how.lora * how.scale)
        if (there := model.config.adapters[where]) != wanted:
            raise BadRecipe(f"train: {where} has the adapter {there} of an earlier stage, not {wanted}; keep one size")
        adapter = [weight for name, weight in module.named_parameters() if ".lora_" in name]
        return {"name": where, "params": [weight.requires_grad_(True) for weight in adapter], "lr": how.lr}
    return {"name": where, "params": unfreeze(model, where), "lr": how}


def objective(run: Run, stage: Stage, samples: Sequence[Sample], some: Callable[[int], Tensor]) -> Any:
    """The stage's objective for these samples; `some` gives the features of so many of them."""
    build = find("isthmus.train.objectives", stage.objective).Objective
    return build(run.model, run.processor, samples, some, **checked(build.__init__, OBJECTIVE, stage.options))


def learns_to_see(stage: Stage) -> bool:
    """Whether a stage trains an encoder, so that no features can be kept."""
    return any(where.endswith(".encoder") for where in stage.train)


def encode(run: Run, samples: Sequence[Sample], learns: bool = False) -> Tensor:
    """Features [n, F, D] of the samples' image, computed anew; without `learns`, dropout is off.

    Raises `BadMedia` for an image that cannot be decoded.
    """
    run.model.encoders["image"].train(run.model.training and learns)
    pixels = run.processor.preprocess([picture(sample.media[0]) for sample in samples])
    return run.model.encode("image", pixels)  # type: ignore[no-any-return]


@torch.no_grad()
def features(run: Run, samples: Sequence[Sample], note: str = "features", console: Console | None = None) -> Tensor:
    """Features [n, F, D] of the samples' image, float16, from the cache where they are there.

    Raises `BadMedia` for an image that cannot be decoded.
    """
    shown = track(samples, description=f"{note:>12}", disable=len(samples) < 128, console=console)
    pictures = (picture(sample.media[0]) for sample in shown)
    run.model.eval()
    with closing(FeatureCache(cache.root() / "features", fingerprint(run))) as store:
        return store.get(pictures, len(samples), lambda some: run.model.encode("image", run.processor.preprocess(some)))


def fingerprint(run: Run) -> str:
    """What features depend on: the encoder, its configuration and weights, and what is done to a picture before it."""
    config = run.model.config
    made = {key: value for key, value in config.image_config.to_dict().items() if key not in NO_MATTER}
    adapter = config.adapters.get("image.encoder")
    facts = [config.encoders["image"], made, adapter, run.processor.image_processor.to_dict()]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for name, tensor in sorted(run.model.encoders["image"].state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()
