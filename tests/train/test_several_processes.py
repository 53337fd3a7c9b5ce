"""Two and four processes on gloo take the steps that one takes: replicated, divided, stopped, and on other numbers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_run
import torch
from rich.console import Console

from isthmus.model import load
from isthmus.train import run
from isthmus.train.recipe import Recipe

QUIET = Console(quiet=True)

# Launches processes forked from one that has imported everything. Each line of its input is a JSON object: how many,
# the recipe, the folder, how the LLM is divided, and after which step process 1 is told to stop (0: never).
LAUNCHER = """
import json, os, signal, sys, socket, torch
import torch.distributed.fsdp
import torch.distributed.checkpoint
from pathlib import Path
from rich.console import Console
from isthmus.errors import Interrupted
from isthmus.train import loop, run
from isthmus.train.recipe import Recipe
import transformers
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
loop.SAVE_EVERY = 0.0
torch.set_num_threads(1)  # a pool of threads does not survive a fork

def one(rank, order, port):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(order["processes"])}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "LOCAL_WORLD_SIZE": "2"}
    recipe = Recipe.model_validate_json(Path(order["recipe"]).read_text())
    add = loop.Progressed.add
    def counted(self, *arguments):
        add(self, *arguments)
        if rank == 1 and self.step == order["stop"]:
            os.kill(os.getpid(), signal.SIGTERM)
    loop.Progressed.add = counted
    console = Console(file=sys.stderr)
    try:
        run.train(recipe, Path(order["out"]), resume=True, shard=order["shard"], console=console)
    except Interrupted:
        return 3
    return 0

for line in sys.stdin:
    order = json.loads(line)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    children = []
    for rank in range(order["processes"]):
        if (child := os.fork()) == 0:
            code = 1
            try:
                code = one(rank, order, port)
            except BaseException:
                import traceback
                traceback.print_exc()
            finally:
                os._exit(code)
        children.append(child)
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]), flush=True)
"""


class Launcher:
    """Runs of several processes, one after another."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __call__(self, recipe: Recipe, out: Path, processes: int, shard: str | None = None, stop: int = 0) -> None:
        (path := out.with_suffix(".json")).write_text(recipe.model_dump_json())
        order = {"recipe": str(path), "out": str(out), "processes": processes, "shard": shard, "stop": stop}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        hangs = threading.Timer(200, os.killpg, (self.process.pid, signal.SIGKILL))
        hangs.start()
        said = self.process.stdout.readline()
        hangs.cancel()
        assert said, "it hung, and was killed"
        assert json.loads(said) == [3 if stop else 0] * processes


@pytest.fixture(scope="module")
def launch() -> Iterator[Launcher]:
    launcher = Launcher()
    yield launcher
    launcher.process.communicate(timeout=60)


@pytest.fixture
def mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A recipe whose batches hold samples with no picture, one, and two; every third has none."""
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    folder = tiny_run.pictures(tmp_path / "pictures")
    names, rows = tiny_run.COLOURS, []
    for number, (one, two) in enumerate(zip(names, names[1:] + names[:1], strict=True)):
        shown = [f"{one}.png", f"{two}.png"][: number % 3]
        said = ["<image>" * len(shown) + "what ?", " ".join([one] * (1 + number % 4)), "and ?", two]
        talk = [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(said)]
        rows.append({"id": one, "conversations": talk} | ({"image": shown} if shown else {}))
    (folder / "chats.json").write_text(json.dumps(rows))
    llm, vision = tiny_run.parts(tmp_path / "parts")
    image = {"encoder": "vit-s", "connector": "mlp", "part": str(vision), "size": 16, "tokens": 4}
    data = {str(folder / "chats.json"): {}}
    stage = {"data": data, "warmup": 2, "batch": 4}
    pretrain = {"name": "pretrain", "train": {"image.connector": 3e-3}, "steps": 3}
    instruct = {"name": "instruct", "train": {"image.connector": 3e-3, "llm": {"lora": 2, "lr": 1e-2}}, "steps": 6}
    return {"name": "mixed", "model": {"llm": str(llm), "image": image}, "stages": [stage | pretrain, stage | instruct]}


def check_same(recipe: Recipe, one: Path, several: Path) -> None:
    """The same loss curve and the same model, but for the order in which numbers are added."""
    curves = []
    for out in (one, several):
        lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        curves.append([(line["stage"], line["step"], line["loss"]) for line in lines])
    assert [point[:2] for point in curves[0]] == [point[:2] for point in curves[1]]
    assert [point[2] for point in curves[1]] == pytest.approx([point[2] for point in curves[0]], abs=1e-4)
    ours, theirs = (load(out / "model")[0].state_dict() for out in (one, several))
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("processes", "shard"), [(2, None), (4, None), (2, "all"), (4, "all"), (4, "machine")])
def test_the_same_steps_as_one_process(
    processes: int, shard: str | None, mixed: dict[str, Any], launch: Launcher, tmp_path: Path
) -> None:
    recipe = Recipe.model_validate(mixed)
    run.train(recipe, tmp_path / "one", console=QUIET)
    launch(recipe, tmp_path / "several", processes, shard)
    check_same(recipe, tmp_path / "one", tmp_path / "several")


VARIANTS: dict[str, dict[str, Any]] = {
    "encoder and LLM learn": {"train": {"image.encoder": 1e-3, "image.connector": 3e-3, "llm": 1e-3}},
    "encoder adapter": {"train": {"image.encoder": {"lora": 2, "lr": 1e-2}, "image.connector": 3e-3}},
    "contrast": {"objective": "contrast", "train": {"image.connector": 3e-3}, "batch": 6},
    "accumulated": {"train": {"image.connector": 3e-3, "llm": {"lora": 2, "lr": 1e-2}}, "accumulate": 2, "batch": 2},
    "fewer samples than processes": {"train": {"image.connector": 3e-3}, "batch": 3},
    "gates in the LLM": {"connector": "gated-cross-attention", "train": {"image.connector": 3e-2}},
    "expert in the LLM": {"connector": "visual-expert", "train": {"image.connector": 3e-3, "llm": 1e-3}},
    "encoder-decoder": {"llm": "t5", "train": {"image.connector": 3e-3, "llm": {"lora": 2, "lr": 1e-2}}},
    "checked": {
        "train": {"image.connector": 3e-3, "llm": 1e-3},
        "check": {"every": 2, "data": "", "split": "test", "count": 2, "keep": "best"},
    },
}


@pytest.mark.parametrize("shard", [None, "all"], ids=["replicated", "divided"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_whatever_is_trained(
    variant: str, shard: str | None, mixed: dict[str, Any], launch: Launcher, tmp_path: Path
) -> None:
    changes = dict(VARIANTS[variant])
    if "connector" in changes:
        mixed["model"]["image"] = {key: value for key, value in mixed["model"]["image"].items() if key != "tokens"} | {
            "connector": changes.pop("connector")
        }
    if "llm" in changes:
        mixed["model"]["llm"] = str(tiny_run.parts(tmp_path / "other", changes.pop("llm"))[0])
    if "check" in changes:
        changes["check"] |= {"data": str(tmp_path / "pictures")}
    if variant == "contrast":
        mixed["stages"][0]["data"] = {str(tmp_path / "pictures"): {}} | mixed["stages"][0]["data"]
    mixed["stages"] = [mixed["stages"][0] | changes | {"steps": 4}]
    recipe = Recipe.model_validate(mixed)
    run.train(recipe, tmp_path / "one", console=QUIET)
    launch(recipe, tmp_path / "several", 4 if "fewer" in variant else 2, shard)
    check_same(recipe, tmp_path / "one", tmp_path / "several")


def test_a_divided_checkpoint_goes_on_with_other_numbers(
    mixed: dict[str, Any], launch: Launcher, tmp_path: Path
) -> None:
    """Stopped by a signal to one process, twice: begun by four, continued by two, ended by one."""
    mixed["stages"][1]["steps"] = 9
    recipe = Recipe.model_validate(mixed)
    run.train(recipe, tmp_path / "one", console=QUIET)
    launch(recipe, tmp_path / "several", 4, shard="all", stop=5)
    assert len(list((tmp_path / "several/stages/instruct").glob("*.distcp"))) == 4
    launch(recipe, tmp_path / "several", 2, shard="all", stop=7)
    run.train(recipe, tmp_path / "several", resume=True, console=QUIET)
    check_same(recipe, tmp_path / "one", tmp_path / "several")


LAUNCH = Path(__file__).parents[2] / "launch"


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """An environment in which the launch scripts find this Python's commands, and stand-ins for Slurm's."""
    (tmp_path / "bin").mkdir()
    scripts = {
        "isthmus": f'exec {sys.executable} -m isthmus.cli "$@"',
        "torchrun": f'exec {sys.executable} -m torch.distributed.run "$@"',
        "srun": 'exec "$@"',
        "scontrol": f'[ "$1" = show ] && echo 127.0.0.1 || echo "$@" >> {tmp_path}/asked',
    }
    for name, text in scripts.items():
        (path := tmp_path / "bin" / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        path.chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    slurm = {"SLURM_JOB_NODELIST": "here", "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_ID": "7", "PORT": port}
    return os.environ | {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "PROCESSES": "2"} | slurm


def test_torchrun(mixed: dict[str, Any], shell: dict[str, str], tmp_path: Path) -> None:
    (path := tmp_path / "mixed.yaml").write_text(json.dumps(mixed))
    line = [str(LAUNCH / "torchrun.sh"), str(path), "stages.instruct.steps=3", "--out", str(tmp_path / "several")]
    done = subprocess.run(line, env=shell, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Talk to it") == 1  # one of them speaks
    changed = Recipe.model_validate(mixed | {"stages": [mixed["stages"][0], mixed["stages"][1] | {"steps": 3}]})
    run.train(changed, tmp_path / "one", console=QUIET)
    check_same(changed, tmp_path / "one", tmp_path / "several")


def test_slurm_stops_in_time_and_queues_again(mixed: dict[str, Any], shell: dict[str, str], tmp_path: Path) -> None:
    (path := tmp_path / "mixed.yaml").write_text(json.dumps(mixed))
    out = tmp_path / "several"
    line = ["bash", str(LAUNCH / "slurm.sbatch"), str(path), "stages.instruct.steps=100000", "--out", str(out)]
    job = subprocess.Popen(line, env=shell, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    log = out / "log.jsonl"
    for _ in range(1200):
        if log.exists() and "instruct" in log.read_text():
            break
        assert job.poll() is None, job.stdout and job.stdout.read()
        time.sleep(0.1)
    job.send_signal(signal.SIGTERM)
    said, _ = job.communicate(timeout=60)
    assert job.returncode == 0, said
    assert (tmp_path / "asked").read_text() == "requeue 7\n"
    step = json.loads((out / "stages/instruct/state.json").read_text())["progress"]["step"]
    assert step == json.loads(log.read_text().splitlines()[-1])["step"] > 0
