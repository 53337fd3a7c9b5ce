"""The demo to its end, on tiny parts and a folder of pictures: stopped, resumed, reported, asked again by `eval`."""

from __future__ import annotations

import io
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import rich
import tiny_run
from rich.console import Console
from typer.testing import CliRunner

from isthmus import cli, demo, parts
from isthmus.errors import BadRecipe, Interrupted
from isthmus.evaluate.scoring import Answer
from isthmus.train.recipe import Recipe, load_recipe
from isthmus.types import Image, Sample


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twelve images with a caption beside each, in a folder that `ls` does not show."""
    return tiny_run.pictures(tmp_path / ".my pictures (2)")


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """The demo's recipe, with tiny parts and a few steps; cache and current folder are the test's own."""
    llm, vision = tiny_run.parts(tmp_path)
    changes = [f"model.llm={llm}", f"model.image.part={vision}", "model.image.size=16", "model.image.tokens=4"]
    changes += [f"stages.{name}.steps=2" for name in ("warm-start", "pretrain", "instruct")]
    recipe = load_recipe("demo", changes)
    monkeypatch.setattr(demo, "load_recipe", lambda name: recipe if name == "demo" else load_recipe(name))
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(rich, "_console", Console(quiet=True))  # `eval --json` turns the global one to standard error
    monkeypatch.chdir(tmp_path)
    return recipe


def stop(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_the_demo_of_all_senses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(BadRecipe, match="leave --senses out"):
        demo.run(tmp_path, None, False, Console(quiet=True), senses=True)
    trained = []

    def train(recipe: Recipe, out: Path, *, command: str, **_: Any) -> None:
        trained.append((recipe.name, sorted(recipe.model.senses), out, command))
        stop()

    monkeypatch.setattr(demo, "train", train)
    monkeypatch.setattr(demo, "prepare", lambda recipe, console: None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        demo.run(None, None, False, Console(quiet=True), senses=True)
    ((name, senses, out, again),) = trained
    assert (name, senses, out) == ("senses", ["audio", "image", "points", "series", "video"], Path("runs/senses"))
    assert again.endswith("demo --senses --out runs/senses --resume")


@pytest.mark.usefixtures("tiny")
def test_the_demo_to_its_end(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = pictures.relative_to(tmp_path), Path("runs") / "demo-.my pictures -2-"
    console = Console(file=io.StringIO(), width=200)
    with monkeypatch.context() as patch:
        patch.setattr(demo, "ask_all", stop)
        with pytest.raises(Interrupted, match="Go on: ") as stopped:
            demo.run(data, None, False, console)
    again = shlex.split(str(stopped.value).split("Go on: ")[1])
    assert again[again.index("demo") :] == ["demo", "--data", str(data), "--out", str(out), "--resume"]
    assert (out / "model/config.json").is_file()

    demo.run(data, None, True, console)
    assert {path.name for path in out.iterdir()} >= {"report.html", "answers.jsonl", "example.png", "recipe.json"}
    answers = [Answer.from_dict(json.loads(line)) for line in (out / "answers.jsonl").read_text().splitlines()]
    assert {answer.truth for answer in answers} < set(tiny_run.COLOURS)
    page = (out / "report.html").read_text()
    assert "Isthmus: demo-.my pictures -2-" in page
    assert "2 questions, 2 of them again with another picture" in page
    assert page.count("data:image/png;base64,") == len(answers) == 2
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "parts ready: " in said
    assert re.search(r"Report: +runs/", said)
    talk = shlex.split(said.rsplit("Talk to it:", 1)[1])
    assert talk[-5:] == ["--model", str(out / "model"), "--image", str(out / "example.png"), "What is this?"]

    command = ["eval", str(out / "model"), "--answers", "again.jsonl", "--json"]
    done = CliRunner().invoke(cli.app, command, catch_exceptions=False)
    assert [(row["benchmark"], row["kind"], row["n"]) for row in json.loads(done.stdout)] == [
        ("your held-out images", "name", 2)
    ]
    assert Path("again.jsonl").read_text() == (out / "answers.jsonl").read_text()


def test_the_parts_of_every_data_set_are_fetched(tiny: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that the stages train on, and those that only the evaluation asks about."""
    got: list[str] = []
    monkeypatch.setattr(parts, "get", got.append)
    stages = [stage.model_copy(update={"data": {"emoji-scenes": stage.data["emoji-scenes"]}}) for stage in tiny.stages]
    recipe = tiny.model_copy(update={"stages": stages})
    demo.prepare(recipe, Console(quiet=True))
    emoji = ["emoji-google", "emoji-twitter", "fluent-emoji", "openmoji", "emojibase"]
    assert got == [tiny.model.llm, tiny.model.image.part, *emoji, "easy-vqa"]


@pytest.mark.parametrize("name", ["my pictures (2)", ".hidden", "demo", "über"])
def test_ones_own_pictures_take_the_place_of_the_data(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder := tmp_path / name).mkdir()
    monkeypatch.chdir(folder)
    recipe = demo.with_folder(load_recipe("demo"), Path("."))
    assert all(list(stage.data) == [str(folder)] for stage in recipe.stages)
    assert [check.data for check in recipe.evaluate.values()] == [str(folder)]
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert recipe.name.startswith("demo-")
    assert recipe == demo.with_folder(load_recipe("demo"), folder), "however the folder is written"


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(BadRecipe, match="no such folder"):
        demo.with_folder(load_recipe("demo"), tmp_path / "nowhere")


def test_a_picture_is_that_of_its_own_benchmark() -> None:
    answers = [Answer("0", name, "name", "?", name, name) for name in ("red", "blue")]
    shown = {
        (colour, "0"): Sample("0", (Image(lambda colour=colour: PIL.Image.new("RGB", (1, 1), colour)),), ())
        for colour in ("red", "blue")
    }
    found = demo.sample_pictures(answers, shown, seed=0)
    colours = [PIL.Image.open(io.BytesIO(png)).getpixel((0, 0)) for _, png in found]
    assert colours == [(255, 0, 0), (0, 0, 255)]


def test_how_many_questions_were_asked_twice() -> None:
    answer = Answer("0", "b", "name", "?", "red", "red", "blue")
    assert demo.asked([answer] * 1200, "picture").startswith("1,200 questions, 1,200 of them")
    assert demo.asked([answer, replace(answer, swapped=None)], "picture").startswith("2 questions, 1 of them")
