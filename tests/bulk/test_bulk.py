"""Bulk runs: the same files whoever makes them and however often they are stopped; nothing is dropped or silent."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import tiny_run
import torch
from rich.console import Console

from isthmus import ask
from isthmus.bulk import answer, extract
from isthmus.bulk.corpus import Corpus, Source
from isthmus.bulk.ledger import Ledger
from isthmus.bulk.pool import Actor, Pool
from isthmus.data.sources import load_split
from isthmus.errors import BadData, BadRecipe, Interrupted, IsthmusError
from isthmus.model import load
from isthmus.model.composed import IsthmusModel
from isthmus.parts import cache
from isthmus.train.features import features
from isthmus.train.recipe import Recipe
from isthmus.train.setup import composed
from isthmus.types import Image

QUIET = Console(quiet=True)
ALONE = Pool()
QUESTIONS = ("What is this?", "a dog ?")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny model's folder."""
    return str(tiny_run.save(tmp_path_factory.mktemp("bulk")))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pictures and a file of two questions about each; the cache is the test's own."""
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    folder = tiny_run.pictures(tmp_path / "pictures")
    rows = [
        {"id": name, "image": f"{name}.png", "texts": [{"user": q, "assistant": name} for q in QUESTIONS]}
        for name in tiny_run.COLOURS
    ]
    (folder / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def answered(here: Path, model: str, out: str, pool: Pool = ALONE, name: str = "asked.jsonl", **options: Any) -> Path:
    """The folder of a run of shards of five samples."""
    how = {"shard": 5, "batch": 4, "longest": 6, "console": QUIET} | options
    answer.answer(model, Source(str(here / name), "test"), here.parent / out, pool, **how)
    return here.parent / out


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*")) if path.name != ".lock"}


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


def test_answers_are_those_of_a_chat(here: Path, model: str) -> None:
    out = answered(here, model, "out")
    assert [path.name for path in sorted(out.glob("*.jsonl"))] == ["00000.jsonl", "00001.jsonl", "00002.jsonl"]
    found = lines(out)
    assert [(one["id"], one["turn"], one["question"], one["reference"]) for one in found] == [
        (name, turn, question, name) for name in tiny_run.COLOURS for turn, question in enumerate(QUESTIONS)
    ]
    own = load(model)
    for one in found[::5]:
        said = ask(*own, one["question"], Image(here / f"{one['id']}.png"))
        assert said.startswith(one["answer"].strip()), "a chat's answer may be longer"
    assert len({one["answer"] for one in found}) > 2, "answers vary with the picture"
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest == {"samples": 12, "answers": 24, "failed": [], "rejected": {}}


def test_questions_without_an_answer_are_asked_and_conversations_go_on(here: Path, model: str) -> None:
    said = ["<image>\nWhat is this?", "red", "and <image>"]
    chat = [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(said)]
    rows = [
        {"id": "asked", "image": "red.png", "question": "a dog ?"},
        {"id": "talk", "image": ["red.png", "teal.png"], "conversations": chat},
        {"id": "shown", "image": "red.png"},
        {"id": "text", "question": "a dog ?"},
    ]
    (here / "open.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(BadData, match="4 of 4 rows cannot be used"):
        load_split(str(here / "open.jsonl"), "train", None, {})
    found = {(one["id"], one["turn"]): one for one in lines(answered(here, model, "out", name="open.jsonl"))}
    assert [*found] == [("asked", 0), ("talk", 0), ("talk", 1), ("shown", 0), ("text", 0)]
    assert all(one["answer"] is not None for one in found.values())
    assert ["reference" in one for one in found.values()] == [False, True, False, False, False]
    own, processor = load(model)
    sample = load_split(str(here / "open.jsonl"), "train", None, {}, unanswered=True)[1]
    messages = answer.conversation(sample)
    assert [(m.role, m.text, len(m.media)) for m in messages] == [
        ("user", "What is this?", 1),
        ("assistant", "red", 0),
        ("user", "and", 1),
    ]
    with torch.inference_mode():
        out = own.generate(**(inputs := processor.encode([messages])), max_new_tokens=6, do_sample=False)
    assert found["talk", 1]["answer"] == processor.decode(out[0, inputs["input_ids"].shape[1] :])


KILLED = """
import os, signal, sys
from pathlib import Path
from rich.console import Console
from isthmus.bulk import answer
from isthmus.bulk.corpus import Source
from isthmus.bulk.ledger import Ledger
from isthmus.bulk.pool import Pool

put = Ledger._put

def killed(self, name, text):
    if name == "00001.jsonl":
        (self.folder / f".writing-{name}").write_text(text[:50])
        os.kill(os.getpid(), signal.SIGKILL)
    put(self, name, text)

Ledger._put = killed
model, data, out = sys.argv[1:]
answer.answer(model, Source(data, "test"), Path(out), Pool(), shard=5, batch=4, longest=6, console=Console(quiet=True))
"""


def test_killed_while_writing_it_goes_on_to_the_same_files(here: Path, model: str) -> None:
    whole = answered(here, model, "whole")
    out = here.parent / "out"
    done = subprocess.run([sys.executable, "-c", KILLED, model, str(here / "asked.jsonl"), str(out)])
    assert done.returncode == -signal.SIGKILL
    assert [*files(out)] == [".writing-00001.jsonl", "00000.jsonl", "run.json"]
    made = (out / "00000.jsonl").stat().st_mtime_ns
    answered(here, model, "out", resume=True)
    assert (out / "00000.jsonl").stat().st_mtime_ns == made, "it was not done again"
    assert files(out) == files(whole)


def test_ctrl_c_says_how_to_go_on(here: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = answered(here, model, "whole")
    call = answer.Answerer.__call__

    def pressed(self: Any, number: int) -> Any:
        if number == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return call(self, number)

    before = torch.get_num_threads()
    with monkeypatch.context() as patch:
        patch.setattr(answer.Answerer, "__call__", pressed)
        with pytest.raises(Interrupted, match=r"what was done is in .*out\. Go on: isthmus answer --resume"):
            answered(here, model, "out", command="isthmus answer --resume")
    assert torch.get_num_threads() == before
    assert files(answered(here, model, "out", resume=True)) == files(whole)


def test_another_run_in_the_folder_is_refused(here: Path, model: str, tmp_path: Path) -> None:
    out = answered(here, model, "out")
    with pytest.raises(BadRecipe, match=r"out holds a run already\. Go on with --resume"):
        answered(here, model, "out")
    with pytest.raises(BadRecipe, match=r"begun otherwise: longest was 6 and is 7\. Resume with that, or choose"):
        answered(here, model, "out", resume=True, longest=7)
    with pytest.raises(BadRecipe, match=r"begun otherwise: threads was 1 and is 2"):
        answered(here, model, "out", pool=Pool(threads=2), resume=True)
    (tmp_path / "other").mkdir()
    other = tiny_run.save(tmp_path / "other")
    with pytest.raises(BadRecipe, match=r"begun otherwise: model\.name was .* and is .*; model\.sha256 was"):
        answered(here, str(other), "out", resume=True)
    text = (here / "asked.jsonl").read_text()
    (here / "asked.jsonl").write_text(text.replace("a dog ?", "a cat ?", 1))
    with pytest.raises(BadRecipe, match=r"begun otherwise: samples was \w+ and is \w+"):
        answered(here, model, "out", resume=True)
    with pytest.raises(BadRecipe, match="holds something else already"):
        answered(here, model, "pictures")
    (out / "run.json").write_text("{")
    with pytest.raises(BadData, match=r"run\.json is damaged"):
        answered(here, model, "out", resume=True)


def test_a_folder_is_one_process_s(here: Path, model: str) -> None:
    out = answered(here, model, "out")
    facts = json.loads((out / "run.json").read_text())
    with Ledger(out).claimed(facts, resume=True), pytest.raises(IsthmusError, match="another process is working in"):
        answered(here, model, "out", resume=True)


def test_what_cannot_be_decoded_is_told(here: Path, model: str) -> None:
    (here / "blue.png").write_bytes((here / "blue.png").read_bytes()[:40])
    with pytest.raises(BadData, match=r"1 of 12 samples failed, 1\.0% are tolerated\. sample blue: .*blue\.png"):
        answered(here, model, "strict")
    out = answered(here, model, "strict", resume=True, tolerate=0.1)
    found = lines(out)
    assert len(found) == 24
    for one in found:
        assert (one["answer"] is None) == ("failed" in one) == (one["id"] == "blue")
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["answers"] == 22
    assert [(one["id"], one["shard"]) for one in manifest["failed"]] == [("blue", 0)]
    assert "blue.png" in manifest["failed"][0]["reason"]


def test_rows_and_prompts_that_cannot_be_used_are_told(here: Path, model: str) -> None:
    with (here / "asked.jsonl").open("a") as file:
        file.write('{"id": "gone", "image": "gone.png", "question": "?"}\n')
        file.write(json.dumps({"id": "long", "question": "a dog ? " * 500}) + "\n")
    out = answered(here, model, "out", tolerate=0.1)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["samples"] == 13
    assert [*manifest["rejected"].values()] == [1]
    assert [one["id"] for one in manifest["failed"]] == ["long"]
    assert "the LLM reads" in manifest["failed"][0]["reason"]


def test_a_damaged_shard_is_told_and_a_deleted_one_is_made_again(here: Path, model: str) -> None:
    out = answered(here, model, "out")
    before = files(out)
    (out / "00001.jsonl").write_text("{\n")
    with pytest.raises(BadData, match=r"00001\.jsonl is damaged .*Delete it and resume"):
        answered(here, model, "out", resume=True)
    (out / "00001.jsonl").unlink()
    assert files(answered(here, model, "out", resume=True)) == before


@pytest.fixture
def recipe(model: str, here: Path) -> Recipe:
    """One that trains on the pictures' folder, whose questions have the captions as answers."""
    parts = Path(model).parent
    image = {"encoder": "vit-s", "connector": "mlp", "part": str(parts / "vision"), "size": 16, "tokens": 4}
    data = {str(here / "asked.jsonl"): {"options": {"tolerate": 0.2}}}
    stage = {"name": "instruct", "train": {"image.connector": 1e-2}, "data": data, "steps": 2}
    check = {"held": {"data": str(here), "split": "test"}}
    facts = {"name": "t", "model": {"llm": str(parts / "llm"), "image": image}, "stages": [stage], "evaluate": check}
    return Recipe.model_validate(facts)


def extracted(here: Path, recipe: Recipe, out: str, pool: Pool = ALONE, **options: Any) -> Path:
    extract.extract(recipe, None, here.parent / out, pool, **({"shard": 5, "console": QUIET} | options))
    return here.parent / out


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many pieces encoders were given in this process since it was last asked."""
    seen = [0]
    encode = IsthmusModel.encode

    def counted(self: Any, kind: str, media: Any, valid: Any = None) -> Any:
        seen[0] += len(media)
        return encode(self, kind, media, valid)

    def asked() -> int:
        found, seen[0] = seen[0], 0
        return found

    monkeypatch.setattr(IsthmusModel, "encode", counted)
    return asked


def trained_on(recipe: Recipe, bad: dict[int, str] | None = None) -> None:
    """Look at features as a stage and the evaluation of the recipe do."""
    own = composed(recipe)
    for source in extract.sources(recipe):
        features(own, source.load(), bad=bad)


def test_what_is_extracted_is_encoded_by_nobody_else(here: Path, recipe: Recipe, count: Callable[[], int]) -> None:
    out = extracted(here, recipe, "out")
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest == {"samples": 14, "media": 14, "failed": [], "rejected": {}}
    assert count() == 12, "each different picture once"
    trained_on(recipe)
    assert count() == 0
    extracted(here, recipe, "out", resume=True)
    assert count() == 0
    (cache.root() / "features" / lines(out)[0]["in"][0]).unlink()
    extracted(here, recipe, "out", resume=True)
    assert count() == 12, "a shard whose features are gone is done again"


def test_two_machines_caches_are_joined_as_the_page_says(
    here: Path, recipe: Recipe, count: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = (here / "asked.jsonl").read_text().splitlines(keepends=True)
    folders = []
    for number, some in enumerate((rows[:7], rows[5:])):
        (here / f"{number}.jsonl").write_text("".join(some))
        monkeypatch.setenv("ISTHMUS_CACHE", str(here.parent / f"machine-{number}"))
        how = {"shard": 5, "console": QUIET}
        extract.extract(recipe, Source(str(here / f"{number}.jsonl")), here.parent / f"out-{number}", ALONE, **how)
        folders += (cache.root() / "features").iterdir()
    other, mine = folders
    assert other.name == mine.name
    for file in other.glob("*.f16"):
        shutil.copy(file, mine)
    page = (Path(__file__).parents[2] / "docs/bulk.md").read_text()
    (statements,) = re.findall(r'"(ATTACH.*?)"', page, re.DOTALL)
    with closing(sqlite3.connect(mine / "index.sqlite")) as db:
        db.executescript(statements.replace("other.sqlite", str(other / "index.sqlite")))
        db.commit()
    count()
    trained_on(recipe)
    assert count() == 0


def test_a_medium_that_cannot_be_extracted_is_told(here: Path, recipe: Recipe, count: Callable[[], int]) -> None:
    only = recipe.model_copy(update={"evaluate": {}})
    (here / "blue.png").write_bytes(b"not a picture")
    with pytest.raises(BadData, match=r"1 of 12 samples failed, .*blue\.png"):
        extracted(here, only, "out")
    out = extracted(here, only, "out", resume=True, tolerate=0.1)
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["media"], [one["id"] for one in manifest["failed"]]) == (11, ["blue"])
    count()
    trained_on(only, bad := {})
    assert (count(), [*bad]) == (0, [tiny_run.COLOURS.index("blue")])


def test_more_than_the_cache_holds_is_said(here: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISTHMUS_FEATURES_GB", "0.000009")  # of 12 pictures' 16 x 24 numbers, some eleven
    monkeypatch.setattr("isthmus.data.features.SHARD", 1)
    with pytest.raises(IsthmusError, match="ISTHMUS_FEATURES_GB"):
        extracted(here, recipe, "out")


def test_an_encoder_that_learns_is_passed_over_from_then_on(recipe: Recipe) -> None:
    stage = recipe.stages[0]
    learns = stage.model_copy(update={"name": "learns", "train": {"image.encoder": 1e-4}})
    plan = recipe.model_copy(update={"stages": [stage, learns, stage]})
    assert [source.without for source in extract.sources(plan)] == [(), ("image",), ("image",)]


def test_a_corpus_travels(here: Path) -> None:
    for name in (str(here / "asked.jsonl"), str(here)):
        corpus = Corpus([Source(name, "train", count=9)], 4)
        there = pickle.loads(pickle.dumps(corpus))
        assert (there.shards, there.samples, there.digest) == (3, 9, corpus.digest)
        assert [there.shard(n) for n in range(3)] == [corpus.shard(n) for n in range(3)]
    two = Corpus([Source(str(here), "test"), Source(str(here / "asked.jsonl"), without=("image",))], 5)
    found = [one for n in range(two.shards) for one in two.shard(n)]
    assert [without for _, without in found] == [()] * 2 + [("image",)] * 12
    assert len(two.shard(0)) == 5
    packed = pickle.dumps(Corpus([Source(str(here / "asked.jsonl"))], 4))
    (here / "asked.jsonl").write_text((here / "asked.jsonl").read_text().replace("a dog", "a cat", 1))
    with pytest.raises(BadData, match="a worker finds other samples"):
        pickle.loads(packed)


def test_ray_is_asked_for_where_it_is_needed(here: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    answered(here, model, "out")
    with pytest.raises(IsthmusError, match=r"pip install 'isthmus\[ray\]'"):
        answered(here, model, "more", pool=Pool(workers=2))
    with pytest.raises(IsthmusError, match=r"pip install 'isthmus\[ray\]'"):
        answered(here, model, "there", pool=Pool(address="ray://nowhere:10001"))


def refused(device: str) -> Any:
    raise BadRecipe(f"no {device} here")


def test_a_worker_tells_what_is_the_input_s_fault_and_raises_what_is_a_bug() -> None:
    told = Actor(refused, "cpu", torch.get_num_threads(), {})({"shard": [3]})
    assert told == {"shard": [3], "lines": ["[]"], "error": ["no cpu here"]}
    with pytest.raises(TypeError):
        Actor(lambda: None, "cpu", torch.get_num_threads(), {})({"shard": [3]})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A local Ray of two workers, for all tests of this file."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"USAGE_STATS_ENABLED": "0", "BACKEND_LOG_LEVEL": "fatal", "worker_niceness": "0"}.items():
            patch.setenv(f"RAY_{name}", value)
        import ray

        ray.init(
            "local", num_cpus=2, include_dashboard=False, object_store_memory=80 * 2**20,
            logging_level="ERROR", log_to_driver=False,
        )  # fmt: skip
        yield ray
        ray.shutdown()


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning:ray")
def test_two_workers_of_ray_make_the_same_files(
    here: Path, model: str, recipe: Recipe, count: Callable[[], int], ray: Any
) -> None:
    (here / "blue.png").write_bytes(b"not a picture")
    one = answered(here, model, "one", tolerate=0.1)
    two = answered(here, model, "two", tolerate=0.1, pool=Pool(workers=2))
    assert files(two) == files(one)
    count()
    only = recipe.model_copy(update={"evaluate": {}})
    extracted(here, only, "features", tolerate=0.1, pool=Pool(workers=2))
    trained_on(only, bad := {})
    assert (count(), len(bad)) == (0, 1)
