"""Real data of four kinds: a few steps on the shipped recipes' own data teach more than with other media."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_run
import torch
from rich.console import Console

from isthmus.train import run
from isthmus.train.mixture import stage_samples
from isthmus.train.objectives.next_token import Objective
from isthmus.train.recipe import Recipe, load_recipe
from isthmus.types import Sample

QUIET = Console(quiet=True)
CHANGES = {  # name of a recipe -> its warm start's data and steps
    "demo": ("{easy-vqa: {count: 24}}", 30),
    "audio": ("{instruments: {count: 24}}", 30),
    "video": ("{moving-emoji: {count: 12}}", 20),
    "series": ("{phone-motion: {count: 24}}", 40),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_the_loss_falls_more_than_with_the_media_of_others(name: str, tmp_path: Path) -> None:
    """The LLM is tiny and random and learns with the rest, so that the steps are short; encoders and data are real."""
    data, steps = CHANGES[name]
    changes = [f"stages.warm-start.data={data}", f"stages.warm-start.steps={steps}", "stages.warm-start.batch=8"]
    plan = tiny(load_recipe(name, changes), tmp_path)
    samples, _ = stage_samples(plan.stages[0], plan.seed)
    before = losses(run.composed(plan), samples)
    after = losses(run.train(plan, tmp_path / "run", console=QUIET), samples)
    own, swapped = (was - now for was, now in zip(before, after, strict=True))
    assert own > swapped + 0.05, (
        f"loss with own media {before[0]:.2f} -> {after[0]:.2f}, others' {before[1]:.2f} -> {after[1]:.2f}"
    )


def tiny(plan: Recipe, folder: Path) -> Recipe:
    """The recipe with a tiny LLM that is trained whole, and one stage after the warm start on the same data."""
    llm, _ = tiny_run.parts(folder)
    first, last = plan.stages[0], plan.stages[-1]
    train = {where: rate for where, rate in last.train.items() if where != "llm"} | {"llm": 3e-3}
    second = last.model_copy(update={"train": train, "data": first.data, "steps": 150, "batch": 6})
    model = plan.model.model_copy(update={"llm": str(llm)})
    return plan.model_copy(update={"model": model, "stages": [first, second], "evaluate": {}})


@torch.no_grad()
def losses(trained: run.Run, samples: list[Sample]) -> tuple[float, float]:
    """The loss on samples with their own media, and with those of one that has other answers."""
    trained.model.eval()
    seen = run.features(trained, samples)
    goal = Objective(trained.model, trained.processor, samples, lambda count: seen)
    other = [next(j for j, one in enumerate(samples) if one.turns[0].answer != s.turns[0].answer) for s in samples]
    places = range(0, len(samples), 3)
    some = [samples[place] for place in places]
    own = goal(some, seen[places])[0]
    return own.item(), goal(some, seen[[other[place] for place in places]])[0].item()
