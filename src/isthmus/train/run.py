"""A run: the stages of a recipe one after another, from parts to a checkpoint."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from isthmus.data.features import FeatureCache
from isthmus.errors import BadRecipe
from isthmus.media import load
from isthmus.model import add_lora, compose, save_trained
from isthmus.parts import cache
from isthmus.registry import find, miss
from isthmus.train import state
from isthmus.train.loop import Progressed, run_stage
from isthmus.train.mixture import Mixture, load_split
from isthmus.train.recipe import Lora, Recipe, Stage
from isthmus.types import Sample

ENCODED_AT_ONCE = 32


@dataclass
class Run:
    """A model with its processor, and how each stage went."""

    model: Any
    processor: Any
    stages: dict[str, Progressed] = field(default_factory=dict)


def composed(recipe: Recipe) -> Run:
    """The recipe's parts put together, untrained."""
    torch.manual_seed(recipe.seed)
    image = {key: value for key, value in recipe.model.image.model_dump().items() if value is not None}
    return Run(*compose(llm=recipe.model.llm, image=image, seed=recipe.seed))


def train(recipe: Recipe, folder: Path, *, resume: bool = False, command: str = "", console: Console) -> Run:
    """Train every stage and write the light checkpoint to `folder`.

    With `resume`, finished stages are put back from their states and the one under way goes on where it was; the
    result is bit for bit that of a run which was never stopped. Without it, a folder that holds a run is refused.
    """
    stages = folder / "stages"
    _claim(recipe, folder, resume)
    run = composed(recipe)
    for number, stage in enumerate(recipe.stages, 1):
        console.print(f"[bold]stage {number} of {len(recipe.stages)}: {stage.name}[/] ({stage.objective})")
        torch.manual_seed(recipe.seed + number)
        groups = [group(run.model, where, rate) for where, rate in stage.train.items()]
        mixture = stage_data(run, stage, recipe.seed)
        objective = find("isthmus.train.objectives", stage.objective).Objective(
            run.model, run.processor, mixture.samples, mixture.features
        )
        run.model.train()
        done = run_stage(
            stage, objective, mixture, groups, stages / stage.name,
            seed=recipe.seed, resume=resume, how_to_resume=command,
        )  # fmt: skip
        optimizer = torch.optim.AdamW(groups)  # without moments: the next stage starts its own
        state.save(stages / stage.name, [w for g in groups for w in g["params"]], optimizer, done)
        run.stages[stage.name] = done
        freeze(run.model)
    run.model.eval()
    save_trained(run.model, run.processor, folder / "model")
    return run


def _claim(recipe: Recipe, folder: Path, resume: bool) -> None:
    """Write the recipe into the run's folder, or see that the one there is the same."""
    path, text = folder / "recipe.json", recipe.model_dump_json(indent=1)
    if path.exists() and not resume:
        raise BadRecipe(f"{folder} holds a run already. Go on with --resume, or choose another folder with --out")
    if path.exists() and json.loads(path.read_text()) != json.loads(text):
        raise BadRecipe(f"{folder} was begun with another recipe ({path}). Resume with that one, or choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < 2**29:
        raise BadRecipe(f"{folder}: less than 512 MiB free, too little for checkpoints. Free some, or choose another --out")
    path.write_text(text)


def part_of(model: Any, where: str) -> Any:
    """The module that a recipe calls `llm`, `image.encoder` or `image.connector`."""
    places = {"llm": model.llm}
    for kind in model.encoders:
        places |= {f"{kind}.encoder": model.encoders[kind], f"{kind}.connector": model.connectors[kind]}
    if where not in places:
        raise BadRecipe(f"train: {miss('part', where, places)}")
    return places[where]


def group(model: Any, where: str, how: float | Lora) -> dict[str, Any]:
    """AdamW's parameter group of one trained part: all its weights, or those of its adapter."""
    part = part_of(model, where)
    if isinstance(how, Lora):
        if where not in (model.config.adapters or {}):
            add_lora(model, where, how.lora, how.lora * how.scale)
        weights = [weight for name, weight in part.named_parameters() if "lora_" in name]
        rate = how.lr
    else:
        weights, rate = list(part.parameters()), how
    for weight in weights:
        weight.requires_grad_(True)
    return {"params": weights, "lr": rate}


def freeze(model: Any) -> None:
    """No parameter is trained until a stage says so."""
    model.requires_grad_(False)


def stage_data(run: Run, stage: Stage, seed: int) -> Mixture:
    """The stage's samples and their features."""
    samples: list[Sample] = []
    mixes = []
    for name, mix in stage.data.items():
        some = load_split(name, "train", mix.count, mix.options, seed)
        samples += some
        mixes += [mix] * len(some)
    return Mixture(samples, mixes, features(run, samples))


@torch.inference_mode()
def features(run: Run, samples: list[Sample], note: str = "features") -> Tensor:
    """Features [n, F, D] of the samples' first medium, float16, from the cache where they are there."""
    store = FeatureCache(cache.root() / "features", fingerprint(run))
    blocks = []
    starts = range(0, len(samples), ENCODED_AT_ONCE)
    for start in track(starts, description=f"{note:>12}", disable=len(starts) < 4):
        pictures = [load(sample.media[0]) for sample in samples[start : start + ENCODED_AT_ONCE]]
        blocks.append(store.get(pictures, lambda some: run.model.encode("image", run.processor.preprocess(some))))
    return torch.cat(blocks).clone()


def fingerprint(run: Run) -> str:
    """What features depend on: the encoder's weights and what is done to a picture before it."""
    digest = hashlib.sha256(json.dumps(run.processor.image_processor.to_dict(), sort_keys=True, default=str).encode())
    for name, tensor in sorted(run.model.encoders["image"].state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
