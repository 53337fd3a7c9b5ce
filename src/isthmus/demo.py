"""`isthmus demo`: the recipe `demo` trained, measured and shown."""

from __future__ import annotations

import io
import json
import random
import re
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from rich.console import Console

from isthmus import model_folder, parts
from isthmus.command import command
from isthmus.data import sources
from isthmus.errors import BadRecipe, Interrupted, UnknownName
from isthmus.evaluate.report import Curve, Point, print_table, write_report
from isthmus.evaluate.run import Shown, ask_all, nouns
from isthmus.evaluate.scoring import Answer, Row, about, table
from isthmus.media import picture
from isthmus.registry import miss
from isthmus.train.recipe import Check, Recipe, all_stages, leaks, load_recipe, of_default
from isthmus.train.run import train
from isthmus.train.setup import Run
from isthmus.types import Sample

PICTURES = 48  # on the report's page
PUBLISHED = ("easy-vqa",)  # benchmarks with one overall accuracy


def run(data: Path | None, out: Path | None, resume: bool, console: Console, senses: bool = False) -> None:
    """Train, evaluate, write `report.html` into `out`, and print how to talk to the result.

    Without `out`, a new run goes to `runs/demo` or the next free folder, and `resume` takes the latest of them. With
    `senses`, the recipe of that name takes the place of `demo`: every kind of media in one model.

    Raises `BadRecipe` for a folder of pictures together with `senses`.
    """
    if senses and data is not None:
        raise BadRecipe(
            "--data is a folder for the demo of pictures: leave --senses out, or name your media in a recipe"
        )
    recipe = load_recipe("senses" if senses else "demo")
    if data is not None:
        recipe = with_folder(recipe, data)
    out = out or place(Path("runs") / recipe.name, resume)
    prepare(recipe, console)
    option = ["--senses"] * senses if data is None else ["--data", str(data)]
    again = command("demo", *option, "--out", str(out), "--resume")
    trained = train(recipe, out, resume=resume, command=again, console=console)
    try:
        _evaluate(recipe, trained, out, console)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; the trained model is in {out / 'model'}. Go on: {again}") from None


def _evaluate(recipe: Recipe, trained: Run, out: Path, console: Console) -> None:
    """Measure what was trained and write everything that shows it."""
    start = time.monotonic()
    answers, shown, rows = measure(trained, recipe.evaluate, recipe.seed)
    write_answers(answers, out / "answers.jsonl")
    print_table(rows, console)
    example = out / "example.png"
    picture(shown[answers[0].benchmark, answers[0].sample].media[0]).save(example)
    talk = command("chat", "--model", str(out / "model"), "--image", str(example), "What is this?")
    senses = [f"{' and '.join(own.encoders)} through {own.connector}" for own in recipe.model.senses.values()]
    facts = [
        ("Model", " + ".join([recipe.model.llm, *senses])),
        ("Training", f"{trained.minutes:.1f} minutes, beside encoding the pictures"),
        ("Evaluation", f"{(time.monotonic() - start) / 60:.1f} minutes, {asked(answers, about(rows))}"),
    ]
    curves = [
        Curve(name, [Point(*point) for point in stage.points]) for name, stage in trained.stages.items() if stage.points
    ]
    report = write_report(
        out / "report.html", title=f"Isthmus: {recipe.name}", curves=curves, rows=rows,
        pictures=sample_pictures(answers, shown, recipe.seed), facts=facts, command=talk,
    )  # fmt: skip
    console.print(f"\nReport:      {report}\nTalk to it:  {talk}", highlight=False, markup=False, soft_wrap=True)


def asked(answers: Sequence[Answer], medium: str) -> str:
    """How many questions there were, and how many of them once more with another medium, called so.

    >>> asked([Answer("s", "b", "name", "?", "owl", "owl", again) for again in ("pear", None, None)], "sound")
    '3 questions, 1 of them again with another sound'
    """
    again = sum(answer.swapped is not None for answer in answers)
    return f"{len(answers):,} questions, {again:,} of them again with another {medium}"


def place(folder: Path, resume: bool) -> Path:
    """The first free folder of `folder`, `folder-2`, ...; to resume, the last one taken."""
    last = folder
    for number in count(1):
        path = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        if not (path / "recipe.json").exists():
            return last if resume else path
        last = path
    raise AssertionError("unreachable")


def with_folder(recipe: Recipe, data: Path) -> Recipe:
    """The recipe on a user's own folder of captioned images, wherever it is resumed from."""
    if not data.is_dir():
        raise BadRecipe(f"--data {data}: no such folder")
    folder = str(data.resolve())
    facts = recipe.model_dump()
    facts["name"] = f"{recipe.name}-" + re.sub(r"[^\w .-]", "-", data.resolve().name)
    for stage in facts["stages"]:
        stage["data"] = {folder: {}}
    facts["evaluate"] = {"your held-out images": {"data": folder, "split": "test"}}
    return Recipe.model_validate(facts)


def prepare(recipe: Recipe, console: Console) -> None:
    """Fetch and convert everything first, so that what follows is compute alone."""
    sets = [name for stage in recipe.stages for name in stage.data] + [it.data for it in recipe.evaluate.values()]
    senses = [part for own in recipe.model.senses.values() for part in own.parts]
    names = [recipe.model.llm, *(name for name in senses if name not in (None, "new"))]
    names += dict.fromkeys(part for name in sets for part in sources.parts(name))
    for name in names:
        parts.get(name)
    console.print(f"parts ready: {', '.join(names)}", highlight=False)


def measure(run: Run, checks: dict[str, Check], seed: int) -> tuple[list[Answer], Shown, list[Row]]:
    """Answers, the samples by benchmark and id, and the table of scores."""
    answers, shown = ask_all(run, checks, seed)
    return answers, shown, table(answers, overall=PUBLISHED, media=nouns(shown))


def write_answers(answers: Sequence[Answer], path: Path) -> None:
    """Every answer as one JSON object a line."""
    path.write_text("".join(json.dumps(answer.to_dict()) + "\n" for answer in answers), encoding="utf-8")


def to_ask(model: str, recipe: str | None, benchmarks: str | None) -> tuple[dict[str, Check], int]:
    """The benchmarks of a recipe, all or those named, and its seed; without one, of that which the model learned by.

    Raises `BadRecipe` where there is no recipe, or what is to be asked as unseen was trained on.
    """
    path = Path(model).expanduser().parent / "recipe.json"  # beside a run's model lies its own
    own = of_default() if model == "default" else load_recipe(path) if path.is_file() else None
    asked = own if recipe is None else load_recipe(recipe)
    if asked is None:
        model_folder(model)  # a model that does not exist is the better answer
        raise BadRecipe(f"{model}: no recipe.json beside it says what to ask. Name a recipe: --recipe demo")
    checks = chosen(asked.evaluate, benchmarks)
    if own and (found := list(leaks(all_stages(own), checks))):
        raise BadRecipe("\n".join(f"{recipe} cannot judge {model}: {place[1]}: {what}" for place, what in found))
    return checks, asked.seed


def chosen(checks: dict[str, Check], names: str | None) -> dict[str, Check]:
    """The checks of these names, separated by commas."""
    if names is None:
        return checks
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in checks:
            raise UnknownName(miss("benchmark", name, checks))
    return {name: checks[name] for name in wanted}


def sample_pictures(answers: Sequence[Answer], shown: Shown, seed: int) -> list[tuple[Answer, bytes]]:
    """A seeded sample of answers with their pictures as PNG, evenly over the benchmarks, right or wrong alike."""
    rng = random.Random(f"{seed}/pictures")
    groups: dict[str, list[Answer]] = {}
    for answer in answers:
        groups.setdefault(answer.benchmark, []).append(answer)
    each = max(1, PICTURES // len(groups))
    picked = [answer for group in groups.values() for answer in rng.sample(group, min(each, len(group)))]
    return [(answer, png(shown[answer.benchmark, answer.sample])) for answer in picked]


def png(sample: Sample) -> bytes:
    """The sample's picture as PNG bytes."""
    buffer = io.BytesIO()
    picture(sample.media[0]).save(buffer, "PNG")
    return buffer.getvalue()
