"""The pages of docs/examples, run as a reader would paste them, with the real parts; what they print is what they show.

python tests/test_examples.py            # runs every page and writes what it prints below each block
python tests/test_examples.py driving    # that page alone
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import yaml
from told_cvs import JOBS, LAYOUTS, NOISY, OWN, SCANS, TOPS, TRUTHS

import isthmus
from isthmus.parts import known
from isthmus.train.recipe import Recipe, load_recipe, shipped

FOLDER = Path(__file__).parents[1] / "docs/examples"
PAGES = {path.stem: path for path in sorted(FOLDER.glob("*.md"))}
BLOCK = re.compile(r"(```python\n(?P<code>.*?)```\n)(?:\n```text\n(?P<shown>.*?)```\n)?", re.DOTALL)
FORM = r"hf://[\w.-]+/[\w.-]+@[\w./-]+"


def run(page: Path) -> tuple[str, dict[str, Any]]:
    """The page with what its blocks print now, and the names they leave; run in the working folder, in order."""
    values: dict[str, Any] = {"__name__": page.stem}

    def ran(found: re.Match[str]) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            line = found.string[: found.start("code")].count("\n")
            exec(compile("\n" * line + found["code"], page, "exec", dont_inherit=True), values)  # errors name its line
        said = "".join(f"{line.rstrip()}\n" for line in printed.getvalue().splitlines())
        return found[1] + (f"\n```text\n{said}```\n" if said else "")

    return BLOCK.sub(ran, page.read_text(encoding="utf-8")), values


@functools.cache
def ran(name: str) -> tuple[str, dict[str, Any]]:
    """`run`, once for all tests of a page, in a folder of its own that is gone afterwards."""
    with tempfile.TemporaryDirectory() as room, contextlib.chdir(room):
        return run(PAGES[name])


def truth(fields: dict[str, Any]) -> dict[str, Any]:
    """A CV's fields as its JSON has them, without spaces: the reader loses some of them between words."""
    jobs = [dict(zip(("years", "title", "employer"), job, strict=True)) for job in fields["experience"]]
    studies = [dict(zip(("years", "what"), study, strict=True)) for study in fields["education"]]
    return squeezed(fields | {"experience": jobs, "education": studies})


def squeezed(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: json.dumps(value).replace(" ", "") for key, value in fields.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_a_page_prints_what_it_shows(name: str) -> None:
    written, _ = ran(name)
    assert written == PAGES[name].read_text(encoding="utf-8"), f"python tests/test_examples.py {name}"


@pytest.mark.slow
def test_the_page_s_cv_is_found_whole() -> None:
    person = ran("cv")[1]["person"]
    assert person.model_dump() == {
        **OWN,
        "experience": [dict(zip(("years", "title", "employer"), job, strict=True)) for job in OWN["experience"]],
        "education": [dict(zip(("years", "what"), study, strict=True)) for study in OWN["education"]],
    }


@pytest.mark.slow
def test_other_lay_outs_and_scans() -> None:
    """The page's figures: 90 of 90 fields, and with far more noise about half of 30."""
    page = ran("cv")[1]
    rows = {"own": [" ".join(row) for row in page["rows"]]} | {
        name: text.splitlines() for name, text in LAYOUTS.items()
    }
    missed, noisy = {}, []
    for name, lines in rows.items():
        texts = [
            (int(x), int(y), int(height), said) for x, y, height, said in (line.split(maxsplit=3) for line in lines)
        ]
        for scan in (*SCANS, NOISY):
            picture = PIL.Image.open(io.BytesIO(page["scanned"](page["drawn"](texts), *scan))).convert("RGB")
            found = squeezed(page["structured"](page["reader"].lines(page["np"].asarray(picture))).model_dump())
            wrong = {
                (name, *scan, key): found[key] for key, value in truth(TRUTHS[name]).items() if found[key] != value
            }
            if scan == NOISY:
                noisy += wrong
            else:
                missed |= wrong
    assert not missed
    assert 8 <= len(noisy) <= 22
    said = " ".join(PAGES["cv"].read_text(encoding="utf-8").split())
    assert f"all {len(rows) * len(SCANS) * len(OWN)} fields were right" in said
    assert f"half of the {len(rows) * len(OWN)} fields are wrong" in said


@pytest.mark.slow
def test_the_llm_chooses_names_and_titles() -> None:
    """The page's figures; without the LLM, the first line would be the name in 4 of 12."""
    likeliest, ordered = ran("cv")[1]["likeliest_name"], ran("cv")[1]["title_and_employer"]
    tops = [line.split("|") for line in TOPS.splitlines()]
    names = [next(text for text in top if text.startswith("*"))[1:] for top in tops]
    found = [likeliest([text.strip("*") for text in top]) for top in tops]
    assert sum(map(str.__eq__, found, names)) == 11
    assert sum(top[0].startswith("*") for top in tops) == 4
    jobs = [tuple(job.split(", ")) for job in JOBS.splitlines()]
    assert [ordered(employer, title) for title, employer in jobs] == jobs
    assert len(jobs) == 20
    said = " ".join(PAGES["cv"].read_text(encoding="utf-8").split())
    assert "found 11 of 12 names" in said
    assert "(the first line was the name in 4)" in said
    assert "told 20 of 20 titles from employers" in said


@pytest.mark.slow
def test_the_index_separates_field_water_and_town() -> None:
    page = ran("remote-sensing")[1]
    ndvi, area = page["ndvi"], page["area"]
    assert ((ndvi > 0.4) == (area == "field")).all()
    assert ndvi[area == "water"].max() < -0.3
    assert ndvi[area == "town"].min() > -0.1


@pytest.mark.slow
def test_a_model_that_hears_is_asked_about_the_siren(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With connectors that learned nothing: every question is asked, and of both media at once."""
    bridge = {"connector": "mlp", "tokens": 16}
    image, audio = {"encoder": "vit-s", **bridge}, {"encoder": "whisper", "connector": "mlp", "tokens": 300}
    hearing = isthmus.compose(llm="smollm2-135m-instruct", image=image, audio=audio)
    asked: list[tuple[str, tuple[str, ...]]] = []
    own: Callable[..., str] = isthmus.ask
    monkeypatch.setattr(isthmus, "load_with_processor", lambda name: {"default": hearing}[name])

    def ask(model: Any, processor: Any, question: str, *media: Any) -> str:
        asked.append((question, tuple(medium.kind for medium in media)))
        return own(model, processor, question, *media)

    monkeypatch.setattr(isthmus, "ask", ask)
    monkeypatch.setattr("isthmus.chat.LONGEST", 4)  # tokens of an answer; these say nothing
    monkeypatch.chdir(tmp_path)
    written, _ = run(PAGES["driving"])
    assert "this model takes: image, audio" in written
    assert ("What kind of sound is this?", ("audio",)) in asked
    assert ("About the sound: What kind of sound is this?", ("image", "audio")) in asked
    assert asked[-1][1] == ("image", "audio")


@pytest.mark.parametrize("name", PAGES)
def test_parts_to_be_named_from_a_hub_fit(name: str, tmp_path: Path) -> None:
    """The page's model in the demo's recipe, checked as `isthmus check` begins: nothing is fetched."""
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGES[name].read_text(encoding="utf-8"), re.DOTALL)
    stages = yaml.safe_load(shipped()["demo"].read_text(encoding="utf-8"))["stages"]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(yaml.safe_load(text) | {"name": "mine", "stages": stages}))
    recipe: Recipe = load_recipe(tmp_path / "mine.yaml")
    named = [recipe.model.llm, *(part for own in recipe.model.senses.values() for part in own.parts)]
    assert all(part in known() or re.fullmatch(FORM, str(part)) for part in named), named
    assert not any(part in isthmus.parts.catalog.PARTS for part in named), "a hub's, not a package's"


def test_every_page_is_in_the_index() -> None:
    index = FOLDER.with_suffix(".md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\(examples/([\w-]+)\.md\)", index)) == [*PAGES]
    first = PAGES["healthcare"].read_text(encoding="utf-8").split("\n\n")[1]
    assert first.startswith("**This is no medical device.")


if __name__ == "__main__":
    for chosen in sys.argv[1:] or PAGES:
        PAGES[chosen].write_text(ran(chosen)[0], encoding="utf-8")
        print(f"written: {os.path.relpath(PAGES[chosen])}")
