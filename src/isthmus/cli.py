"""The command line. Every command does its imports when it runs, so that `isthmus --help` is quick."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from isthmus.errors import IsthmusError

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")]


def main() -> None:
    """Run a command; an error that is the input's fault prints its message and exits with 1 (130 after Ctrl-C)."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        app()
    except IsthmusError as error:
        if os.environ.get("ISTHMUS_TRACEBACK"):
            traceback.print_exc()
        print(f"isthmus: {error}", file=sys.stderr)
        sys.exit(130 if type(error).__name__ == "Interrupted" else 1)
    except KeyboardInterrupt:
        print("isthmus: stopped", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        print(f"isthmus: {error}", file=sys.stderr)
        sys.exit(1)


@app.command()
def demo(
    data: Annotated[Path | None, typer.Option(help="Your own folder of captioned images, instead of the emoji.")] = None,
    out: Annotated[Path, typer.Option(help="Where the run goes.")] = Path("runs/demo"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
) -> None:
    """The whole path in minutes: parts, data, training, evaluation, report.html, a model to talk to.

    Example: isthmus demo --data my-pictures --out runs/mine
    """
    from isthmus import demo as whole

    whole.run(data, out, resume, Console())


@app.command()
def chat(
    question: Annotated[str | None, typer.Argument(help="Without it, a conversation opens.")] = None,
    image: Annotated[list[str] | None, typer.Option(help="A picture; may be given several times.")] = None,
    model: Annotated[str, typer.Option(help="default, or a folder that a run or save_pretrained wrote.")] = "default",
    as_json: AsJson = False,
) -> None:
    """Ask about a picture, or talk.

    Examples: isthmus chat --image a.png "What is this?"   isthmus chat --model runs/demo/model
    """
    from isthmus import chat as talk
    from isthmus.media import load_image

    for path in image or []:
        load_image(path)  # a bad picture is an error before the model is loaded
    if as_json and question is None:
        raise IsthmusError('--json answers one question: isthmus chat --image a.png --json "What is this?"')
    loaded, processor = _load(model)
    console = Console()
    if question is None:
        talk.converse(loaded, processor, image or [], console)
    else:
        talk.once(loaded, processor, image or [], question, as_json, console)


@app.command()
def parts(name: Annotated[str | None, typer.Argument()] = None, as_json: AsJson = False) -> None:
    """What can be composed: each part's kind, source, licence and hash.

    Examples: isthmus parts   isthmus parts vit-s --json
    """
    from isthmus import parts as catalogue
    from isthmus.errors import UnknownName
    from isthmus.registry import find, miss, names

    listing = [row for row in catalogue.describe() if name in (None, row.name)]
    if not listing and name:
        raise UnknownName(miss("part", name, catalogue.known()))
    modules = {
        kind: {file: find(f"isthmus.{kind}", file).ABOUT for file in names(f"isthmus.{kind}")}
        for kind in ("encoders", "connectors", "data.sets", "train.objectives")
    }
    if as_json:
        rows: dict[str, Any] = {"parts": [dataclasses.asdict(row) for row in listing]}
        print(json.dumps(rows if name else rows | modules, indent=1))
        return
    console = Console()
    if name:
        for field, value in dataclasses.asdict(listing[0]).items():
            console.print(f"{field:>8}  {value}", highlight=False, soft_wrap=True)
        return
    table = Table("part", "kind", "licence", "here", "source", title="parts and data, pinned by SHA-256")
    for row in listing:
        table.add_row(row.name, row.kind, row.licence, "yes" if row.cached else "-", row.source)
    console.print(table)
    for kind, files in modules.items():
        table = Table(kind, "", show_edge=False)
        for file, about in files.items():
            table.add_row(file, about)
        console.print(table)


@app.command()
def check(recipe: str, changes: Annotated[list[str] | None, typer.Argument(help="key=value")] = None) -> None:
    """Pre-flight: parts, shapes, a sample with its supervised part marked, memory. Nothing is trained.

    Example: isthmus check demo stages.instruct.batch=8
    """
    from isthmus.train.check import check as preflight
    from isthmus.train.recipe import load_recipe

    preflight(load_recipe(recipe, changes), Console())


@app.command()
def train(
    recipe: str,
    changes: Annotated[list[str] | None, typer.Argument(help="key=value, such as stages.instruct.steps=40")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/NAME by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
) -> None:
    """Train the stages of a recipe.

    Examples: isthmus train recipes/demo.yaml stages.instruct.steps=40 --out runs/short   isthmus train demo --resume
    """
    from isthmus.train.recipe import load_recipe
    from isthmus.train.run import train as run

    console = Console()
    plan = load_recipe(recipe, changes)
    folder = out or Path("runs") / plan.name
    again = " ".join(["isthmus train", recipe, *(changes or []), f"--out {folder} --resume"])
    run(plan, folder, resume=resume, command=again, console=console)
    console.print(f'Talk to it:  isthmus chat --model {folder / "model"} --image FILE "What is this?"', highlight=False)


@app.command(name="eval")
def evaluate(
    model: Annotated[str, typer.Argument(help="default, or a folder.")] = "default",
    recipe: Annotated[str, typer.Option(help="Whose `evaluate` section is asked.")] = "default",
    benchmarks: Annotated[str | None, typer.Option(help="Only these, separated by commas.")] = None,
    answers: Annotated[Path | None, typer.Option(help="Write every answer here, as JSON lines.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask a model the questions of a recipe's benchmarks, beside the two baselines.

    Example: isthmus eval runs/demo/model --recipe demo --benchmarks easy-vqa
    """
    from isthmus import demo as whole
    from isthmus.evaluate.report import print_table
    from isthmus.train.recipe import load_recipe
    from isthmus.train.run import Run

    plan = load_recipe(recipe)
    checks = whole.chosen(plan.evaluate, benchmarks)
    found, _, rows = whole.measure(Run(*_load(model)), checks, plan.seed)
    if answers:
        answers.write_text("".join(json.dumps(answer.to_dict()) + "\n" for answer in found), encoding="utf-8")
    if as_json:
        print(json.dumps([dataclasses.asdict(row) for row in rows], indent=1))
    else:
        print_table(rows, Console())


def _load(model: str) -> tuple[Any, Any]:
    import isthmus

    loaded: tuple[Any, Any] = isthmus.load_with_processor(model)
    return loaded


if __name__ == "__main__":
    main()
