"""Training on files of the field's formats: conversations, weights, a resumed run, changed files."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from statistics import fmean
from typing import Any

import PIL.Image
import pytest
import tiny_run
import torch
from rich.console import Console

from isthmus import media
from isthmus.data.packing import alone, collate, pack
from isthmus.data.sources import load_split
from isthmus.errors import BadCheckpoint, BadData, BadMedia, BadRecipe, Interrupted
from isthmus.train import features, run, setup, tried
from isthmus.train.mixture import read_data
from isthmus.train.objectives import next_token
from isthmus.train.recipe import Recipe, load_recipe

QUIET = Console(quiet=True)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures, conversations about them, and captions."""
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    folder = tiny_run.pictures(tmp_path / "pictures")
    names = tiny_run.COLOURS
    chats = []
    for one, two in zip(names, names[1:] + names[:1], strict=True):
        said = ["<image>\nwhat is it ?", one, "and <image>", two, "the first ?", one]
        rows = [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(said)]
        chats.append({"id": one, "image": [f"{one}.png", f"{two}.png"], "conversations": rows})
    (folder / "chats.json").write_text(json.dumps(chats))
    (folder / "captions.jsonl").write_text(
        "\n".join(json.dumps({"file_name": f"{name}.png", "text": name}) for name in names)
    )
    return folder


def plan(here: Path, family: str = "llama", **chats: Any) -> Recipe:
    llm, vision = tiny_run.parts(here.parent / family, family)
    image = {"encoder": "vit-s", "connector": "mlp", "part": str(vision), "size": 16, "tokens": 4}
    data = {
        str(here / "chats.json"): {"weight": 3.0} | chats,
        str(here / "captions.jsonl"): {"weight": 1.0, "options": {"ask": "what is this ?"}},
    }
    stage = {
        "name": "instruct",
        "train": {"image.connector": 3e-3, "llm": 3e-3},
        "data": data,
        "steps": 40,
        "warmup": 2,
    }
    recipe = {"name": "files", "model": {"llm": str(llm), "image": image}, "stages": [stage]}
    (path := here / "recipe.yaml").write_text(json.dumps(recipe))
    return load_recipe(path)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_it_learns_from_conversations(family: str, here: Path) -> None:
    trained = run.train(plan(here, family), here.parent / "run", console=QUIET)
    losses = [loss for _, _, loss, _ in trained.stages["instruct"].points]
    assert fmean(losses[-5:]) < 0.8 * losses[0]


def test_a_conversation_in_one_row_is_its_turns_one_by_one(here: Path) -> None:
    """The same loss and gradients, whether turns share a row or each has its own behind those before it."""
    recipe = plan(here)
    whole = setup.composed(recipe)
    some = read_data(recipe)[0][0][:3]
    weights = setup.part(whole.model, "image.connector").requires_grad_(True)
    goal = setup.objective(whole, recipe.stages[0], some, lambda count: features.encode(whole, some))
    loss, _ = goal(some, features.encode(whole, some))
    loss.backward()
    together = [weight.grad.clone() for weight in weights.parameters()]
    whole.model.zero_grad()
    apart = [one for sample in some for one in alone(sample)]
    losses, counts = [], []
    for one in apart:
        row = run_row(whole, one)
        own = whole.model(use_cache=False, **row[0], **features.encode(whole, [one]).inputs()).loss
        losses.append(own * row[1])
        counts.append(row[1])
    total = torch.stack(losses).sum() / sum(counts)
    total.backward()
    assert total.item() == pytest.approx(loss.item(), abs=1e-5)
    for old, weight in zip(together, weights.parameters(), strict=True):
        assert torch.allclose(old, weight.grad, atol=1e-5)


def run_row(whole: setup.Run, sample: Any) -> tuple[dict[str, torch.Tensor], int]:
    row = pack(sample, whole.processor.template, last=True)
    return collate([row], pad=0), sum(label >= 0 for label in row.labels)


def test_resumed_it_is_the_same_and_changed_files_are_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = plan(here)
    out = here.parent
    whole = run.train(recipe, out / "whole", console=QUIET)
    call = next_token.Objective.__call__

    def pressed(self: Any, samples: Any, seen: Any) -> Any:
        if next(count) == 17:
            os.kill(os.getpid(), signal.SIGINT)
        return call(self, samples, seen)

    with monkeypatch.context() as patch:
        count = iter(range(100))
        patch.setattr(next_token.Objective, "__call__", pressed)
        with pytest.raises(Interrupted, match="stopped at step 18 of stage instruct"):
            run.train(recipe, out / "cut", console=QUIET)
    resumed = run.train(recipe, out / "cut", resume=True, console=QUIET)
    points = [[loss for _, _, loss, _ in r.stages["instruct"].points] for r in (whole, resumed)]
    assert points[0] == points[1]
    (here / "captions.jsonl").write_text((here / "captions.jsonl").read_text().replace('"red"', '"crimson"'))
    with pytest.raises(BadCheckpoint, match="changed since"):
        run.train(recipe, out / "cut", resume=True, console=QUIET)


def test_what_is_wrong_is_said_before_training(here: Path) -> None:
    with pytest.raises(BadRecipe, match=r"no option 'medai'. Did you mean 'media'"):
        plan(here, options={"medai": "x"})
    plan(here)
    recipe = json.loads((here / "recipe.yaml").read_text())
    del recipe["stages"][0]["data"][str(here / "captions.jsonl")]["weight"]
    (here / "wrong.yaml").write_text(json.dumps(recipe))
    with pytest.raises(BadRecipe, match=r"captions.jsonl: has no weight, and .*chats.json has one"):
        load_recipe(here / "wrong.yaml")
    (here / "teal.png").unlink()
    with pytest.raises(BadData, match=r"2 of 12 rows cannot be used, 1\.0% are tolerated .*teal.png: no such file"):
        read_data(plan(here))
    stage = plan(here, options={"tolerate": 0.2}).stages[0]
    samples = load_split(str(here / "chats.json"), "train", None, stage.data[str(here / "chats.json")].options)
    assert len(samples) == 10


def test_damaged_media_are_left_out_and_listed(here: Path) -> None:
    whole = (here / "red.png").read_bytes()
    (here / "red.png").write_bytes(whole[:50])
    with pytest.raises(BadMedia, match=r"2 of 12 samples cannot be used, 1\.0% are tolerated\. sample red: .*red\.png"):
        run.train(plan(here), here.parent / "strict", console=QUIET)
    recipe = plan(here, options={"tolerate": 0.2})
    captions = str(here / "captions.jsonl")
    facts = recipe.model_dump()
    facts["stages"][0] |= {"steps": 4}
    facts["stages"][0]["data"][captions]["options"]["tolerate"] = 0.1
    done = run.train(Recipe.model_validate(facts), here.parent / "run", console=QUIET)
    assert done.stages["instruct"].step == 4
    run.train(Recipe.model_validate(facts), here.parent / "run", resume=True, console=QUIET)
    listed = [json.loads(line) for line in (here.parent / "run/quarantine/instruct.jsonl").read_text().splitlines()]
    assert len(listed) == 3
    assert all("red.png" in one["reason"] for one in listed)


def test_damaged_media_are_left_out_where_the_encoder_learns(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A truncated JPEG, in a stage that encodes its pictures in every step: left out, listed, resumed to the bit."""
    PIL.Image.effect_noise((40, 32), 80).convert("RGB").save(here / "noise.jpg")
    (here / "red.png").write_bytes((here / "noise.jpg").read_bytes()[:900])
    facts = plan(here, options={"tolerate": 0.2}).model_dump()
    facts["stages"][0] |= {"steps": 6, "train": {"image.encoder": 1e-3, "image.connector": 3e-3}}
    captions = facts["stages"][0]["data"][str(here / "captions.jsonl")]["options"]
    facts["stages"][0]["check"] = {"every": 3, "data": str(here / "captions.jsonl"), "split": "train"}
    facts["stages"][0]["check"]["options"] = {"ask": "what ?", "tolerate": 0.0}
    decoded: list[Any] = []
    monkeypatch.setattr(tried, "load", lambda medium: decoded.append(medium) or media.load(medium))
    with pytest.raises(BadMedia, match=r"1 of 12 samples cannot be used, 1\.0% are tolerated\. sample .*red\.png"):
        run.train(Recipe.model_validate(facts), here.parent / "strict", console=QUIET)
    assert not (here.parent / "strict/stages").exists(), "before a step is made"
    assert len(decoded) == 2 * 12 + 12 - 1, "of conversations each shows two, but one is left after its first"
    captions["tolerate"] = 0.1
    del facts["stages"][0]["check"]
    whole = run.train(Recipe.model_validate(facts), here.parent / "whole", console=QUIET)
    listed = [json.loads(line) for line in (here.parent / "whole/quarantine/instruct.jsonl").read_text().splitlines()]
    assert len(listed) == 3
    assert all("red.png" in one["reason"] and one["reason"].startswith("sample ") for one in listed)
    call, count = next_token.Objective.__call__, iter(range(100))

    def pressed(self: Any, samples: Any, seen: Any) -> Any:
        if next(count) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return call(self, samples, seen)

    with monkeypatch.context() as patch:
        patch.setattr(next_token.Objective, "__call__", pressed)
        with pytest.raises(Interrupted):
            run.train(Recipe.model_validate(facts), here.parent / "run", console=QUIET)
    parts = run.train(Recipe.model_validate(facts), here.parent / "run", resume=True, console=QUIET)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(parts.model.state_dict()[name], tensor), name


def test_held_out_samples_with_damaged_media_are_left_out(here: Path) -> None:
    (here / "red.png").write_bytes((here / "red.png").read_bytes()[:50])
    facts = plan(here, options={"tolerate": 0.2}).model_dump()
    captions = str(here / "captions.jsonl")
    facts["stages"][0]["data"][captions]["options"]["tolerate"] = 0.1
    held = {"every": 2, "data": captions, "split": "train", "options": {"ask": "what ?", "tolerate": 0.1}}
    facts["stages"][0] |= {"steps": 2, "check": held}
    done = run.train(Recipe.model_validate(facts), here.parent / "run", console=QUIET)
    assert [step for step, _ in done.stages["instruct"].checks] == [2]
