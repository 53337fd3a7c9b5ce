"""Asking models benchmarks: the same files however often a run is stopped and whoever shares it; nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import tiny_run
import torch
from rich.console import Console

from isthmus import ask
from isthmus.bulk.pool import Pool
from isthmus.errors import BadData, BadRecipe, Interrupted, UnknownName
from isthmus.evaluate import harness, previews
from isthmus.evaluate.benchmarks import asking
from isthmus.evaluate.harness import How, evaluate
from isthmus.evaluate.models import Said, opened
from isthmus.evaluate.questions import Question, place
from isthmus.evaluate.sheet import Sheet, circular, rotations
from isthmus.media import load as read
from isthmus.model import load
from isthmus.types import Audio, Image, Points

QUIET = Console(quiet=True)
ALONE = Pool()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny model's folder."""
    return str(tiny_run.save(tmp_path_factory.mktemp("harness")))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """POPE's folder: two splits of questions about twelve pictures."""
    folder = tmp_path / "benchmarks" / "pope"
    folder.mkdir(parents=True)
    tiny_run.pictures(folder / "val2014")
    for split in ("random", "popular"):
        rows = [
            {"question_id": 2 * i + j + 1, "image": f"{c}.png", "text": f"Is there {other}?", "label": label}
            for i, c in enumerate(tiny_run.COLOURS)
            for j, (other, label) in enumerate(((c, "yes"), ("a dog", "no")))
        ]
        (folder / f"coco_pope_{split}.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "benchmarks"


def run(data: Path, model: str, name: str, how: How | None = None, pool: Pool = ALONE, **options: Any) -> Path:
    out = data.parent / name
    evaluate(model, ["pope"], out, pool, how or How(shard=10), data=data, console=QUIET, **options)
    return out


def final(out: Path) -> dict[str, bytes]:
    """What is left of a run, without its shards."""
    files = sorted(path for path in out.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def samples(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "pope" / "samples.jsonl").read_text().splitlines()]


def test_answers_are_those_of_a_chat_and_each_question_is_told(
    data: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = run(data, model, "out")
    found = samples(out)
    assert [one["id"] for one in found] == [
        f"{split}/{i}" for k, split in enumerate(("popular", "random")) for i in range(24 * k + 1, 24 * k + 25)
    ]
    own = load(model)
    for one in found[::7]:
        said = ask(*own, one["prompt"], Image(data / "pope" / "val2014" / one["image"]))
        assert said.strip().startswith(one["answer"])
        assert one["score"] in (0.0, 1.0)
        assert one["parts"] == [one["id"].split("/")[0]]
        assert (out / "pope" / one["media"][0]["file"]).is_file()
    results = json.loads((out / "results.json").read_text())
    figures = results["benchmarks"]["pope"]
    assert figures["metrics"]["accuracy"]["value"] == pytest.approx(sum(one["score"] for one in found) / 48)
    assert (figures["headline"], figures["unscored"]["count"]) == ("accuracy", 0)
    assert len({one["answer"] for one in found}) > 2, "answers vary with the picture"


def test_the_likeliest_option_is_what_the_probabilities_say(data: Path, model: str) -> None:
    found = samples(run(data, model, "out", How(way="likelihood")))
    assert {one["answer"] for one in found} <= {"yes", "no"}
    own, processor = load(model)
    one = found[5]
    logs = {}
    for answer in ("yes", "no"):
        inputs = processor.encode([[_message(one["prompt"], data / "pope" / "val2014" / one["image"])]])
        ids = processor.template.answer(answer)
        whole = torch.cat([inputs["input_ids"], torch.tensor([ids])], 1)
        with torch.inference_mode():
            seen = {key: value for key, value in inputs.items() if key not in ("input_ids", "attention_mask")}
            logits = own(input_ids=whole, attention_mask=torch.ones_like(whole), **seen).logits
        each = logits[0, -len(ids) - 1 : -1].log_softmax(-1).gather(-1, torch.tensor(ids)[:, None])
        logs[answer] = (float(each.mean()), float(each.sum()))
    assert one["answer"] == max(logs, key=logs.__getitem__)
    totals = torch.tensor([total for _, total in logs.values()]).softmax(0)
    assert one["confidence"] == pytest.approx(float(totals[[*logs].index(one["answer"])]), abs=1e-4)


def _message(text: str, path: Path) -> Any:
    from isthmus.types import Message

    return Message("user", text, (Image(path),))


KILLED = """
import os, signal, sys
from pathlib import Path
from rich.console import Console
from isthmus.bulk.ledger import Ledger
from isthmus.bulk.pool import Pool
from isthmus.evaluate.harness import How, evaluate

put = Ledger._put

def killed(self, name, text):
    if name == "00001.jsonl":
        os.kill(os.getpid(), signal.SIGKILL)
    put(self, name, text)

Ledger._put = killed
model, data, out = sys.argv[1:]
evaluate(model, ["pope"], Path(out), Pool(), How(shard=10), data=data, console=Console(quiet=True))
"""


def test_killed_it_goes_on_to_the_same_files(data: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(data, model, "whole")
    out = data.parent / "out"
    done = subprocess.run([sys.executable, "-c", KILLED, model, str(data), str(out)])
    assert done.returncode == -signal.SIGKILL
    assert not (out / "pope" / "predictions.jsonl").exists()
    run(data, model, "out", resume=True)
    assert final(out) == final(whole)
    with pytest.raises(BadRecipe, match="holds a run already"):
        run(data, model, "out")


def test_ctrl_c_says_how_to_go_on(data: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(self: Any, number: int) -> Any:
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(harness.Asker, "__call__", pressed)
        with pytest.raises(Interrupted, match="Go on: isthmus eval --resume"):
            run(data, model, "out", command="isthmus eval --resume")


TOGETHER = """
import sys
from pathlib import Path
import torch
from rich.console import Console
from isthmus.bulk.pool import Pool
from isthmus.evaluate.harness import How, evaluate
from isthmus.train.world import world

model, data, out = sys.argv[1:]
torch.set_num_threads(1)
with world() as here:
    evaluate(model, ["pope"], Path(out), Pool(world=here), How(shard=10), data=data, console=Console(quiet=True))
"""


def test_processes_of_torchrun_share_the_work(
    data: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(data, model, "whole")
    (tmp_path / "together.py").write_text(TOGETHER)
    line = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0", "--rdzv-backend", "c10d"]
    line += ["--rdzv-endpoint", "localhost:0", str(tmp_path / "together.py"), model, str(data), str(tmp_path / "out")]
    done = subprocess.run([sys.executable, *line], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert final(tmp_path / "out") == final(whole)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning:ray")
def test_workers_of_ray_share_the_work(data: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, shared = run(data, model, "whole"), run(data, model, "shared", pool=Pool(workers=2))
    assert final(shared) == final(whole)


def test_majority_random_and_blind(data: Path, model: str) -> None:
    for name in ("majority", "random", f"blind:{model}"):
        out = run(data, name, name.split(":")[0])
        found = samples(out)
        said = {one["answer"] for one in found}
        if name == "majority":
            assert said == {"no"}, "of two equally frequent, the first in the alphabet"
        if name == "random":
            assert said == {"yes", "no"}
            assert samples(run(data, name, "again")) == found
        if name.startswith("blind"):
            each: dict[str, set[str]] = {}
            for one in found:
                each.setdefault(one["prompt"], set()).add(one["answer"])
            assert all(len(own) == 1 for own in each.values()), "the same question has one answer, whatever the picture"


def test_a_question_of_another_medium_is_unscored_and_too_many_end_the_run(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [Question("1", "?", (Audio(b""),)), Question("2", "?"), Question("3", "?", (Image(b"no picture"),))]
    work = harness.Asker(Sheet(asked), model, How(), "cpu")
    found = {line["id"]: line for line in work(0)}
    assert found["1"]["left"] == "the model takes image, not audio"
    assert "failed" not in found["1"], "it is no failure, and not tolerated either"
    assert found["2"]["answer"] is not None
    assert "picture" in found["3"]["failed"] or "image" in found["3"]["failed"]


def test_too_many_without_an_answer_end_the_run(data: Path, model: str) -> None:
    for name in tiny_run.COLOURS[:2]:
        (data / "pope" / "val2014" / f"{name}.png").write_bytes(b"broken")
    with pytest.raises(BadData, match="samples failed"):
        run(data, model, "out")
    out = run(data, model, "tolerated", tolerate=0.5)
    broken = [one for one in samples(out) if one["answer"] is None]
    assert len(broken) == 8
    assert all(one["unscored"] and one["score"] is None for one in broken)
    figures = json.loads((out / "results.json").read_text())["benchmarks"]["pope"]
    assert (figures["unscored"]["count"], figures["metrics"]["accuracy"]["n"]) == (8, 40)


def test_what_cannot_be_asked_is_told_before_anything_is(data: Path, model: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'pope'"):
        evaluate(model, ["poppe"], tmp_path / "out", ALONE, How(), data=data, console=QUIET)
    with pytest.raises(BadData, match=r"bleu scores files .* has no questions"):
        asking("bleu")
    with pytest.raises(BadData, match=r"(?s)pope: no folder .*nowhere.*coco_pope_\*\.json.*Get it: github"):
        place("pope", tmp_path / "nowhere")
    with pytest.raises(UnknownName, match=r"OpenAI-compatible URL, majority, random or blind:MODEL"):
        evaluate("nothing-here", ["pope"], tmp_path / "out", ALONE, How(), data=data, console=QUIET)
    (data / "pope" / "val2014" / "red.png").unlink()
    with pytest.raises(
        BadData, match=r"pope: 4 of 48 questions show a file that is not there, such as .*red\.png.*Get"
    ):
        run(data, model, "out")
    for name in ("pope, mme", "mme, vqav2"):
        with pytest.raises(BadData, match=r"(?s)mme: no folder.*" + ("vqav2: no folder" if "vqav2" in name else "")):
            evaluate(model, name.split(", "), tmp_path / "out", ALONE, How(), data=data, console=QUIET)
    with pytest.raises(BadRecipe, match="list no options that could be rotated"):
        run(data, model, "out", How(circular=True), tolerate=0.5)
    assert not (tmp_path / "out").exists()
    out = run(data, model, "tolerated", tolerate=0.5)
    assert sum("red.png" in one.get("unscored", "") for one in samples(out)) == 4


def test_a_folder_in_which_language_tasks_were_asked_takes_benchmarks_as_well(data: Path, model: str) -> None:
    out = data.parent / "out"
    harness.put(out / "run.json", json.dumps({"model": model}))
    harness.put(out / "results.json", json.dumps({"model": model, "benchmarks": {"gsm8k": {}}}))
    run(data, model, "out", resume=True)
    assert {*json.loads((out / "results.json").read_text())["benchmarks"]} == {"gsm8k", "pope"}
    assert json.loads((out / "run.json").read_text())["options"]["way"] == "generate"


def test_a_model_that_could_be_asked_nothing_is_no_success(data: Path, model: str) -> None:
    folder = data / "librispeech" / "test-clean" / "1" / "2"
    folder.mkdir(parents=True)
    (folder / "1-2.trans.txt").write_text("1-2-0000 HE HOPED\n")
    (folder / "1-2-0000.wav").write_bytes(b"a sound")
    out = data.parent / "out"
    with pytest.raises(BadData, match=r"no question of librispeech was answered: the model takes image, not audio"):
        evaluate(model, ["librispeech"], out, ALONE, How(), data=data, console=QUIET)
    evaluate(model, ["librispeech", "pope"], out, ALONE, How(), data=data, console=QUIET, resume=True)
    held = json.loads((out / "results.json").read_text())["benchmarks"]
    assert held["librispeech"]["unscored"]["count"] == 1
    assert held["pope"]["answered"] == 48


def test_copies_of_media_can_be_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    PIL.Image.new("RGB", (1024, 9)).save(tmp_path / "a.png")
    shown = previews.written(tmp_path, [Points(tmp_path / "a.obj"), Image(tmp_path / "a.png")])
    sizes = [read(Image(tmp_path / name)).size for name in shown.values()]
    assert sizes == [(3 * previews.FRAME, previews.FRAME), (previews.WIDEST, 5)]


def test_a_folder_called_as_a_baseline_is_no_model(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data.parent)
    assert run(data, "majority", "majority") == run(data, "majority", "majority", resume=True)


def test_figures_that_were_deleted_are_made_again_and_other_pictures_are_another_run(data: Path, model: str) -> None:
    out = run(data, model, "out")
    before = final(out)
    (out / "results.json").unlink()
    assert final(run(data, model, "out", resume=True)) == before
    picture = data / "pope" / "val2014" / "red.png"
    picture.write_bytes(picture.read_bytes() + b"more")
    with pytest.raises(BadRecipe, match="begun otherwise: samples was"):
        run(data, model, "out", resume=True)


def test_one_picture_is_read_once_for_all_its_questions(
    data: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = opened(model, [])
    asked = asking("pope").questions(data / "pope")
    shown: list[int] = []
    own = work.run.model.encode  # type: ignore[attr-defined]

    def encode(kind: str, inputs: Any, *more: Any) -> Any:
        shown.append(len(inputs))
        return own(kind, inputs, *more)

    monkeypatch.setattr(work.run.model, "encode", encode)  # type: ignore[attr-defined]
    many = [one.answer for one in work.answers(asked)]
    assert sum(shown) == 12, "of 48 questions"
    assert many == [work.answers([one])[0].answer for one in asked]


def test_every_rotation_has_to_be_right() -> None:
    own = Question("7", "Which?", options=("a dog", "a cat", "a cow"), truth="B")
    turned = rotations([own])
    assert [one.truth for one in turned] == ["B", "A", "C"]
    assert turned[1].text == "Which?\nA. a cat\nB. a cow\nC. a dog"
    right = [Said("B"), Said("A. a cat"), Said("(C)")]
    assert circular(own, right).answer == "B"
    assert circular(own, [*right[:2], Said("A")]).answer == "C", "a cow, what it was taken for"
    assert circular(own, [*right[:2], Said("who knows")]).answer == "who knows"
    assert circular(own, [*right[:2], Said(None, "the server hung")]).failed == "the server hung"
