"""Whole runs on tiny parts: resumed ones equal uninterrupted ones, and nothing is computed twice."""

from __future__ import annotations

import io
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import Tensor

from isthmus.data import emoji
from isthmus.data.seen import Seen
from isthmus.errors import BadCheckpoint, BadData, BadMedia, BadRecipe, Interrupted, IsthmusError
from isthmus.model import IsthmusModel, load
from isthmus.train import check, features, mixture, run, setup, state
from isthmus.train.objectives import next_token
from isthmus.train.recipe import Check, Recipe
from isthmus.types import Image, Sample, Turn

QUIET = Console(quiet=True)
ADAPTER = {"image.encoder": {"lora": 2, "lr": 1e-2}}  # to be trained


def curves(done: setup.Run) -> dict[str, list[tuple[int, float]]]:
    return {name: [(point[0], point[2]) for point in stage.points] for name, stage in done.stages.items()}


def weights(done: setup.Run) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in done.model.state_dict().items()}


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Ctrl-C during the `after`-th next-token step from now."""
    call, count = next_token.Objective.__call__, iter(range(1, 10_000))

    def pressed(self: Any, samples: Any, shown: Any) -> Any:
        if next(count) == after:
            os.kill(os.getpid(), signal.SIGINT)
        return call(self, samples, shown)

    monkeypatch.setattr(next_token.Objective, "__call__", pressed)


def test_a_resumed_run_is_bit_for_bit_the_same(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run.train(recipe, tmp_path / "whole", console=QUIET)
    command = "isthmus train tiny --resume"
    for after, where in (
        (5, "step 5 of stage instruct"),
        (5, "step 10 of stage instruct"),
        (4, "step 2 of stage again"),
    ):
        with monkeypatch.context() as patch:
            interrupt(patch, after)
            with pytest.raises(Interrupted, match=f"stopped at {where}; saved. Go on: {command}"):
                run.train(recipe, tmp_path / "cut", resume=True, command=command, console=QUIET)
    torch.manual_seed(77)  # nothing may depend on the state that a process happens to be in
    resumed = run.train(recipe, tmp_path / "cut", resume=True, console=QUIET)
    assert curves(resumed) == curves(whole)
    expected = weights(whole)
    assert weights(resumed).keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(resumed).items())
    files = [(tmp_path / name / "model/trained.safetensors").read_bytes() for name in ("whole", "cut")]
    assert files[0] == files[1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_run_that_is_done_is_put_back(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run.train(recipe, tmp_path / "run", console=QUIET)
    again = run.train(recipe, tmp_path / "run", resume=True, console=QUIET)
    assert curves(again) == curves(first)
    model, _ = load(tmp_path / "run/model", merge=False)
    for name, tensor in weights(first).items():
        assert torch.equal(model.state_dict()[name], tensor)
        assert torch.equal(again.model.state_dict()[name], tensor)
    with pytest.raises(BadRecipe, match="holds a run already"):
        run.train(recipe, tmp_path / "run", console=QUIET)
    with pytest.raises(BadRecipe, match="another recipe"):
        run.train(recipe.model_copy(update={"seed": 5}), tmp_path / "run", resume=True, console=QUIET)


@pytest.mark.parametrize("learns", [False, True], ids=["features kept", "encoder learns"])
def test_a_run_does_not_go_on_with_other_pictures(
    learns: bool, facts: dict[str, Any], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if learns:
        facts["stages"] = [facts["stages"][1]]
        facts["stages"][0]["train"] = facts["stages"][0]["train"] | ADAPTER
    recipe = Recipe.model_validate(facts)
    with monkeypatch.context() as patch:
        interrupt(patch, 5)
        with pytest.raises(Interrupted):
            run.train(recipe, tmp_path / "run", console=QUIET)
    whole = (pictures / "red.png").read_bytes()
    PIL.Image.new("RGB", (20, 16), "olive").save(pictures / "red.png")  # the name and the caption stay
    with pytest.raises(BadCheckpoint, match="samples, pictures or parts changed"):
        run.train(recipe, tmp_path / "run", resume=True, console=QUIET)
    (pictures / "red.png").write_bytes(whole)
    run.train(recipe, tmp_path / "run", resume=True, console=QUIET)


def test_a_run_does_not_go_on_with_other_parts(
    facts: dict[str, Any], tiny_parts_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_parts_folder / "llm", llm := tmp_path / "llm")
    facts["model"]["llm"] = str(llm)
    recipe = Recipe.model_validate(facts)
    with monkeypatch.context() as patch:
        interrupt(patch, 5)
        with pytest.raises(Interrupted):
            run.train(recipe, tmp_path / "run", console=QUIET)
    weights = load_file(llm / "model.safetensors")
    weights["model.norm.weight"] *= 1.5
    save_file(weights, llm / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadCheckpoint, match="samples, pictures or parts changed"):
        run.train(recipe, tmp_path / "run", resume=True, console=QUIET)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kinds": ["name", "nmae"]}, r"evaluate\.held out: kinds: no kind of question 'nmae'\. Did you mean 'name'"),
        ({"data": "emoji-captions", "count": 3, "options": {"concepts": 9999}}, "concepts: 9999"),
        ({"split": "tets", "data": "easy-vqa"}, r"evaluate\.held out: .*no split 'tets'\. Did you mean 'test'"),
    ],
)
@pytest.mark.parametrize("begin", ["check", "train"])
def test_mistakes_of_the_evaluation_come_before_training(
    facts: dict[str, Any],
    tmp_path: Path,
    begin: str,
    change: dict[str, Any],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    facts["evaluate"]["held out"] |= {"split": "vendor" if "options" in change else "test"} | change
    recipe = Recipe.model_validate(facts)

    def composed(recipe: Recipe) -> None:
        raise AssertionError("the mistake was not seen")

    def few(count: int | None) -> Any:
        raise BadRecipe(f"concepts: {count} is none of 8 to 225")

    monkeypatch.setattr(run, "composed", composed)
    monkeypatch.setattr(check, "composed", composed)
    monkeypatch.setattr(emoji, "concepts", few)  # as for the real parts, which are not here
    start = {"check": lambda: check.check(recipe, QUIET), "train": lambda: run.train(recipe, tmp_path, console=QUIET)}
    with pytest.raises(BadRecipe, match=says):
        start[begin]()


def test_a_small_benchmark_may_lack_a_kind_but_not_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(name: str, split: str, count: int, options: Any, seed: int) -> list[Sample]:
        rare = (Turn("Left of it?", "no", "place"),)
        return [Sample(str(i), (), (Turn("?", "a", "name"), *rare[: i == 9])) for i in range(count)]

    monkeypatch.setattr(mixture, "load_split", drawn)
    few = Check(data="easy-vqa", split="test", count=2, kinds=["name", "place"])
    mixture.check_benchmarks({"few": few}, seed=0)
    with pytest.raises(BadRecipe, match=r"evaluate\.few: no question of the kinds place in its 2 samples"):
        mixture.check_benchmarks({"few": few.model_copy(update={"kinds": ["place"]})}, seed=0)


def test_training_teaches(recipe: Recipe, tmp_path: Path) -> None:
    done = run.train(recipe, tmp_path / "run", console=QUIET)
    losses = [point[2] for point in done.stages["instruct"].points]
    assert sum(losses[-4:]) < sum(losses[:4])
    before = setup.composed(recipe)
    after = weights(done)
    for name, tensor in before.model.encoders.state_dict().items():
        assert torch.equal(after[f"encoders.{name}"], tensor), "the encoder is frozen"
    for name, tensor in before.model.llm.state_dict().items():
        stem, _, last = name.rpartition(".")
        kept = after.get(f"llm.{name}", after.get(f"llm.{stem}.base_layer.{last}"))
        assert kept is not None
        assert torch.equal(kept, tensor), "LoRA leaves the LLM's own weights"


def test_features_are_computed_once(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    encode = IsthmusModel.encode
    monkeypatch.setattr(
        IsthmusModel,
        "encode",
        lambda self, kind, media, *more: seen.append(len(media)) or encode(self, kind, media, *more),
    )
    run.train(recipe, tmp_path / "one", console=QUIET)
    assert sum(seen) == 10  # of twelve images two are held out
    seen.clear()
    run.train(recipe, tmp_path / "two", console=QUIET)
    assert not seen
    again = setup.Run(*load(tmp_path / "two/model"))
    assert features.fingerprint(again, "image") == features.fingerprint(setup.composed(recipe), "image"), (
        "an evaluation finds them, too"
    )
    again.model.config.image_config.hidden_act = "relu"
    assert features.fingerprint(again, "image") != features.fingerprint(setup.composed(recipe), "image")


def test_ctrl_c_outside_the_loop_says_how_to_go_on(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(*args: Any, **kwargs: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(features, "features", pressed)
    with pytest.raises(Interrupted, match="Go on: isthmus train tiny --resume"):
        run.train(recipe, tmp_path / "run", command="isthmus train tiny --resume", console=QUIET)


def test_a_full_disk_while_training(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(state, "save_file", full)
    with pytest.raises(IsthmusError, match="No space left on device"):
        run.train(recipe, tmp_path / "run", console=QUIET)


def test_bad_pictures_are_named_before_training(recipe: Recipe, pictures: Path, tmp_path: Path) -> None:
    whole = (pictures / "blue.png").read_bytes()
    (pictures / "blue.png").write_bytes(whole[:40])
    with pytest.raises(BadMedia, match=r"blue\.png: "):
        run.train(recipe, tmp_path / "run", console=QUIET)
    (pictures / "blue.png").write_bytes(whole)
    run.train(recipe, tmp_path / "run", resume=True, console=QUIET)


def test_another_adapter_size_in_a_later_stage_is_refused(facts: dict[str, Any], tmp_path: Path) -> None:
    facts["stages"][2]["train"] = {"llm": {"lora": 4, "lr": 1e-2}}
    for stage in facts["stages"]:
        stage["steps"] = 1
    with pytest.raises(BadRecipe, match="keep one"):
        run.train(Recipe.model_validate(facts), tmp_path / "run", console=QUIET)


def pixels(seen: Seen) -> Tensor:
    """Features of every picture."""
    return seen.features("image")[0].detach()


@pytest.mark.parametrize("how", [{"lora": 2, "lr": 1e-2}, 1e-3])
def test_an_encoder_learns_and_later_stages_see_by_what_it_learned(
    how: Any, facts: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts["stages"][0] |= {"train": {"image.connector": 1e-2, "image.encoder": how}, "batch": 3}
    facts["stages"] = facts["stages"][:2]
    recipe = Recipe.model_validate(facts)
    before = weights(setup.composed(recipe))
    seen: list[Seen] = []
    read = features.features
    monkeypatch.setattr(features, "features", lambda *some, **more: seen.append(read(*some, **more)) or seen[-1])
    whole = run.train(recipe, tmp_path / "whole", console=QUIET)
    after = {name.replace(".base_layer", ""): tensor for name, tensor in weights(whole).items()}
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert any(name.startswith("encoders.") for name in changed) == (how == 1e-3)  # an adapter leaves the part as it is
    samples, _ = mixture.stage_samples(recipe.stages[1], recipe.seed)
    whole.model.eval()
    torch.testing.assert_close(pixels(seen[0]), pixels(features.encode(whole, samples)), atol=2e-3, rtol=2e-3)
    assert (pixels(seen[0]) - pixels(read(setup.composed(recipe), samples))).abs().max() > 1e-2
    loaded, _ = load(tmp_path / "whole/model")  # the light checkpoint holds what the encoder learned
    torch.testing.assert_close(
        pixels(features.encode(setup.Run(loaded, whole.processor), samples)),
        pixels(features.encode(whole, samples)),
        atol=1e-5,
        rtol=1e-5,
    )


@pytest.mark.parametrize("number", [0, 1], ids=["finished", "under way"])
def test_a_stage_that_trains_the_encoder_resumes_bit_for_bit(
    number: int, facts: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts["stages"] = facts["stages"][:2]
    facts["stages"][number]["train"] = facts["stages"][number]["train"] | ADAPTER
    recipe = Recipe.model_validate(facts)
    whole = run.train(recipe, tmp_path / "whole", console=QUIET)
    with monkeypatch.context() as patch:
        interrupt(patch, 5)
        with pytest.raises(Interrupted, match="stopped at step 5 of stage instruct"):
            run.train(recipe, tmp_path / "cut", console=QUIET)
    resumed = run.train(recipe, tmp_path / "cut", resume=True, console=QUIET)
    expected = weights(whole)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(resumed).items())


def test_some_features_are_as_many_as_asked_for(recipe: Recipe) -> None:
    samples, mixes = mixture.stage_samples(recipe.stages[1], recipe.seed)
    asked: list[tuple[int, bool]] = []

    def prepare(some: Any) -> Seen:
        return Seen.of("image", torch.ones(len(some), 3, 8), 4)

    def encode(some: Seen, learns: bool) -> Seen:
        asked.append((len(some), learns))
        return Seen.of("image", torch.ones(len(some), 4, 8), 4)

    many = mixture.Mixture(list(samples) * 10, mixes * 10, prepare=prepare, encode=encode)
    assert pixels(many.some(70)).shape == (70, 4, 8)
    assert pixels(many.some(10**6)).shape == (len(samples) * 10, 4, 8)
    assert all(count <= 32 and not learns for count, learns in asked)


def test_options_of_an_objective_reach_it(facts: dict[str, Any]) -> None:
    facts["stages"][0]["options"] = {"temperature": "5e-2", "noise": 0.5}  # YAML takes the first for a text
    recipe = Recipe.model_validate(facts)
    done = setup.composed(recipe)
    samples, _ = mixture.stage_samples(recipe.stages[0], recipe.seed)
    shown = features.features(done, samples)
    goal = setup.objective(done, recipe.stages[0], samples, lambda count: shown)
    assert (goal.temperature, goal.noise) == (0.05, 0.5)
    losses = [goal(samples, shown)[0].item() for _ in range(2)]
    assert losses[0] != losses[1], "noise is drawn anew"
    goal.noise = 0
    assert goal(samples, shown)[0].item() == goal(samples, shown)[0].item()


def test_check_names_a_part_that_would_not_learn(facts: dict[str, Any]) -> None:
    facts["stages"][0]["train"]["llm"] = {"lora": 2, "lr": 1e-3}
    with pytest.raises(BadRecipe, match="stage warm: the objective contrast gives llm no gradient"):
        check.check(Recipe.model_validate(facts), QUIET)


def test_check_keeps_no_features_of_an_encoder_that_learns(facts: dict[str, Any], tmp_path: Path) -> None:
    facts["stages"][0]["train"]["image.encoder"] = {"lora": 2, "lr": 1e-2}
    console = Console(file=io.StringIO(), width=200)
    check.check(Recipe.model_validate(facts), console)
    assert not list(tmp_path.glob("cache/features/*"))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "image.encoder: " in said
    assert "features 0.00" in said


def test_a_turn_longer_than_the_llm_is_named(recipe: Recipe) -> None:
    done = setup.composed(recipe)
    long = Sample("essay", (Image(b""),), (Turn("What is this?", "word " * 500),))
    with pytest.raises(BadData, match=r"sample essay: a turn of \d+ tokens, the LLM takes 256"):
        next_token.Objective(done.model, done.processor, [long], torch.zeros)


def test_check_prints_everything_and_trains_nothing(recipe: Recipe, tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=200)
    before = sorted(tmp_path.rglob("*"))
    check.check(recipe, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for fact in (
        "stage 2 of 3: instruct",
        "10 samples",
        "<image>x4",
        "12 placeholders = 12 soft tokens (3 images x 4, D=64)",
        "image.connector: 10,369 parameters",
        "llm: ",
        "of them supervised",
        "memory   about",
    ):
        assert fact in text, fact
    supervised = text[text.index("[ ") : text.index(" ]", text.index("[ "))]
    assert supervised.endswith("<|im_end|>")
    assert {path.relative_to(tmp_path).parts[0] for path in {*tmp_path.rglob("*")} - {*before}} == {"cache"}


@pytest.mark.slow
def test_the_demo_recipe_on_the_real_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from isthmus.train.recipe import load_recipe

    changes = [f"stages.{name}.steps=2" for name in ("warm-start", "pretrain", "instruct")]
    for number in range(3):
        for data, count in (("emoji-captions", 8), ("emoji-scenes", 4), ("easy-vqa", 4)):
            changes.append(f"stages.{number}.data.{data}.count={count}")
    recipe = load_recipe("demo", changes)
    whole = run.train(recipe, tmp_path / "whole", console=QUIET)
    with monkeypatch.context() as patch:
        interrupt(patch, 3)
        with pytest.raises(Interrupted):
            run.train(recipe, tmp_path / "cut", console=QUIET)
    assert curves(run.train(recipe, tmp_path / "cut", resume=True, console=QUIET)) == curves(whole)
