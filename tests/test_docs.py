"""What the documentation says is so: its commands parse, its Python runs, its tables agree with the folders."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import tiny_run
import typer
from rich.console import Console

import isthmus
from isthmus import cli, listing
from isthmus.data import emoji, frames, scenes
from isthmus.evaluate import told
from isthmus.model import build, load
from isthmus.parts import catalog, known
from isthmus.registry import names
from isthmus.train.objectives import next_token
from isthmus.train.recipe import load_recipe
from isthmus.train.run import train

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DATA = (ROOT / "docs/data.md").read_text(encoding="utf-8")
TRAINING = (ROOT / "docs/training.md").read_text(encoding="utf-8")
PARTS = (ROOT / "docs/parts.md").read_text(encoding="utf-8")
NOTICE = (ROOT / "NOTICE").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SHELL = [line for block in re.findall(r"```sh\n(.*?)```", README + PARTS, re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("line", [line for line in SHELL if line.startswith("isthmus ")])
def test_a_command_parses(line: str) -> None:
    _, command, *arguments = shlex.split(line, comments=True)
    group: Any = typer.main.get_command(cli.app)
    context = group.commands[command].make_context(command, arguments)
    if context.params.get("recipe"):
        load_recipe(context.params["recipe"], context.params.get("changes"))


def test_the_tables_of_parts_are_of_these_parts() -> None:
    assert listing.written(PARTS) == PARTS, "python -m isthmus.listing docs/parts.md"
    for name in [*names("isthmus.encoders"), *known(), *frames.NAMED]:
        assert f"| `{name}` |" in PARTS


def test_the_table_of_benchmarks_is_of_these_benchmarks() -> None:
    page = (ROOT / "docs/evaluation.md").read_text(encoding="utf-8")
    assert told.written(page) == page, "python -m isthmus.evaluate.told docs/evaluation.md"


def test_make_has_the_targets() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    asked = [line.split()[1] for line in SHELL if line.startswith("make ")]
    assert asked == ["demo", "test"]
    assert set(asked) <= set(targets)


def test_the_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    folder = tiny_run.save(tmp_path)
    tiny = {"smollm2-135m-instruct": tmp_path / "llm", "vit-s": tmp_path / "vision"}
    monkeypatch.setattr("isthmus.parts.get", lambda name: tiny[name])
    monkeypatch.setattr(isthmus, "load_with_processor", lambda name: load({"default": folder}[name]))
    monkeypatch.chdir(tmp_path)
    PIL.Image.new("RGB", (20, 16), "red").save("cat.png")
    values: dict[str, Any] = {}
    exec(code, values)
    assert values["ids"].shape[0] == 1


def test_the_recipe_about_stages_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With tiny parts and few steps; one sample in ten is one of safety."""
    (text,) = re.findall(r"```yaml\n(.*?)```", TRAINING, re.DOTALL)
    tiny_run.parts(tmp_path, wide=True)
    tiny = {"smollm2-135m-instruct": tmp_path / "llm", "vit-s": tmp_path / "vision"}
    own = build._record
    monkeypatch.setattr("isthmus.parts.get", lambda name: tiny[name])
    monkeypatch.setattr(build, "_record", lambda source, folder: own(str(folder), folder) | {"name": source})
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tiny_run.pictures(tmp_path / "here"))
    said = {"captions.jsonl": [{"file_name": f"{name}.png", "text": name} for name in tiny_run.COLOURS]}
    for name, ask, answer in (("conversations.json", "what is it ?", "red"), ("safety.jsonl", "please ?", "no")):
        shown = {"image": "red.png"} if answer == "red" else {}
        turns = [{"from": "human", "value": ask}, {"from": "gpt", "value": answer}]
        said[name] = [shown | {"id": f"{name}{i}", "conversations": turns} for i in range(20)]
    for name, rows in said.items():
        Path(name).write_text(json.dumps(rows) if name.endswith(".json") else "\n".join(map(json.dumps, rows)))
    Path("mine.yaml").write_text(text)
    recipe = load_recipe("mine.yaml", ["model.image.size=16", "model.image.tokens=4", "stages.pretrain.steps=2"])
    recipe.stages[1].steps = 16  # of which each sixteen hold what the weights say
    seen: list[str] = []
    weigh = next_token.Objective.__call__
    note = lambda self, some, shown: seen.extend(sample.id for sample in some) or weigh(self, some, shown)
    monkeypatch.setattr(next_token.Objective, "__call__", note)
    done = train(recipe, tmp_path / "run", console=Console(quiet=True))
    assert [stage.step for stage in done.stages.values()] == [2, 16]
    assert sum("safety" in title for title in seen[8:]) in (6, 7), "a tenth of 64"


@pytest.mark.parametrize("folder", cli.FOLDERS)
def test_everything_that_can_be_composed_is_named(folder: str) -> None:
    table = README.split("## What can be composed today")[1].split("\n## ")[0]
    missing = [name for name in names(f"isthmus.{folder}") if f"`{name}`" not in table]
    assert not missing


@pytest.mark.parametrize("name", catalog.PARTS)
def test_the_licence_of_each_part_is_told(name: str) -> None:
    part = catalog.PARTS[name]
    (row,) = re.findall(rf"^\| `{name}` \| (.*) \| (.*) \|$", README.split("## Licences")[1], re.MULTILINE)
    assert row[0].endswith(f"`{part.package.name}` {part.package.version}")
    assert row[1].split(":")[0] == part.licence
    assert part.package.name.casefold() in NOTICE.casefold()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_numbers_of_the_generator() -> None:
    assert emoji.HOLD_OUT_EVERY == 8
    assert "every eighth is held out" in DATA
    assert f"{scenes.SIDE} x {scenes.SIDE} pixels" in DATA
    assert len(scenes.LAYOUTS) == 15
    assert "Of fifteen layouts three are held out" in DATA
    assert set(scenes.HELD_OUT_LAYOUTS) == {(0, 3), (1, 2), (1, 2, 3)}, "the diagonals, and all but the upper left"
    assert len(scenes.COLOURS) == 8
    assert all(f"`{vendor}`" in DATA for vendor in emoji.VENDORS)


@pytest.mark.slow
def test_the_number_of_concepts() -> None:
    trained, held = emoji.concepts()
    assert f"{len(trained) + len(held):,}. " in " ".join(DATA.split()) + " "
    assert f"{len(trained):,} are trained on and {len(held)} are not" in " ".join(DATA.split())
    trained, held = emoji.concepts(120)
    assert f"{len(trained)} are trained on and {len(held)} held out" in " ".join(DATA.split())
