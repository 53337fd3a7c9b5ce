"""How a stage runs the model: the same loss and gradients with less memory, or compiled; and what is refused."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console
from test_run import interrupt
from torch import Tensor
from transformers import AttentionInterface

from isthmus.connectors._sight import layers
from isthmus.errors import BadRecipe, Interrupted
from isthmus.model import blocks
from isthmus.train import check, cost, execution, features, mixture, run, setup
from isthmus.train.recipe import Recipe, load_recipe

QUIET = Console(quiet=True)
WAYS = {"activation_checkpointing": True}
LEAF = "ignore:The .grad attribute of a Tensor that is not a leaf"  # the compiler looks, and warns itself


def step(facts: dict[str, Any], **ways: Any) -> tuple[float, dict[str, Tensor], int]:
    """Loss, gradients and kept bytes of one batch of the stage `instruct`, in which the LLM has dropout."""
    recipe = Recipe.model_validate(facts)
    stage = recipe.stages[1].model_copy(update=ways)
    whole = setup.composed(recipe)
    torch.manual_seed(2)  # the adapter's beginning
    groups = [setup.group(whole.model, where, how) for where, how in stage.train.items()]
    samples = mixture.stage_samples(stage, 0)[0][:3]
    seen = features.encode(whole, samples)
    goal = setup.objective(whole, stage, samples, lambda count: seen)
    whole.model.train()
    torch.manual_seed(3)
    with execution.execution(whole.model, stage):
        with check.activations(whole.model) as kept:
            loss, _ = goal(samples, seen)
        loss.backward()
    goal.finish()
    named = dict(whole.model.named_parameters())
    learned = {id(weight) for group in groups for weight in group["params"]}
    return loss.item(), {n: w.grad for n, w in named.items() if id(w) in learned}, sum(kept.values())  # type: ignore[misc]


def test_checkpointed_gradients_are_the_same_to_the_bit(facts: dict[str, Any]) -> None:
    plain, less = step(facts), step(facts, **WAYS)
    assert less[0] == plain[0]
    assert plain[1].keys() == less[1].keys()
    assert all(torch.equal(less[1][name], gradient) for name, gradient in plain[1].items())
    assert less[2] < 0.6 * plain[2]


def test_layers_are_kept_again_after_the_stage(recipe: Recipe) -> None:
    model, stage = setup.composed(recipe).model, recipe.stages[1].model_copy(update=WAYS)
    with contextlib.suppress(KeyError), execution.execution(model, stage):
        assert all(layer.gradient_checkpointing for layer in layers(model.llm))
        raise KeyError
    assert not any(layer.gradient_checkpointing for layer in layers(model.llm))


def test_a_run_with_checkpointing_equals_one_without(facts: dict[str, Any], tmp_path: Path) -> None:
    facts["stages"] = facts["stages"][1:2]
    plain = run.train(Recipe.model_validate(facts), tmp_path / "plain", console=QUIET)
    facts["stages"][0] |= WAYS | {
        "check": {"every": 6, "data": next(iter(facts["stages"][0]["data"])), "split": "test"}
    }
    less = run.train(Recipe.model_validate(facts), tmp_path / "less", console=QUIET)
    assert [point[2] for point in less.stages["instruct"].points] == [p[2] for p in plain.stages["instruct"].points]


def told(facts: dict[str, Any]) -> dict[str, float]:
    """What `isthmus check` says of a stage's memory, in GB."""
    check.check(Recipe.model_validate(facts), Console(file=(out := io.StringIO()), width=200))
    (line,) = re.findall(r"memory .* GB \((.*)\)", out.getvalue())
    return {name: float(size) for name, size in re.findall(r"(\w+) ([\d.]+)", line)}


def test_check_tells_what_is_saved(facts: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    facts["stages"] = facts["stages"][1:2]
    (here,) = facts["stages"]
    here["batch"] = 10
    monkeypatch.setattr(check, "BACKWARD", 1000)  # megabytes become visible
    plain = told(facts)
    here |= WAYS
    assert 0.3 * plain["backward"] < told(facts)["backward"] < 0.9 * plain["backward"], (
        "of two layers one is kept whole"
    )


@pytest.mark.filterwarnings(LEAF)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler's own code
@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_layers_compute_the_same(
    backend: str, facts: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if backend == "inductor" and shutil.which("g++") is None:
        pytest.skip("no C++ compiler")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(execution, "BACKEND", backend)
    facts["model"]["llm"] = str(without_dropout(facts, tmp_path))
    plain, made = step(facts), step(facts, compile=True)
    assert made[0] == pytest.approx(plain[0], abs=1e-5)
    for name, gradient in plain[1].items():
        torch.testing.assert_close(made[1][name], gradient, atol=1e-5, rtol=1e-4)
    assert AttentionInterface()[blocks.NAME] is blocks.attend


def without_dropout(facts: dict[str, Any], folder: Path) -> Path:
    """The LLM without its dropout, which a compiler draws in another order."""
    shutil.copytree(facts["model"]["llm"], new := folder / "still")
    text = (new / "config.json").read_text()
    (new / "config.json").write_text(text.replace('"attention_dropout": 0.2', '"attention_dropout": 0.0'))
    return new


@pytest.mark.filterwarnings(LEAF)
def test_a_compiled_stage_runs_and_ends_uncompiled(facts: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(execution, "BACKEND", "eager")
    facts["stages"] = [facts["stages"][1] | {"compile": True, "steps": 4}]
    done = run.train(Recipe.model_validate(facts), tmp_path / "run", console=QUIET)
    assert len(done.stages["instruct"].points) == 4
    assert all(layer._compiled_call_impl is None for layer in done.model.modules())


def test_liger_on_a_cpu_is_refused(facts: dict[str, Any], tmp_path: Path) -> None:
    facts["stages"] = [facts["stages"][1] | {"liger": True}]
    with pytest.raises(BadRecipe, match="liger: its kernels run on a GPU, and the LLM is on cpu"):
        run.train(Recipe.model_validate(facts), tmp_path / "run", console=QUIET)


def test_what_liger_replaces_is_put_back(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the package, which cannot be imported without a GPU: what is called and left after."""
    llm = setup.composed(recipe).model.llm
    home = sys.modules[type(llm).__module__]
    norm, rotary = llm.model.norm, home.apply_rotary_pos_emb
    asked: list[dict[str, bool]] = []

    def apply(model: Any, **options: bool) -> None:
        asked.append(options)
        norm.forward, norm.offset = (lambda x: x), 0.0
        home.apply_rotary_pos_emb = print

    package, transformers = ModuleType("liger_kernel"), ModuleType("liger_kernel.transformers")
    patch = ModuleType("liger_kernel.transformers.monkey_patch")
    transformers._apply_liger_kernel_to_instance = apply
    patch.MODEL_TYPE_TO_APPLY_LIGER_FN = {"llama": apply}
    package.__spec__ = SimpleNamespace()
    for module in (package, transformers, patch):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(type(llm), "device", torch.device("cuda"))
    with execution.liger(llm):
        assert home.apply_rotary_pos_emb is print
        assert "forward" in vars(norm)
    assert asked == [{"cross_entropy": False, "fused_linear_cross_entropy": False}]
    assert home.apply_rotary_pos_emb is rotary
    assert not {"forward", "offset"} & vars(norm).keys()
    del patch.MODEL_TYPE_TO_APPLY_LIGER_FN["llama"]
    with pytest.raises(BadRecipe, match="no kernels for llama"), execution.liger(llm):
        pass


def test_a_quantised_run_resumes_to_the_bit(facts: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    facts["model"]["quantize"] = "nf4"
    facts["stages"] = facts["stages"][1:2]
    facts["stages"][0] |= {"check": {"every": 3, "data": next(iter(facts["stages"][0]["data"])), "split": "test"}}
    recipe = Recipe.model_validate(facts)
    asked: list[bool] = []
    optimizer = torch.optim.AdamW
    monkeypatch.setattr(torch.optim, "AdamW", lambda *a, **k: asked.append(k["fused"]) or optimizer(*a, **k))
    whole = run.train(recipe, tmp_path / "whole", console=QUIET)
    assert asked == [True]
    with monkeypatch.context() as patch:
        interrupt(patch, 5)
        with pytest.raises(Interrupted):
            run.train(recipe, tmp_path / "parts", console=QUIET)
    parts = run.train(recipe, tmp_path / "parts", resume=True, console=QUIET)
    learned = {name: t for name, t in parts.model.state_dict().items() if ".lora_" in name or "connectors" in name}
    assert learned
    assert all(torch.equal(whole.model.state_dict()[name], tensor) for name, tensor in learned.items())
    assert [p[2] for p in whole.stages["instruct"].points] == [p[2] for p in parts.stages["instruct"].points]
    told(facts)


def test_the_arithmetic_of_a_quantised_step_is_counted(facts: dict[str, Any]) -> None:
    """As much as with PEFT's own adapter over plain weights, within the products that ours saves."""
    facts["stages"] = facts["stages"][1:2]
    quiet = Console(quiet=True)
    plain = cost.cost(Recipe.model_validate(facts), timed=False, console=quiet).flops["instruct"]
    facts["model"]["quantize"] = "nf4"
    four = cost.cost(Recipe.model_validate(facts), timed=False, console=quiet).flops["instruct"]
    assert four == pytest.approx(plain, rel=0.02)


def test_a_quantised_llm_cannot_be_trained_whole(facts: dict[str, Any], written: Callable[[str, str], Path]) -> None:
    facts["model"]["quantize"] = "nf4"
    facts["stages"][1]["train"] = {"llm": 1e-3}
    with pytest.raises(BadRecipe, match=r"stages.1.train.llm: a quantised LLM learns by an adapter"):
        load_recipe(written("", ""))
    facts["model"]["quantize"] = "int3"
    with pytest.raises(BadRecipe, match=r"model.quantize: .*'nf4'"):
        load_recipe(written("", ""))
