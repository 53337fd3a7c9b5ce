"""Killed at random and at named points, a run ends as if it had never been; checks, logs, spikes, accumulation."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from isthmus.errors import BadRecipe
from isthmus.model import load
from isthmus.train import features, loop, run, setup, state
from isthmus.train.mixture import read_data
from isthmus.train.recipe import Recipe
from isthmus.train.world import ALONE

QUIET = Console(quiet=True)

# Runs in processes of their own, forked from one that has imported everything, which die at a step or at the n-th time
# that a call is made. For each line "out where n" of its input it says how the process ended.
CHILD = """
import os, sys, torch
from pathlib import Path
from rich.console import Console
from isthmus.parts import cache
from isthmus.train import loop, run, setup, state
from isthmus.train.objectives import contrast, next_token
from isthmus.train.recipe import Recipe
from isthmus.train.world import ALONE
loop.SAVE_EVERY = 0.0
torch.set_num_threads(1)  # a pool of threads does not survive a fork
recipe = Recipe.model_validate_json(Path(sys.argv[1]).read_text())
setup.composed(recipe)  # whatever it imports is imported once
places = {
    "step": (next_token.Objective, "__call__"), "tensors": (state, "save_file"), "manifest": (cache, "write_manifest"),
    "publish": (cache, "publish"), "rename": (Path, "rename"), "fsync": (os, "fsync"), "weights": (run, "save_trained"),
}

def dying(call, left):
    def wrapped(*arguments, **options):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), 9)
        return call(*arguments, **options)
    return wrapped

for line in sys.stdin:
    out, where, count = line.split()
    if (child := os.fork()) == 0:
        code = 1
        try:
            if where in places:
                owner, name = places[where]
                setattr(owner, name, dying(getattr(owner, name), [int(count)]))
            run.train(recipe, Path(out), resume=True, console=Console(file=sys.stderr))
            code = 0
        finally:
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Sittings:
    """One run after another, each in a process that may be killed."""

    def __init__(self, recipe: Path) -> None:
        line = [sys.executable, "-c", CHILD, str(recipe)]
        self.process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, out: Path, where: str, count: int) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{out} {where} {count}\n")
        self.process.stdin.flush()
        code = int(self.process.stdout.readline())
        assert code in (0, -9)
        return code

    def close(self) -> None:
        self.process.communicate(timeout=60)


@pytest.mark.slow
def test_killed_at_any_point_it_ends_the_same(recipe: Recipe, tmp_path: Path) -> None:
    """Twenty kills, some at random steps, some while a checkpoint is being written: curve and weights to the bit."""
    (path := tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    sitting = Sittings(path)
    assert sitting(tmp_path / "whole", "nowhere", 0) == 0
    rng, kills = random.Random(0), 0
    named = ["tensors", "manifest", "publish", "rename", "fsync", "weights"]
    for round_ in range(4):
        out = tmp_path / f"killed-{round_}"
        for where in [rng.choice(["step", *named]) for _ in range(5)]:
            kills += sitting(out, where, rng.randint(1, 4)) == -9
        assert sitting(out, "nowhere", 0) == 0
        for stage in ("warm", "instruct", "again"):
            assert curve(out, stage) == curve(tmp_path / "whole", stage)
        files = [folder / "model/trained.safetensors" for folder in (out, tmp_path / "whole")]
        assert files[0].read_bytes() == files[1].read_bytes()
        assert logged(out) == logged(tmp_path / "whole")
    sitting.close()
    assert kills >= 15


def curve(out: Path, stage: str) -> list[tuple[int, float]]:
    facts = json.loads((out / "stages" / stage / "state.json").read_text())
    return [(step, loss) for step, _, loss, _ in facts["progress"]["points"]]


def logged(out: Path) -> list[tuple[str, int, float]]:
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [(row["stage"], row["step"], row["loss"]) for row in rows]


def changed(recipe: Recipe, **facts: Any) -> Recipe:
    """The recipe with its second stage alone, changed."""
    stage = recipe.stages[1].model_dump() | facts
    return Recipe.model_validate(recipe.model_dump() | {"stages": [stage]})


@pytest.mark.parametrize("objective", ["next-token", "contrast"])
def test_several_batches_are_one(objective: str, recipe: Recipe, tmp_path: Path) -> None:
    """The gradient of several batches is that of one with all of their samples, though their lengths differ."""
    plan = changed(recipe, objective=objective, train={"image.connector": 1e-2})
    whole, (stage,) = setup.composed(plan), plan.stages
    groups = setup.trained(whole, stage)
    samples, mixes = read_data(plan)[0]
    some = [replace(sample, turns=sample.turns * (1 + i % 3)) for i, sample in enumerate(samples)]
    mixture = features.mixed(whole, stage, some, mixes)
    goal = setup.objective(whole, stage, some, mixture.some)
    found = []
    with ThreadPoolExecutor(1) as ahead, state.Saver(tmp_path / "s") as saver:
        it = loop._Stage(stage, goal, mixture, groups, saver, 0, ALONE, ahead, None)
        for size in (3, len(some)):
            whole.model.zero_grad()
            places = [range(len(some))[i : i + size] for i in range(0, len(some), size)]
            own = [[some[i] for i in these] for these in places]
            parts = [(one, mixture.take(these), goal.weigh(one)) for one, these in zip(own, places, strict=True)]
            value, tokens = it._gradients(loop._Drawn(0, some, parts))
            found.append((value, tokens, [w.grad.clone() for w in it.trained if w.grad is not None]))
    (value, tokens, several), (other, count, one) = found
    assert tokens == count
    assert value == pytest.approx(other, abs=1e-6)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(several, one, strict=True))


def test_what_did_best_is_kept(recipe: Recipe, tmp_path: Path) -> None:
    data = next(iter(recipe.stages[1].data))
    check = {"every": 2, "data": data, "split": "test", "keep": "best"}
    losses = []
    for keep in ("best", "last"):
        plan = changed(recipe, steps=12, check=check | {"keep": keep}, train={"image.connector": 0.3, "llm": 0.3})
        done = run.train(plan, tmp_path / keep, console=QUIET)
        stage = done.stages["instruct"]
        assert [step for step, _ in stage.checks] == [2, 4, 6, 8, 10, 12]
        goal = setup.objective(done, plan.stages[0], [], None)  # type: ignore[arg-type]
        measure = run.held_out(done, plan.stages[0], goal, plan.seed, QUIET)
        assert measure is not None
        losses.append((measure(), stage))
        model, _ = load(tmp_path / keep / "model", merge=False)
        saved = model.state_dict()
        done.model.eval()
        assert all(torch.equal(saved[name], own) for name, own in done.model.state_dict().items())
    (best, stage), (last, other) = losses
    assert stage.best == other.best
    assert stage.best is not None
    assert best == pytest.approx(stage.best[1], abs=1e-6)
    assert last == pytest.approx(other.checks[-1][1], abs=1e-6)
    rows = [json.loads(line) for line in (tmp_path / "best/log.jsonl").read_text().splitlines()]
    assert [row["held_out_loss"] for row in rows if "held_out_loss" in row] == [loss for _, loss in stage.checks]


def test_a_spike_is_skipped(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "RECENT", 5)
    call, count = run.find("isthmus.train.objectives", "next-token").Objective.__call__, iter(range(100))

    def spiked(self: Any, samples: Any, seen: Any) -> Any:
        loss, tokens = call(self, samples, seen)
        return (loss * 50 if next(count) == 8 else loss), tokens

    monkeypatch.setattr(run.find("isthmus.train.objectives", "next-token").Objective, "__call__", spiked)
    done = run.train(changed(recipe, steps=12, spike=20.0), tmp_path / "run", console=QUIET).stages["instruct"]
    assert len(done.skipped) == 1
    assert done.step == 12
    assert max(loss for _, _, loss, _ in done.points) < 20


def test_another_recipe_is_refused_with_what_differs(recipe: Recipe, tmp_path: Path) -> None:
    run.train(changed(recipe, steps=2), tmp_path / "run", console=QUIET)
    with pytest.raises(BadRecipe, match=r"stages\.0\.steps was 2 and is 3; stages\.0\.batch was 3 and is 4\. Resume"):
        run.train(changed(recipe, steps=3, batch=4), tmp_path / "run", resume=True, console=QUIET)


def test_tensorboard_has_each_step_once(recipe: Recipe, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    plan = changed(recipe, steps=3).model_copy(update={"log": ["tensorboard"]})
    run.train(plan, tmp_path / "run", console=QUIET)
    run.train(plan, tmp_path / "run", resume=True, console=QUIET)
    events = EventAccumulator(str(tmp_path / "run/tensorboard/instruct")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3]
    assert os.path.exists(tmp_path / "run/log.jsonl")
