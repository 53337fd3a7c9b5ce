"""Connectors compared on tiny parts and a folder of pictures: to the end, stopped and resumed, budgets, bad input."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_run
import torch
from rich.console import Console
from transformers import LlamaForCausalLM
from typer.testing import CliRunner

from isthmus import cli, compare, compare_run
from isthmus.compare import Budget, Variant, budgeted, read_variants, with_connector
from isthmus.demo import with_folder
from isthmus.errors import BadData, BadRecipe, Interrupted, IsthmusError, UnknownName
from isthmus.evaluate import compare_report
from isthmus.evaluate.comparison import Design, cells, difference, score
from isthmus.evaluate.report import duration
from isthmus.evaluate.scoring import Answer, Mark, estimate
from isthmus.registry import names
from isthmus.train import cost as costs
from isthmus.train import loop
from isthmus.train.cost import Cost, cost
from isthmus.train.loop import rate
from isthmus.train.recipe import CONNECTORS, Lora, Recipe, load_recipe

QUIET = Console(quiet=True)
OWN = ("connectors.linear.pool=average",)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """An LLM, an encoder and a folder of pictures."""
    folder = tmp_path_factory.mktemp("parts")
    return (*tiny_run.parts(folder), tiny_run.pictures(folder / "pictures"))


@pytest.fixture
def tiny(parts: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """The demo's recipe with tiny parts, pictures and steps; runs do not get a process of their own."""
    llm, vision, pictures = parts
    changes = [f"model.llm={llm}", f"model.image.part={vision}", "model.image.size=16", "model.image.tokens=4"]
    changes += [f"stages.{name}.steps=3" for name in ("warm-start", "pretrain", "instruct")]
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(compare, "start", lambda folder, title, command: compare_run.work(folder, QUIET))
    return with_folder(load_recipe("demo", changes), pictures)


def run(
    recipe: Recipe, out: Path, changes: Sequence[str] = OWN, connectors: str = "linear,mlp", **changed: Any
) -> Path:
    """Compare `linear` and `mlp` with two seeds."""
    options: dict[str, Any] = {"seeds": 2, "budget": Budget(), "swapped": True, "resume": False}
    options |= {"command": "isthmus compare again", "console": QUIET} | changed
    return compare.compare(recipe, read_variants(recipe, connectors, changes), out=out, **options)


def columns(page: str) -> dict[str, dict[str, str]]:
    """By connector, what the page's first table says under each heading."""
    found = {}
    for row in page.split("<tbody", 2)[1].split("</tbody>")[0].split("<tr ")[1:]:
        name = re.findall(r"<b>(.*?)</b></th>", row)[0]
        cell = re.compile(r'data-label="([^"]*)">(.*?)</td>', re.DOTALL)
        found[name] = {label: " ".join(re.sub("<[^>]*>", " ", text).split()) for label, text in cell.findall(row)}
    return found


def without_times(out: Path) -> dict[str, Any]:
    """`compare.json` without what another sitting measures anew: seconds and memory."""
    found: dict[str, Any] = json.loads((out / "compare.json").read_text())
    for it in found["contenders"]:
        for key in ("seconds", "first_token", "peak_bytes"):
            it.pop(key)
        for stage in it["stages"]:
            stage.pop("seconds")
    return found


def finished(out: Path) -> dict[str, int]:
    """Each finished run and when it was."""
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/facts.json")}


def wait_for(path: Path, process: subprocess.Popen[Any]) -> None:
    """Until the process has made this."""
    until = time.monotonic() + 240
    while not path.exists():
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < until, "it takes too long"
        time.sleep(0.005)


def files(out: Path) -> dict[str, str]:
    """What a comparison's runs said."""
    return {path.parent.name: path.read_text() for path in sorted(out.glob("*/answers.jsonl"))}


def test_to_the_end_and_the_same_after_being_stopped(
    tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = Console(file=io.StringIO(), width=200)
    page = run(tiny, whole := tmp_path / "whole", console=said).read_text()
    found = json.loads((whole / "compare.json").read_text())
    assert [it["name"] for it in found["contenders"]] == ["linear", "mlp"]
    assert found["reference"] == "mlp"
    linear, mlp = found["contenders"]
    assert linear["dropped"] == ["hidden"]
    assert linear["options"] == {"tokens": 4, "pool": "average"}
    assert 0 < linear["flops"] < mlp["flops"]
    assert linear["parameters"]["image.connector"] == 24 * 32 + 32 + 1
    assert linear["parameters"]["llm"] == mlp["parameters"]["llm"] > 0
    assert (mlp["slots"], mlp["memory"]) == (4, 0)
    assert all(len(stage["losses"]) == stage["planned"] == 3 for stage in mlp["stages"])
    assert [(cell["benchmark"], cell["kind"]) for cell in found["cells"]] == [
        ("mean of all", ""),
        ("your held-out images", "name"),
    ]
    assert found["cells"][0]["entries"]["mlp"]["difference"] is None
    assert "the recipe&#39;s hidden is not taken over" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "With each seed, every connector saw the same samples" in page
    shown = columns(page)
    for it in found["contenders"]:
        entry = found["cells"][0]["entries"][it["name"]]
        weights = [it["parameters"][part] for part in ("image.connector", "llm")]
        assert all(cost > 0 for cost in (it["seconds"], it["peak_bytes"], *it["first_token"]))
        assert shown[it["name"]] == {
            "Score": "{:.1f} {:.1f} to {:.1f}".format(*(100 * part for part in entry["score"])),
            "Beside mlp": "the reference"
            if entry["difference"] is None
            else "{:+.1f} {:+.1f} to {:+.1f}".format(*(100 * part for part in entry["difference"])),
            "Trained weights": "{} {} connector, {} llm".format(*map(compare_report.number, (sum(weights), *weights))),
            "Tokens": "4 in the text",
            "Training cost": compare_report.flop(it["flops"]),
            "Training time": duration(it["seconds"]),
            "First token": "{} {} from pixels".format(*map(compare_report.milliseconds, it["first_token"])),
            "Peak memory": compare_report.memory(it["peak_bytes"]),
        }
    ran = [json.loads((whole / f"mlp-{seed}" / "facts.json").read_text())["stages"] for seed in (0, 1)]
    assert all(ran[0][stage]["losses"] != ran[1][stage]["losses"] for stage in ran[0])
    assert re.search(r"run 4 of 4: mlp, seed 1", said.file.getvalue())  # type: ignore[attr-defined]

    stopped, asked, count = tmp_path / "stopped", compare_run.ask_all, 0

    def stop_in_the_third(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return asked(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(compare_run, "ask_all", stop_in_the_third)
        with pytest.raises(Interrupted, match="Go on: isthmus compare again"):
            run(tiny, stopped)
    done = finished(stopped)
    assert set(done) == {"linear-0", "mlp-0"}
    run(tiny, stopped, resume=True)
    assert files(stopped) == files(whole)
    assert finished(stopped).items() > done.items()
    assert without_times(stopped) == without_times(whole)

    with pytest.raises(BadRecipe, match="holds a comparison already"):
        run(tiny, whole)
    with pytest.raises(BadRecipe, match="another comparison: kind, amount differ"):
        run(tiny, whole, budget=Budget("minutes", 1), resume=True)
    with pytest.raises(BadRecipe, match=r"linear with the options .*average.*, not .*shuffle"):
        run(tiny, whole, changes=["connectors.linear.pool=shuffle"], resume=True)


def test_more_connectors_and_seeds_see_the_same_in_the_same_order(
    tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done stays; samples, turns and features of every step depend on the seed alone."""
    shown: dict[str, list[Any]] = {}
    draw = loop._Stage._draw

    def noted(stage: Any, place: int) -> Any:
        drawn = draw(stage, place)
        ((samples, seen, _),) = drawn.parts
        features = seen.features("image")[0].double().sum().item()
        list(shown.values())[-1].append(([(it.id, [turn.question for turn in it.turns]) for it in samples], features))
        return drawn

    def start(folder: Path, title: str, command: str) -> None:
        shown[folder.name] = []
        with monkeypatch.context() as patch:
            patch.setattr(loop._Stage, "_draw", noted)
            compare_run.work(folder, QUIET)

    monkeypatch.setattr(compare, "start", start)
    page = run(tiny, tmp_path / "out", seeds=1).read_text()
    assert "<li>Every connector saw the same samples" in page
    first, names_first = finished(tmp_path / "out"), list(shown)
    assert names_first == ["linear-0", "mlp-0"]
    page = run(tiny, tmp_path / "out", seeds=2, connectors="linear,mlp,resampler", resume=True).read_text()
    assert list(shown) == [*names_first, "resampler-0", "linear-1", "mlp-1", "resampler-1"]
    assert finished(tmp_path / "out").items() > first.items()
    assert list(columns(page)) == ["linear", "mlp", "resampler"]
    found = json.loads((tmp_path / "out/compare.json").read_text())
    assert found["seeds"] == 2
    assert all(len(stage["steps"]) == 2 for it in found["contenders"] for stage in it["stages"])
    for seed in (0, 1):
        assert len(shown[f"mlp-{seed}"]) == 3 * 3
        assert shown[f"linear-{seed}"] == shown[f"mlp-{seed}"] == shown[f"resampler-{seed}"]
    assert shown["mlp-0"] != shown["mlp-1"]


def test_a_budget_in_flops_is_kept(tiny: Recipe, tmp_path: Path) -> None:
    each = cost(with_connector(tiny, read_variants(tiny, "mlp,linear", [])[0]), timed=False, console=QUIET).flops
    amount = 3 * each["warm-start"] + 3 * each["pretrain"] + 5.5 * each["instruct"]
    page = run(tiny, tmp_path / "out", seeds=1, budget=Budget("flops", amount)).read_text()
    found = json.loads((tmp_path / "out/compare.json").read_text())
    assert found["budget"] == f"flops={amount:g}"
    assert "FLOPs: the last stage got as many steps" in page
    for it in found["contenders"]:
        *before, last = it["stages"]
        assert [stage["steps"] for stage in before] == [[3], [3]]
        assert last["steps"] == [last["planned"]] == [len(last["losses"])]
        plan = json.loads((tmp_path / "out" / f"{it['name']}.json").read_text())
        assert 0 <= amount - it["flops"] < plan["cost"]["flops"]["instruct"]
    assert last["steps"] == [5]


def test_a_budget_in_minutes_is_kept(tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps take longer than they did when they were timed: the last stage ends on time."""
    monkeypatch.setattr(costs, "_step_seconds", lambda *_: 1e-4)
    page = run(tiny, tmp_path / "out", seeds=1, budget=Budget("minutes", 0.0101)).read_text()
    found = json.loads((tmp_path / "out/compare.json").read_text())
    assert "Minutes: a stage's steps were timed before the training" in page
    for it in found["contenders"]:
        *before, last = it["stages"]
        assert [stage["steps"] for stage in before] == [[3], [3]]
        assert last["planned"] == pytest.approx((0.606 - 6e-4) / 1e-4, abs=1)
        (steps,), (seconds,) = last["steps"], last["seconds"]
        assert 0 < steps < last["planned"]
        assert seconds > 0.605 > seconds - 5 * seconds / steps  # no step is begun after it
        assert f"instruct: {last['planned']:,} steps, {steps:,} made in time" in page


def test_a_comparison_that_is_killed_goes_on_by_its_command(tiny: Recipe, tmp_path: Path) -> None:
    """`isthmus compare` and the training it started are killed within a stage; what it printed finishes the job."""
    (recipe := tmp_path / "own.yaml").write_text(tiny.model_dump_json())
    asked = ["compare", str(recipe), "stages.instruct.steps=60", *OWN, "--connectors", "linear,mlp", "--seeds", "1"]
    killed = tmp_path / "killed"
    line = [sys.executable, "-m", "isthmus.cli", *asked, "--out", str(killed)]
    with subprocess.Popen(line, start_new_session=True, stdout=subprocess.DEVNULL) as process:
        wait_for(killed / "linear-0/stages/pretrain", process)
        os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not finished(killed)
    assert not (killed / "linear-0/stages/instruct").exists()
    command = json.loads((killed / "linear-0/job.json").read_text())["command"]
    assert shlex.split(command)[1:4] == ["-m", "isthmus.cli", "compare"]
    for arguments in (shlex.split(command)[3:], [*asked, "--out", str(tmp_path / "whole")]):
        said = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
        assert said.exit_code == 0
        assert f"Report:  {arguments[arguments.index('--out') + 1]}/compare.html" in said.output
    assert files(killed) == files(tmp_path / "whole")
    assert without_times(killed) == without_times(tmp_path / "whole")


def test_a_run_has_a_process_of_its_own(
    tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is measured there, stops with the process that started it, and goes on."""
    monkeypatch.undo()
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    (folder := tmp_path / "mlp-0").mkdir()
    short = tiny.model_copy(update={"stages": [tiny.stages[0].model_copy(update={"steps": 300})]})
    job = {"recipe": json.loads(short.model_dump_json()), "seed": 0, "swapped": False, "command": "again"}
    compare_run.write_json(folder / "job.json", job)
    saving = "from isthmus import compare_run; from isthmus.train import loop; loop.SAVE_EVERY = 0; "
    line = [sys.executable, "-c", f"{saving} raise SystemExit(compare_run.main())", str(folder)]
    with subprocess.Popen(line, stdin=subprocess.PIPE) as process:
        wait_for(state := folder / "stages/warm-start/state.json", process)
        assert process.stdin
        process.stdin.close()  # as the system does when this process is killed
        assert process.wait(240) == Interrupted.exit_code
    assert 0 < json.loads(state.read_text())["progress"]["step"] < 300
    assert not (folder / "facts.json").exists()

    compare.start(folder, "run 1 of 1", "again")
    facts = json.loads((folder / "facts.json").read_text())
    assert 5e7 < facts["peak_bytes"] < 5e9
    assert facts["first_token_seconds"]["features"] > 0
    assert facts["stages"]["warm-start"]["steps"] == 300
    answers = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
    assert [answer["swapped"] for answer in answers] == [None, None]

    assert "warm-start" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("does", "error", "message"),
    [
        ('echo \'{"error": "no room"}\'; exit 1', IsthmusError, r"run 1 of 2: no room\n.*go on: again"),
        ("kill -9 $$", IsthmusError, "ended by signal 9; if nobody did that, memory ran out"),
        ("exit 3", IsthmusError, "exit code 3; what it said is above"),
        ("exit 130", Interrupted, "stopped in run 1 of 2; saved. Go on: again"),
    ],
)
def test_a_process_that_fails(
    does: str, error: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (script := tmp_path / "python").write_text(f"#!/bin/sh\n{does}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(error, match=message):
        compare.start(tmp_path, "run 1 of 2", "again")


def test_a_process_that_does_not_hear_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (script := tmp_path / "python").write_text(f"#!/bin/sh\ncat > {tmp_path / 'input'}\ntouch {tmp_path / 'told'}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(compare, "PATIENCE", 0.2)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(Interrupted, match="stopped in run 1 of 2"):
        compare.start(tmp_path, "run 1 of 2", "again")
    assert (tmp_path / "told").exists()


@pytest.mark.parametrize("name", names(CONNECTORS))
def test_every_connector_can_be_costed(name: str, tiny: Recipe) -> None:
    own = with_connector(tiny, Variant(name, {"tokens": 4}, []))
    found = cost(own, timed=False, console=QUIET)
    assert not found.left_out
    assert all(count > 0 for count in found.flops.values())
    assert found.slots == {"gated-cross-attention": 1, "visual-expert": 6}.get(name, 4)
    assert found.memory == (4 if name == "gated-cross-attention" else 0)


def test_a_stage_that_cannot_be_run_is_left_out(tiny: Recipe) -> None:
    options = {"memory": "features"}
    own = with_connector(tiny, Variant("gated-cross-attention", options, ["hidden"]))
    found = cost(own, timed=True, console=QUIET)
    assert list(found.left_out) == ["warm-start"]
    assert found.memory == 16
    assert found.seconds.keys() == found.flops.keys() == {"pretrain", "instruct"}
    assert [stage.name for stage in budgeted(own, found, Budget()).stages] == ["pretrain", "instruct"]
    only = own.model_copy(update={"stages": own.stages[:1]})
    with pytest.raises(BadRecipe, match="no stage is left"):
        budgeted(only, found, Budget())


def test_the_products_of_a_step_are_those_of_the_formula(tiny: Recipe) -> None:
    """The warm start of `linear`: y = W x and s = y V', forward, and backward to y and W, for 4 tokens a picture."""
    own = with_connector(tiny, Variant("linear", {"tokens": 4, "pool": "average"}, []))
    own = own.model_copy(update={"stages": own.stages[:1]})
    pictures, words = 10, 10
    through, scored = 2 * pictures * 4 * 24 * 32, 2 * pictures * 4 * 32 * words
    assert cost(own, timed=False, console=QUIET).flops == {"warm-start": 2 * through + 2 * scored}


def test_an_adapters_products_are_counted(tiny: Recipe) -> None:
    """x A' and its product with B', forward, and backward to both factors of each: six products of S tokens."""
    stage = tiny.stages[-1]
    found = []
    for rank in (4, 8):
        how = {**stage.train, "llm": Lora(lora=rank, lr=1e-3)}
        own = tiny.model_copy(update={"stages": [stage.model_copy(update={"train": how})]})
        found.append(cost(own, timed=False, console=QUIET).flops["instruct"])
    llm = LlamaForCausalLM.from_pretrained(tiny.model.llm)
    sizes = sum(sum(m.weight.shape) for name, m in llm.model.named_modules() if isinstance(m, torch.nn.Linear))
    tokens, rest = divmod(found[1] - found[0], 6 * 4 * sizes)
    assert rest == 0
    assert 20 < tokens < 500


@pytest.mark.parametrize(("kind", "amount"), [("flops", 1000.0), ("minutes", 1.01)])
def test_the_budget_is_spent_in_the_last_stage(kind: str, amount: float) -> None:
    recipe = load_recipe("demo", [f"stages.{i}.steps={n}" for i, n in enumerate((10, 5, 7))])
    found = Cost(flops={"warm-start": 2, "pretrain": 20, "instruct": 40})
    found.seconds = {"warm-start": 0.12, "pretrain": 1.2, "instruct": 2.4}
    *before, last = budgeted(recipe, found, Budget(kind, amount)).stages
    assert [stage.steps for stage in before] == [10, 5]
    assert last.steps == 22  # (1000 - 20 - 100) / 40; (60.6 - 1.2 - 6) / 2.4 = 22.25
    assert last.minutes == (None if kind == "flops" else pytest.approx(0.89))
    assert rate(last.steps - 1, last.steps, last.warmup) < 1
    with pytest.raises(BadRecipe, match=r"mlp needs .* for one step of instruct"):
        budgeted(recipe, found, Budget(kind, amount / 100))


@pytest.mark.parametrize(
    ("wanted", "changes", "error", "message"),
    [
        ("mlp,qfromer", [], UnknownName, "no connector 'qfromer'. Did you mean 'qformer'?"),
        ("mlp", [], BadRecipe, "name two or more"),
        ("mlp,mlp", [], BadRecipe, "each once"),
        ("mlp,linear", ["connectors.linear.hiden=3"], BadRecipe, "linear: no option 'hiden'"),
        ("mlp,linear", ["connectors.mlp.hidden=many"], BadRecipe, "mlp: .*not 'many'"),
        ("mlp,linear", ["connectors.qformer.hidden=3"], UnknownName, "no connector among those compared 'qformer'"),
        ("mlp,linear", ["connectors.mlp.rate.warmstart=1"], BadRecipe, "Did you mean 'warm-start'"),
        ("mlp,linear", ["connectors.mlp.rate.pretrain=fast"], BadRecipe, "'fast' is no learning rate"),
        ("mlp,linear", ["connectors.mlp=3"], BadRecipe, r"connectors\.NAME\.OPTION=VALUE"),
    ],
)
def test_bad_names(wanted: str, changes: list[str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read_variants(load_recipe("demo"), wanted, changes)


@pytest.mark.parametrize("text", ["hours=3", "minutes", "minutes=soon", "flops=-1", "steps=9", "flops=inf", ""])
def test_a_bad_budget(text: str) -> None:
    with pytest.raises(BadRecipe, match=re.escape(f"--budget {text}: ")):
        Budget.parse(text)


def test_the_recipes_options_go_to_those_that_have_them() -> None:
    linear, qformer, mlp = read_variants(load_recipe("demo"), "linear,qformer,mlp", [])
    assert (linear.options, linear.dropped) == ({"tokens": 16}, ["hidden"])
    assert (qformer.options, qformer.dropped) == ({"tokens": 16}, ["hidden"])  # the MLP's, and another thing there
    assert (mlp.options, mlp.dropped) == ({"tokens": 16, "hidden": 1152}, [])
    (qformer, gated) = read_variants(
        load_recipe("demo"),
        "qformer,gated_cross_attention",
        ["connectors.qformer.hidden=384", "connectors.gated_cross_attention.memory=features"],
    )
    assert (qformer.options, qformer.dropped) == ({"tokens": 16, "hidden": 384}, [])
    assert (gated.options, gated.dropped) == ({"memory": "features"}, ["tokens", "hidden"])
    assert read_variants(load_recipe("demo"), "gated_cross_attention,mlp", [])[0].name == "gated-cross-attention"


def test_a_connector_may_have_its_own_learning_rates() -> None:
    recipe = load_recipe("demo")
    (qformer, _) = read_variants(recipe, "qformer,mlp", ["connectors.qformer.rate.warm-start=3.0e-4"])
    assert qformer.rates == {"warm-start": 3e-4}
    own, plain = (with_connector(recipe, it) for it in (qformer, Variant("qformer", qformer.options, [])))
    assert [stage.train["image.connector"] for stage in own.stages] == [3e-4, 5e-4, 5e-4]
    assert [stage.train["image.connector"] for stage in plain.stages] == [3e-3, 5e-4, 5e-4]
    assert [stage.train.get("llm") for stage in own.stages] == [stage.train.get("llm") for stage in recipe.stages]


def test_one_seed_is_scored_as_the_report_of_a_run_does() -> None:
    rng = np.random.default_rng(0)
    truths, pictures = rng.choice(["yes", "no"], 60), np.arange(60)
    right = rng.random(60) < 0.7
    marks = [Mark(bool(r), str(t), str(p)) for r, t, p in zip(right, truths, pictures, strict=True)]
    own = score(right[None].astype(float), Design.of([(str(t),) for t in truths], pictures.tolist()))
    assert own == pytest.approx(estimate(marks))


@pytest.mark.parametrize(("seeds", "by_seed"), [(1, 0.0), (3, 0.0), (3, 0.5)])
def test_intervals_hold_the_true_difference(seeds: int, by_seed: float) -> None:
    """80 pictures of two questions; pictures are hard for both models, and for each in its own way; seeds differ."""
    rng, design = np.random.default_rng(0), Design.of([("",)] * 160, np.repeat(range(80), 2).tolist())
    held = 0
    for _ in range(300):
        hard = rng.normal(size=80)
        own, other = (  # equal models: the true difference is 0
            rng.random((seeds, 160))
            < 1 / (1 + np.exp(-np.repeat(hard + rng.normal(size=80) + by_seed * rng.normal(size=(seeds, 1)), 2, 1)))
            for _ in range(2)
        )
        found = difference(own.astype(float), other.astype(float), design)
        held += found.low <= 0 <= found.high
    assert held / 300 >= 0.91


def test_pairing_narrows_what_is_hard_for_both() -> None:
    rng, design = np.random.default_rng(0), Design.of([("",)] * 100, range(100))
    hard = (rng.random(100) < 0.5).astype(float)
    own, other = hard.copy()[None], hard.copy()[None]
    own[0, :5] = 1
    other[0, :5] = 0
    found = difference(own, other, design)
    assert found.low > 0
    assert score(own, design).low < score(other, design).high


def test_models_that_never_differ_are_not_certainly_equal() -> None:
    same = np.ones((2, 10))
    found = difference(same, same, Design.of([("",)] * 10, range(10)))
    assert found.value == 0
    assert found.low < -0.1 < 0.1 < found.high
    alone = difference(same[:, :1], same[:, :1], Design.of([("",)], range(1)))
    assert (alone.low, alone.high) == (-1, 1)


def test_the_same_question_asked_again_of_a_picture_tells_nothing_new() -> None:
    rng = np.random.default_rng(0)
    said = {name: rng.random((2, 40)) < 0.6 for name in ("mlp", "linear")}
    widths = []
    for times in (1, 4):
        answers = {
            name: [
                [
                    Answer(str(i), "b", "name", f"{t}?", "owl", "owl" if run[i] else "dog")
                    for i in range(40)
                    for t in range(times)
                ]
                for run in runs
            ]
            for name, runs in said.items()
        }
        mean = cells(answers, "mlp")[0].entries["linear"]
        assert mean.difference
        widths.append((mean.score.high - mean.score.low, mean.difference.high - mean.difference.low))
    assert widths[1] == pytest.approx(widths[0], rel=0.02)


def test_other_questions_are_not_compared() -> None:
    ask: Callable[[str], Answer] = lambda question: Answer("s", "b", "name", question, "owl", "owl")
    with pytest.raises(BadData, match="linear was not asked the same questions as mlp"):
        cells({"mlp": [[ask("?")]], "linear": [[ask("what?")]]}, "mlp")


def test_what_data_wrote_is_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    answers = {
        name: [[Answer(str(i), evil, f"{evil}k", "?", "owl", said, "dog") for i in range(12)]]
        for name, said in (("mlp", "owl"), ("linear", "dog"))
    }
    facts = {"stages": {evil: {"steps": 1, "seconds": 1.0, "losses": [float("nan")]}}, "peak_bytes": None}
    facts |= {"first_token_seconds": {"features": 0.1, "picture": 0.2}}
    costs = {"left_out": {"a": evil}, "parameters": {"image.connector": 5}, "slots": 1, "memory": 4, "flops": {evil: 9}}
    outcome = compare_report.Outcome(
        recipe=evil,
        parts=(evil, evil),
        budget="steps",
        seeds=1,
        reference="mlp",
        kinds=("image",),
        contenders=[
            compare_report.Contender.of(name, {"o": evil}, [evil], costs, {evil: 1}, [facts]) for name in answers
        ],
        cells=cells(answers, "mlp"),
    )
    page = compare_report.write_outcome(tmp_path / "x.html", outcome, evil).read_text()
    assert "<script" not in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert "clearly worse: linear" in page
    compare_report.print_outcome(outcome, Console(file=io.StringIO(), width=60))
