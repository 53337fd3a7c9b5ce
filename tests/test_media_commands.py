"""Commands on media that are no pictures, from end to end: tiny random parts, real files made here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_media
import tiny_run
import torch
import yaml
from rich.console import Console
from typer.testing import CliRunner

from isthmus import cli, compare, compare_run
from isthmus.chat import Chat
from isthmus.errors import BadRecipe
from isthmus.evaluate.report import Curve, write_report
from isthmus.evaluate.scoring import Answer, about, table
from isthmus.media.request import Request
from isthmus.model import compose, save_full
from isthmus.model import load as load_model
from isthmus.types import KINDS, Message

FILES = dict(zip(KINDS, ("0.png", "6.wav", "12.mp4", "18.obj", "24.csv"), strict=True))


def run(*arguments: str) -> str:
    """What a command prints, in this process, which has the libraries already."""
    done = CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A short recipe for these kinds of media, in a file."""
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def write(*kinds: str) -> str:
        facts = tiny_media.facts(tmp_path, *kinds)
        for stage in facts["stages"]:
            stage["steps"] = 2
        (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(facts))
        return "tiny.yaml"

    return write


@pytest.fixture(scope="module")
def senses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes every kind of media, untrained, in a folder, with media."""
    folder = tmp_path_factory.mktemp("senses")
    facts = tiny_media.facts(folder, *KINDS, count=30)
    save_full(*compose(**facts["model"]), folder / "model")
    return folder


def test_a_recipe_of_sounds_is_checked_trained_and_asked(recipe: Callable[..., str]) -> None:
    plan = recipe("audio")
    said = run("check", plan)
    assert "<audio>x" in said
    assert " sounds x " in said
    run("train", plan, "--out", "run")
    said = run("eval", "run/model")
    assert "another sound" in said
    assert "picture" not in said
    rows = json.loads(run("eval", "run/model", "--json"))
    assert {row["medium"] for row in rows} == {"sound"}


def test_connectors_of_sounds_are_compared(recipe: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = Console(quiet=True)
    monkeypatch.setattr(compare, "start", lambda folder, title, command: compare_run.work(folder, quiet))
    run("compare", recipe("audio"), "--connectors", "linear,mlp", "--seeds", "1", "--out", "out")
    page = Path("out/compare.html").read_text()
    assert not {"picture", "pixel"} & set(page.split())
    for words in ("from the sound<", "which sounds were", "another sound", "about one sound, batch 1"):
        assert words in page
    assert "audio." not in page.split("Trained weights")[2].split("Tokens")[0]


def test_a_sample_of_each_kind_is_shown(recipe: Callable[..., str]) -> None:
    said = run("check", recipe("image", "audio", "series"))
    samples = [line for line in said.splitlines() if line.startswith("    sample ")]
    assert len(samples) == 3, "one stage of the two reads text"
    for kind in ("image", "audio", "series"):
        assert sum(f"<{kind}>x" in line for line in samples) == 1


def test_kinds_need_not_meet_in_a_batch(recipe: Callable[..., str]) -> None:
    """A part that the first batch does not reach may learn later; one that no data reach is still an error."""
    plan = recipe("image", "audio", "series")
    single = [f"stages.{stage}.batch=1" for stage in ("warm", "instruct")]
    said = run("check", plan, *single)
    assert all(f"<{kind}>x" in said for kind in ("image", "audio", "series"))
    run("train", plan, *single, "--out", "run")
    pictures = tiny_run.pictures(Path("pictures"))
    facts = yaml.safe_load(Path(plan).read_text())
    for stage in facts["stages"]:
        stage["data"] = {str(pictures): {}}
    Path("pictures.yaml").write_text(yaml.safe_dump(facts))
    with pytest.raises(BadRecipe, match=r"gives audio\.connector no gradient"):
        run("train", "pictures.yaml", "--out", "pictures-run")


@pytest.mark.parametrize(("kinds", "medium"), [(["points"], "cloud"), (["audio", "video"], "medium")])
def test_a_report_says_what_it_is_about(kinds: list[str], medium: str, tmp_path: Path) -> None:
    answers = [Answer(str(i), kind, "name", "?", "owl", "owl", "dog") for i, kind in enumerate(kinds)]
    words = {"points": "cloud", "audio": "sound", "video": "clip"}
    rows = table(answers, media=words)
    assert about(rows) == medium
    given: dict[str, Any] = {"curves": [Curve("a", [])], "rows": rows, "pictures": [], "facts": [], "command": ""}
    page = write_report(tmp_path / "report.html", title="t", **given).read_text()
    assert "picture" not in page
    assert f"shown another {medium}" in page
    assert all(f"answer or another {words[kind]}" in page for kind in kinds)


@pytest.mark.parametrize("kind", KINDS)
def test_a_question_about_any_medium(kind: str, senses: Path) -> None:
    given = ["--model", str(senses / "model"), f"--{kind}", str(senses / "media" / FILES[kind]), "what is this ?"]
    reply = json.loads(run("chat", *given, "--json"))
    assert reply.keys() == {"answer", "tokens", "seconds"}
    shown = "".join(char for char in reply["answer"] if char.isprintable() or char == "\n")
    assert run("chat", *given).strip() == shown.strip()


def test_media_keep_the_order_in_which_they_were_typed(senses: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = ["audio", "image", "series", "audio", "video"]
    asked: list[str] = []

    def once(model: Any, processor: Any, media: Any, *_: Any) -> None:
        asked.extend(medium.kind for medium in media)

    monkeypatch.setattr("isthmus.chat.once", once)
    given = [part for kind in typed for part in (f"--{kind}", str(senses / "media" / FILES[kind]))]
    run("chat", "--model", str(senses / "model"), *given, "what are these ?")
    assert asked == typed


def test_a_medium_is_decoded_once(senses: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many turns look at it."""
    decoded: list[str] = []

    decode = Request.load

    def counted(request: Request, medium: Any) -> Any:
        decoded.append(medium.kind)
        return decode(request, medium)

    monkeypatch.setattr(Request, "load", counted)
    chat = Chat(*load_model(senses / "model"))
    for kind in KINDS:
        chat.show(KINDS[kind](senses / "media" / FILES[kind]))
    chat.ask("what are these ?")
    chat.ask("is it red ?")
    assert decoded == list(KINDS)


def test_what_is_kept_of_a_medium_is_what_was_decoded(senses: Path) -> None:
    model, processor = load_model(senses / "model")
    chat, media = Chat(model, processor), [KINDS[kind](senses / "media" / FILES[kind]) for kind in KINDS]
    for medium in media:
        chat.show(medium)
    kept = processor.encode([[Message("user", "what ?", tuple(chat.waiting))]])
    again = processor.encode([[Message("user", "what ?", tuple(media))]])
    assert kept["input_ids"].tolist() == again["input_ids"].tolist()
    torch.testing.assert_close(kept["media"], again["media"], rtol=0, atol=0, equal_nan=True)


def test_a_broken_video_is_known_before_the_model_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    done = CliRunner().invoke(cli.app, ["chat", "--model", "nowhere", "--video", str(tmp_path / "a.mp4"), "What?"])
    assert "a.mp4" in str(done.exception)
