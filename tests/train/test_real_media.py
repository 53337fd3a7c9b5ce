"""Real data of five kinds: a few steps on the shipped recipes' own data teach more than with other media."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_run
import torch
from rich.console import Console

from isthmus.encoders.point_transformer import PointTransformerConfig, PointTransformerModel
from isthmus.train import features, run, setup
from isthmus.train.mixture import stage_samples
from isthmus.train.objectives.next_token import Objective
from isthmus.train.recipe import Recipe, load_recipe
from isthmus.types import Sample

QUIET = Console(quiet=True)
CHANGES = {  # name of a recipe -> its stages' data, and the steps of those before the last
    "demo": ("{easy-vqa: {count: 24}}", {"warm-start": 30}),
    "audio": ("{instruments: {count: 24}}", {"warm-start": 30}),
    "video": ("{moving-emoji: {count: 12}}", {"warm-start": 20}),
    "points": ("{furniture: {count: 8, options: {points: 256}}}", {"shapes": 30, "warm-start": 80}),
    "series": ("{phone-motion: {count: 24}}", {"warm-start": 40}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_the_loss_falls_more_than_with_the_media_of_others(name: str, tmp_path: Path) -> None:
    """The LLM is tiny and random and learns with the rest, so that the steps are short; encoders and data are real."""
    data, steps = CHANGES[name]
    changes = [f"stages.{stage}.{change}" for stage, count in steps.items() for change in (f"steps={count}", "batch=8")]
    changes += [f"stages.{stage}.data={data}" for stage in steps]
    if name == "points":
        changes += small_points(tmp_path / "points")
    recipe = load_recipe(name, changes)
    recipe.stages = [*(stage for stage in recipe.stages if stage.name in steps), recipe.stages[-1]]
    plan = tiny(recipe, tmp_path)
    samples, _ = stage_samples(plan.stages[0], plan.seed)
    before = losses(setup.composed(plan), samples)
    after = losses(run.train(plan, tmp_path / "run", console=QUIET), samples)
    own, swapped = (was - now for was, now in zip(before, after, strict=True))
    assert own > swapped + 0.05, (
        f"loss with own media {before[0]:.2f} -> {after[0]:.2f}, others' {before[1]:.2f} -> {after[1]:.2f}"
    )


def small_points(folder: Path) -> list[str]:
    """A small encoder of points that has learned nothing, and the changes that put it into the recipe.

    It learns at ten times the recipe's rate, and a step of it is twenty times as short: see docs/experiments/points.md.
    """
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 256}
    torch.manual_seed(0)
    config = PointTransformerConfig(**sizes, num_groups=32, group_size=16, decoder_layers=2)
    PointTransformerModel(config).save_pretrained(folder)
    rates = {"points.encoder": 1e-3, "points.connector": 1e-3}
    own = {"model.points.part": folder, "model.points.size": 256, "stages.shapes.train": {"points.encoder": 1e-3}}
    return [f"{key}={value}" for key, value in (own | {"stages.warm-start.train": rates}).items()]


def tiny(plan: Recipe, folder: Path) -> Recipe:
    """The recipe with a tiny LLM that is trained whole, and the last stage on the data of those before it."""
    llm, _ = tiny_run.parts(folder)
    *others, last = plan.stages
    first = others[0]
    train = {where: rate for where, rate in last.train.items() if where != "llm"} | {"llm": 3e-3}
    second = last.model_copy(update={"train": train, "data": first.data, "steps": 150, "batch": 6})
    model = plan.model.model_copy(update={"llm": str(llm)})
    return plan.model_copy(update={"model": model, "stages": [*others, second], "evaluate": {}})


@torch.no_grad()
def losses(trained: setup.Run, samples: list[Sample]) -> tuple[float, float]:
    """The loss on samples with their own media, and with those of one that has other answers."""
    trained.model.eval()
    seen = features.features(trained, samples)
    goal = Objective(trained.model, trained.processor, samples, lambda count: seen)
    other = [next(j for j, one in enumerate(samples) if one.turns[0].answer != s.turns[0].answer) for s in samples]
    places = range(0, len(samples), 3)
    some = [samples[place] for place in places]
    own = goal(some, seen[places])[0]
    return own.item(), goal(some, seen[[other[place] for place in places]])[0].item()
