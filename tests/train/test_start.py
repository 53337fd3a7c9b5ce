"""A run that goes on with what another one learned, and brings the model a kind of media that it did not take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from tiny_encoders import point_transformer

from isthmus.errors import BadCheckpoint, BadRecipe, UnknownName
from isthmus.model import begin, load, save_trained
from isthmus.train import run, setup
from isthmus.train.recipe import Recipe

QUIET = Console(quiet=True)


@pytest.fixture
def first(facts: dict[str, Any], tmp_path: Path) -> Path:
    """The model of a run of two stages, with an adapter."""
    run.train(Recipe.model_validate(facts), tmp_path / "first", console=QUIET)
    return tmp_path / "first/model"


def test_it_begins_with_what_was_learned(facts: dict[str, Any], first: Path, tmp_path: Path) -> None:
    learned = load_file(first / "trained.safetensors")
    assert any(".lora_B." in name for name in learned)
    point_transformer().save_pretrained(tmp_path / "points")
    points = {"encoder": "point-transformer", "part": str(tmp_path / "points"), "connector": "mlp", "size": 64}
    facts["model"]["points"] = points
    facts |= {"start": str(first), "stages": facts["stages"][1:2]}
    recipe = Recipe.model_validate(facts)
    begun = setup.composed(recipe).model.state_dict()
    assert all(torch.equal(begun[name], tensor) for name, tensor in learned.items())
    assert any(name.startswith("connectors.points.") for name in begun.keys() - learned.keys())
    done = run.train(recipe, tmp_path / "second", console=QUIET)
    again, _ = load(tmp_path / "second/model", merge=False)
    assert any(not torch.equal(done.model.state_dict()[name], tensor) for name, tensor in learned.items())
    assert all(torch.equal(done.model.state_dict()[name], again.state_dict()[name]) for name in learned)
    assert set(again.encoders) == {"image", "points"}


def test_it_resumes_only_from_the_same_start(facts: dict[str, Any], first: Path, tmp_path: Path) -> None:
    facts |= {"start": str(first), "stages": facts["stages"][1:2]}
    recipe = Recipe.model_validate(facts)
    run.train(recipe, tmp_path / "second", console=QUIET)
    run.train(recipe, tmp_path / "second", resume=True, console=QUIET)
    facts["seed"] = 1
    run.train(Recipe.model_validate(facts | {"start": None, "seed": 3}), tmp_path / "other", console=QUIET)
    (first / "trained.safetensors").write_bytes((tmp_path / "other/model/trained.safetensors").read_bytes())
    (first / "manifest.json").write_bytes((tmp_path / "other/model/manifest.json").read_bytes())
    (first / "config.json").write_bytes((tmp_path / "other/model/config.json").read_bytes())
    with pytest.raises(BadCheckpoint, match="parts changed"):
        run.train(recipe, tmp_path / "second", resume=True, console=QUIET)


def test_other_parts_and_connectors_are_refused(facts: dict[str, Any], first: Path) -> None:
    facts["start"] = str(first)
    facts["model"]["image"] |= {"tokens": 1}
    with pytest.raises(BadCheckpoint, match=r"image of its connectors is .*'tokens': 4.*, of this model .*'tokens': 1"):
        setup.composed(Recipe.model_validate(facts))
    facts["start"] = "nowhere"
    with pytest.raises(UnknownName, match="no model 'nowhere'"):
        setup.composed(Recipe.model_validate(facts))


def test_a_start_that_is_not_there_takes_no_folder(facts: dict[str, Any], tmp_path: Path) -> None:
    recipe = Recipe.model_validate(facts | {"start": "nowhere"})
    with pytest.raises(UnknownName, match="no model 'nowhere'"):
        run.train(recipe, tmp_path / "out", console=QUIET)
    assert not (tmp_path / "out").exists(), "or a second try, with the name put right, would be refused"


def test_an_adapter_goes_on_over_the_weights_that_it_was_trained_over(facts: dict[str, Any], first: Path) -> None:
    model = setup.composed(Recipe.model_validate(facts)).model
    model.config.quantize = "nf4"
    with pytest.raises(BadCheckpoint, match="was trained with quantize: none, this model has nf4"):
        begin(model, first)
    assert not model.config.adapters, "nothing is taken"


def test_a_new_encoder_is_new_once(facts: dict[str, Any], first: Path, tmp_path: Path) -> None:
    """A start that has it may leave it as it is; one that has not, cannot."""
    points = {"encoder": "point-transformer", "part": "new", "connector": "mlp", "size": 64}
    facts["model"]["points"] = points | {"new": {"layers": 1, "width": 24, "heads": 2, "groups": 4, "group_size": 4}}
    facts["stages"] = facts["stages"][:1]
    with pytest.raises(BadRecipe, match=r"model.points.part: a new encoder has learned nothing, neither in .*first"):
        setup.composed(Recipe.model_validate(facts | {"start": str(first)}))
    has = Recipe.model_validate(facts | {"start": str(tmp_path / "has")})
    save_trained(setup.composed(has.model_copy(update={"start": None})).model, tmp_path / "has")
    setup.composed(has)


def test_an_adapter_for_kinds_learns_beside_what_was_learned(
    facts: dict[str, Any], first: Path, tmp_path: Path
) -> None:
    learned = load_file(first / "trained.safetensors")
    stage = facts["stages"][1] | {"train": {"llm": {"lora": 2, "lr": 0.01, "kinds": ["image"]}}}
    facts |= {"start": str(first), "stages": [stage]}
    recipe = Recipe.model_validate(facts)
    run.train(recipe, tmp_path / "second", console=QUIET)
    whole = load_file(tmp_path / "second/model/trained.safetensors")
    assert all(torch.equal(whole[name], tensor) for name, tensor in learned.items()), "nothing else was trained"
    beside = {name: tensor for name, tensor in whole.items() if name.startswith("beside.")}
    assert all(bool(tensor.any()) for name, tensor in beside.items() if name.endswith(".B"))
    run.train(recipe, tmp_path / "second", resume=True, console=QUIET)
    again = load_file(tmp_path / "second/model/trained.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())
    third = Recipe.model_validate(facts | {"start": str(tmp_path / "second/model")})
    begun = setup.composed(third).model.state_dict()
    assert all(torch.equal(begun[name], tensor) for name, tensor in beside.items())
    stage["train"]["llm"]["lora"] = 4
    with pytest.raises(BadRecipe, match=r"adapter .*'r': 2.*, not .*'r': 4"):
        run.train(Recipe.model_validate(third.model_dump() | {"stages": [stage]}), tmp_path / "third", console=QUIET)


def test_an_adapter_for_kinds_that_the_data_do_not_show_is_refused(facts: dict[str, Any], tmp_path: Path) -> None:
    point_transformer().save_pretrained(tmp_path / "points")
    facts["model"]["points"] = {"encoder": "point-transformer", "part": str(tmp_path / "points"), "connector": "mlp",
                                "size": 64}  # fmt: skip
    facts["stages"] = [facts["stages"][1] | {"train": {"llm": {"lora": 2, "lr": 0.01, "kinds": ["points"]}}}]
    with pytest.raises(BadRecipe, match="its data show image, and none of points"):
        run.train(Recipe.model_validate(facts), tmp_path / "out", console=QUIET)
