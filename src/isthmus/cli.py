"""The command line. Every command does its imports when it runs, so that `isthmus --help` is quick."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import sys
import traceback
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperCommand

import isthmus
from isthmus.command import command
from isthmus.errors import Interrupted, IsthmusError, UnknownName

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output, for programs.")]
Changes = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Changes, with dotted keys.")]
RecipeName = Annotated[str, typer.Argument(help="A YAML file, or the name of a recipe that comes with Isthmus.")]
Shards = Enum("Shards", {"all": "all", "machine": "machine"})  # `train.world.Shard`, which would import torch
Experts = Annotated[str | None, typer.Option(help="Separated by commas: speech, ocr, video.")]
FOLDERS = {
    "encoders": "encoder", "connectors": "connector", "experts": "expert", "data.sets": "data set",
    "train.objectives": "objective",
}  # fmt: skip


def main() -> None:
    """Run a command; what is the input's fault prints its message and exits with 1, Ctrl-C with 130, bad usage with 2.

    `ISTHMUS_TRACEBACK=1` shows where an error came from.
    """
    for name, value in {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}.items():
        os.environ.setdefault(name, value)  # read by these libraries when a command first imports them
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # PEFT imports it, and it advises to install more
    try:
        app()
    except (IsthmusError, OSError) as error:
        if os.environ.get("ISTHMUS_TRACEBACK"):
            traceback.print_exc()
        if not isinstance(error, Interrupted) or os.environ.get("RANK", "0") == "0":  # all processes were stopped
            print(f"isthmus: {error}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))  # an OSError has none


def _version(wanted: bool) -> None:
    if wanted:
        print(f"isthmus {isthmus.__version__}")
        raise typer.Exit


@app.callback()
def everything(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Compose a multimodal LLM from pretrained parts, train it in stages, measure it honestly and talk to it."""


@app.command()
def demo(
    data: Annotated[
        Path | None, typer.Option(help="Your own folder of captioned images, instead of the emoji.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder; runs/demo or the next free one by default.")
    ] = None,
    senses: Annotated[
        bool, typer.Option("--senses", help="Sounds, clips, points and series as well; it takes longer.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
) -> None:
    """The whole path in minutes: parts, data, training, evaluation, report.html, a model to talk to.

    \b
    Examples:
      isthmus demo
      isthmus demo --senses
      isthmus demo --data my-pictures --out runs/mine
      isthmus demo --resume
    """
    from isthmus import demo as whole

    whole.run(data, out, resume, Console(), senses)


class InOrder(TyperCommand):
    """A command that keeps, as `ctx.meta["order"]`, the names of its options as they were typed.

    An option's own values come in order, those of several options do not: `--audio a --image b --audio c`.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Once more than usual, for the order."""
        *_, order = self.make_parser(ctx).parse_args(list(args))
        ctx.meta["order"] = [option.name for option in order]
        return super().parse_args(ctx, args)


@app.command(cls=InOrder)
def chat(
    context: typer.Context,
    question: Annotated[str | None, typer.Argument(help="Without it, a conversation opens.")] = None,
    image: Annotated[list[str] | None, typer.Option(help="A picture; may be given several times.")] = None,
    audio: Annotated[list[str] | None, typer.Option(help="A sound, for a model that hears.")] = None,
    video: Annotated[list[str] | None, typer.Option(help="A video or animation, for a model that watches.")] = None,
    points: Annotated[list[str] | None, typer.Option(help="A point cloud or mesh, for a model of these.")] = None,
    series: Annotated[list[str] | None, typer.Option(help="A series of measurements, for a model of these.")] = None,
    model: Annotated[str | None, typer.Option(help="default, or a folder that a run or save_pretrained wrote.")] = None,
    llm: Annotated[str | None, typer.Option(help="An LLM alone: a part's name, a folder or a hub part.")] = None,
    frame: Annotated[str | None, typer.Option(help="How to speak to it, where it does not say itself.")] = None,
    go_on: Annotated[
        str | None, typer.Option("--continue", metavar="TEXT", help="Go on with a text, instead of answering.")
    ] = None,
    experts: Experts = None,
    as_json: AsJson = False,
) -> None:
    """Ask about media, in the order given, or talk; an LLM alone translates, sums up, or goes on with a text.

    With a question and --json, prints one object: answer, tokens, seconds; with --continue: continuation, tokens,
    perplexity (of the text), seconds. With --experts, what these tell of the media stands before the question as text.

    \b
    Examples:
      isthmus chat --image a.png "What is this?"
      isthmus chat --model runs/senses/model --audio a.wav --image b.png "What are these?"
      isthmus chat --llm smollm2-135m-instruct "What is the capital of France?"
      isthmus chat --llm smollm2-135m-instruct --continue "Once upon a time"
      isthmus chat --llm smollm2-135m-instruct --experts speech --audio a.wav "What is said?"
      isthmus chat --image a.png --json "What is this?"
      isthmus chat --model runs/demo/model
    """
    from isthmus.experts import resolve
    from isthmus.media.request import Request
    from isthmus.types import KINDS, Video

    tellers = [resolve(name.strip()) for name in (experts or "").split(",") if name.strip()]
    given = {"image": image, "audio": audio, "video": video, "points": points, "series": series}
    paths = {kind: iter(some) for kind, some in given.items() if some}
    media = [KINDS[kind](next(paths[kind])) for kind in context.meta["order"] if kind in paths]
    request = Request(len(media))
    for medium in media:  # a bad file is an error before the model is loaded; of a video one frame tells
        request.load(dataclasses.replace(medium, frames=1, sound=False) if isinstance(medium, Video) else medium)
    if as_json and question is None and go_on is None:
        raise typer.BadParameter('--json answers one question: isthmus chat --image a.png --json "What is this?"')
    if go_on is not None and (question is not None or media or tellers):
        raise typer.BadParameter("--continue takes a text alone, no question, no media and no experts")
    if llm and model:
        raise typer.BadParameter("--llm is an LLM alone and --model a composed model: give one of them")
    if frame and not llm:
        raise typer.BadParameter("--frame is for --llm: a composed model has its own")
    if llm:
        loaded, processor = isthmus.compose(llm=llm, image=None, frame=frame)
    else:
        loaded, processor = isthmus.load_with_processor(model or "default")
    from isthmus import chat as talk

    if go_on is not None:
        talk.continued(loaded, processor, go_on, as_json, Console())
    elif question is None:
        talk.converse(loaded, processor, media, Console(), tellers)
    else:
        talk.once(loaded, processor, media, question, as_json, Console(), tellers)


@app.command()
def describe(
    file: Annotated[Path, typer.Argument(help="A video, a picture or a sound; its ending says which.")],
    experts: Experts = None,
    model: Annotated[str, typer.Option(help="Whose captions: default, or a folder.")] = "default",
    as_json: AsJson = False,
) -> None:
    """A video as text, with times: what is said, what is written, what is shown. Also a picture, or a sound.

    \b
    Examples:
      isthmus describe clip.mp4
      isthmus describe clip.mp4 --experts speech,ocr --json
      isthmus describe page.png
    """
    from isthmus import describing as whole

    whole.run(file, as_json, whole.chosen(experts), model, Console())


@app.command()
def parts(
    name: Annotated[
        str | None, typer.Argument(help="One part, encoder, connector, expert, data set or objective.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What can be composed: encoders and LLMs with their licence and size, where parts come from, and which are here.

    \b
    Examples:
      isthmus parts
      isthmus parts vit-s
      isthmus parts --json
    """
    from isthmus import listing as models
    from isthmus import parts as catalogue
    from isthmus.registry import miss

    found = catalogue.describe()
    listing = [row for row in found if name in (None, row.name)]
    files: dict[str, dict[str, Any]] = {folder: dict(_about(folder, name)) for folder in FOLDERS}
    files = {folder: rows for folder, rows in files.items() if rows}
    if not listing and not files:
        raise UnknownName(miss("part", name or "", _composable()))
    if as_json:
        if "encoders" in files:
            about = files["encoders"]
            own = {row.name: dataclasses.asdict(row) for row in models.encoders(found) if row.name in about}
            files["encoders"] = {key: {"about": about[key]} | row for key, row in own.items()}
        rows = [dataclasses.asdict(row) for row in listing]
        print(json.dumps({"parts": rows} | files, indent=1))
        return
    console = Console()
    if name:
        about = files.pop("encoders", {})
        blocks: list[dict[str, Any]] = [dataclasses.asdict(row) for row in listing]
        blocks += [models.all_of(row, about[row.name]) for row in models.encoders(found) if row.name in about]
        for number, block in enumerate(blocks):
            if number:
                console.print()
            for field, value in block.items():
                console.print(f"{field:>12}  {value}", highlight=False, soft_wrap=True, markup=False)
    else:
        models.show(found, console)
        table = Table("part", "kind", "licence", "here", "sha256", title="parts and data from packages, pinned")
        table.add_column("source", overflow="fold")
        for row in listing:
            if row.sha256:
                table.add_row(row.name, row.kind, row.licence, _here(row.cached), row.sha256[:8], row.source)
        console.print(table)
    for folder, abouts in files.items():
        table = Table(FOLDERS[folder], "what it is", show_edge=False)
        for file, about in abouts.items():
            table.add_row(file, about)
        console.print(table)


def _here(cached: bool) -> str:
    return "yes" if cached else "-"


@app.command()
def check(recipe: RecipeName, changes: Changes = None) -> None:
    """Pre-flight: parts, shapes, a sample with its supervised part marked, memory. Nothing is trained.

    \b
    Examples:
      isthmus check demo
      isthmus check demo stages.instruct.batch=8
    """
    from isthmus.train.check import check as preflight
    from isthmus.train.recipe import load_recipe

    preflight(load_recipe(recipe, changes), Console())


@app.command()
def train(
    recipe: RecipeName,
    changes: Changes = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/NAME by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    shard: Annotated[
        Shards | None, typer.Option(help="Divide the LLM among all processes, or among those of each machine.")
    ] = None,
) -> None:
    """Train the stages of a recipe, with changes such as stages.instruct.steps=40.

    Ctrl-C saves and prints the command that goes on. Several processes share the work: torchrun --nproc-per-node 2
    --no-python isthmus train demo

    \b
    Examples:
      isthmus train demo
      isthmus train demo stages.instruct.steps=40 --out runs/short
      isthmus train demo --resume
    """
    from isthmus.train.recipe import load_recipe
    from isthmus.train.run import train as run

    console = Console(quiet=os.environ.get("RANK", "0") != "0")  # of several processes, one speaks
    plan = load_recipe(recipe, changes)
    folder = out or Path("runs") / plan.name
    options = [*(["--shard", shard.value] if shard else []), "--out", str(folder), "--resume"]
    again = command("train", recipe, *(changes or []), *options)
    if "WORLD_SIZE" in os.environ:
        again += ", launched as before or by another number of processes"
    run(plan, folder, resume=resume, shard=shard and shard.value, command=again, console=console)
    talk = command("chat", "--model", str(folder / "model"))
    console.print(f"Talk to it:  {talk}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def compare(
    recipe: RecipeName,
    changes: Changes = None,
    connectors: Annotated[
        str, typer.Option(help="Which, separated by commas; mlp, or else the first, is the reference.")
    ] = "linear,mlp,qformer,resampler,gated-cross-attention,visual-expert",
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each connector.")] = 3,
    budget: Annotated[str, typer.Option(help="Of a run: steps (the recipe's), minutes=M or flops=F.")] = "steps",
    swapped: Annotated[bool, typer.Option(help="Ask again with another medium, as the recipe says.")] = True,
    out: Annotated[Path | None, typer.Option(help="The folder; runs/compare-NAME by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on; with more connectors or seeds if given.")] = False,
) -> None:
    """Train connectors alike, on the same data for the same budget, and show side by side what they reach and cost.

    A connector takes those of the recipe's options that it has; connectors.qformer.hidden=384 gives one its own,
    connectors.qformer.rate.warm-start=3.0e-4 its learning rate in a stage.
    Ctrl-C saves and prints the command that goes on.

    \b
    Examples:
      isthmus compare demo --connectors mlp,resampler --seeds 2
      isthmus compare demo --budget minutes=10 stages.pretrain.steps=30
      isthmus compare demo --resume
    """
    from isthmus import compare as whole
    from isthmus.train.recipe import load_recipe

    own = [change for change in changes or [] if change.startswith(whole.OWN)]
    plan = load_recipe(recipe, [change for change in changes or [] if change not in own])
    folder = out or Path("runs") / f"compare-{plan.name}"
    options = ["--connectors", connectors, "--seeds", str(seeds), "--budget", budget]
    options += ["--swapped" if swapped else "--no-swapped", "--out", str(folder), "--resume"]
    page = whole.compare(
        plan,
        whole.read_variants(plan, connectors, own),
        seeds=seeds,
        budget=whole.Budget.parse(budget),
        swapped=swapped,
        out=folder,
        resume=resume,
        command=command("compare", recipe, *(changes or []), *options),
        console=Console(),
    )
    Console().print(f"Report:  {page}", highlight=False, markup=False, soft_wrap=True)


@app.command(name="eval")
def evaluate(
    model: Annotated[
        str, typer.Argument(help="default, a folder, org/name, http://HOST/v1#NAME, majority, random, blind:MODEL.")
    ] = "default",
    recipe: Annotated[str | None, typer.Option(help="Whose `evaluate` is asked; by default the model's own.")] = None,
    benchmarks: Annotated[
        str | None, typer.Option(help="By commas: of `isthmus score --list`, or of the recipe only these.")
    ] = None,
    language: Annotated[str | None, typer.Option(help="Tasks of lm-eval, by commas, as arc_easy,gsm8k.")] = None,
    data: Annotated[
        str | None, typer.Option(help="The folder of benchmarks' folders, or hub; else $ISTHMUS_BENCHMARKS.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/eval-MODEL by default.")] = None,
    way: Annotated[str, typer.Option(help="generate an answer, or the likelihood of each option.")] = "generate",
    circular: Annotated[bool, typer.Option("--circular", help="Right only in every rotation of the options.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many questions of each.")] = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
    mode: Annotated[str, typer.Option(help="official: the authors' rule; lenient: as a person reads.")] = "official",
    shots: Annotated[int | None, typer.Option(min=0, help="Examples before each question of a language task.")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Ask language tasks in the model's chat template.")] = False,
    tasks_folder: Annotated[Path | None, typer.Option(help="Where else lm-eval finds tasks.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes; more than one need Ray.")] = 1,
    gpus_per_worker: Annotated[float, typer.Option(min=0, help="GPUs of each, 0.5 for half of one.")] = 0.0,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of each worker; by default all.")] = None,
    address: Annotated[str | None, typer.Option(help="A Ray cluster that is running.")] = None,
    tolerate: Annotated[
        float, typer.Option(min=0, max=1, help="The share of questions that may go without an answer.")
    ] = 0.05,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    answers: Annotated[Path | None, typer.Option(help="Of a recipe: write every answer here, as JSON lines.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask a model benchmarks, or the questions of a recipe beside two baselines: the majority, a swapped medium.

    Benchmarks lie in a folder in their authors' own layout; `scenes` needs none. A run's folder has the answers in the
    benchmark's own form and a line for each question; a run that was stopped goes on with --resume and ends with the
    same files. `isthmus report` draws several. Several processes share the work: torchrun --nproc-per-node 2
    --no-python isthmus eval ...

    \b
    Examples:
      isthmus eval default --benchmarks scenes --limit 60
      isthmus eval http://localhost:8000/v1#llava --benchmarks pope,mme --data ~/benchmarks
      isthmus eval runs/demo/model --recipe demo --benchmarks easy-vqa --json
      isthmus eval --answers answers.jsonl
    """
    if as_json:
        import rich

        rich.reconfigure(stderr=True)  # progress goes there, so that standard output is JSON alone
    if benchmarks is not None and not _several(benchmarks):
        raise typer.BadParameter("no name of a benchmark", param_hint="--benchmarks")
    if language or _are_benchmarks(benchmarks, recipe):
        from isthmus.evaluate.harness import How
        from isthmus.evaluate.session import Session

        how = How(way, circular, limit, seed, mode)
        place = out or Path("runs") / f"eval-{re.sub(r'[^0-9A-Za-z._-]+', '-', model).strip('-')}"
        session = Session(model, place, how, data, tolerate, resume, as_json)
        found = session.run(
            *(_several(benchmarks), _several(language), shots, chat, tasks_folder),
            *(workers, gpus_per_worker, threads, address),
        )
        if as_json and found:
            print(json.dumps(found, indent=1))
        return
    try:
        _ask_recipe(model, recipe, benchmarks, answers, as_json)
    except UnknownName as error:
        if recipe is None and benchmarks:
            from isthmus.evaluate.benchmarks import PACKAGE
            from isthmus.registry import miss, names

            every = [name for name in names(PACKAGE) if name not in _several(benchmarks)]
            raise UnknownName(f"{error}\nOf `isthmus score --list`: {miss('benchmark', benchmarks, every)}") from None
        raise


def _several(names: str | None) -> list[str]:
    return [name.strip() for name in (names or "").split(",") if name.strip()]


def _are_benchmarks(names: str | None, recipe: str | None) -> bool:
    """Whether names are of benchmarks, not of a recipe's `evaluate`."""
    from isthmus.evaluate.benchmarks import PACKAGE
    from isthmus.registry import names as known

    return recipe is None and any(name in known(PACKAGE) for name in _several(names))


def _ask_recipe(model: str, recipe: str | None, benchmarks: str | None, answers: Path | None, as_json: bool) -> None:
    from isthmus import demo as whole
    from isthmus.evaluate.report import print_table
    from isthmus.train.setup import Run

    checks, seed = whole.to_ask(model, recipe, benchmarks)
    if answers:  # a place that cannot be written is known before the questions are asked, not after
        answers.parent.mkdir(parents=True, exist_ok=True)
        answers.touch()
    found, _, rows = whole.measure(Run(*isthmus.load_with_processor(model)), checks, seed)
    if answers:
        whole.write_answers(found, answers)
    if as_json:
        print(json.dumps([dataclasses.asdict(row) for row in rows], indent=1))
    else:
        print_table(rows, Console())


@app.command()
def score(
    benchmark: Annotated[str | None, typer.Argument(help="A name of --list.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="In the benchmark's own form: a file, or a folder.")] = None,
    references: Annotated[Path | None, typer.Option(help="The truths, where predictions do not hold them.")] = None,
    mode: Annotated[str, typer.Option(help="official: the authors' rule; lenient: as a person reads.")] = "official",
    part: Annotated[str | None, typer.Option(help="A model's folder, of clipscore and entailment.")] = None,
    as_json: AsJson = False,
    every: Annotated[
        bool, typer.Option("--list", help="The benchmarks, their forms and an example line each.")
    ] = False,
) -> None:
    """Score a file of predictions by a benchmark's own rule, with no model.

    Every figure has its n and a 95 % interval; what could not be scored is counted, by reason, and is in no figure.

    \b
    Examples:
      isthmus score --list
      isthmus score pope --predictions answers.jsonl --references coco_pope_random.json
      isthmus score pope --predictions answers.jsonl --references pope/ --json
      isthmus score clipscore --predictions captions.json --references val2014/ --part clip-vit-base-patch32/
    """
    from isthmus.evaluate import told
    from isthmus.evaluate.benchmarks import score as figures

    if every:
        told.listed(benchmark, Console(), as_json)
        return
    if benchmark is None or predictions is None:
        raise typer.BadParameter("a benchmark and --predictions are needed; isthmus score --list shows both")
    benchmark = benchmark.lower().replace("_", "-")
    found = figures(benchmark, predictions, references, mode, part)
    if as_json:
        print(json.dumps(found.to_dict(benchmark, mode), indent=1, allow_nan=False))
        for note in found.notes:
            print(f"note: {note}", file=sys.stderr)
    else:
        told.show(benchmark, mode, found, Console())


Form = Enum("Form", {"html": "html", "markdown": "markdown", "latex": "latex", "csv": "csv"})


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of isthmus eval, or files of isthmus score --json.")],
    out: Annotated[Path | None, typer.Option(help="A file; report.html, or standard output for other forms.")] = None,
    form: Annotated[Form, typer.Option("--format", help="What to write.")] = Form.html,
    media: Annotated[bool, typer.Option(help="Pictures and sounds in the page.")] = True,
) -> None:
    """Several runs side by side: a leaderboard, plots, and a browser of samples; one file that needs nothing else.

    The best of each benchmark is bold; the others are tested against it, in pairs, on the samples that both have.

    \b
    Examples:
      isthmus report runs/eval-default runs/eval-majority
      isthmus report runs/eval-* --format latex --out table.tex
    """
    from isthmus.evaluate.board import file as pages

    pages.written(runs, form.value, out, media, Console())


@app.command()
def judge(
    rubric: Annotated[str | None, typer.Argument(help="A name of --list.")] = None,
    answers: Annotated[Path | None, typer.Option(help="Rows with id, question, answer; a run's samples.jsonl.")] = None,
    against: Annotated[Path | None, typer.Option(help="Another model's answers to the same, for a pair.")] = None,
    references: Annotated[Path | None, typer.Option(help="The truths, where the rows do not hold them.")] = None,
    by: Annotated[
        str, typer.Option("--judge", help="http://HOST/v1#MODEL, default, a folder, or an LLM's name.")
    ] = "default",
    calibration: Annotated[
        Path | None, typer.Option(help="Rows with a person's verdict, `human`: how far do they agree?")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The verdicts; beside the answers by default.")] = None,
    rubric_file: Annotated[Path | None, typer.Option(help="Another text in place of the rubric's own.")] = None,
    times: Annotated[int, typer.Option(min=1, help="Judge each so often.")] = 1,
    temperature: Annotated[float, typer.Option(min=0, help="Of the judge's replies.")] = 0.0,
    coverage: Annotated[float, typer.Option(min=0, max=1, help="The share to be judged for a score.")] = 0.95,
    key_from: Annotated[str, typer.Option(help="The environment variable with the server's key.")] = "OPENAI_API_KEY",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    as_json: AsJson = False,
    every: Annotated[bool, typer.Option("--list", help="The rubrics.")] = False,
) -> None:
    """Have a model judge answers: a grade, the better of two in both orders, or agreement with a reference.

    What could not be judged is counted by reason and is in no figure; where too little was judged there is none.
    Position and length bias stand beside the score; with --calibration, agreement with people.

    \b
    Examples:
      isthmus judge --list
      isthmus judge reference --answers runs/eval-default/scenes/samples.jsonl --judge http://localhost:8000/v1#qwen
      isthmus judge pairwise --answers a.jsonl --against b.jsonl --judge http://localhost:8000/v1#qwen --resume
    """
    from isthmus.command import again
    from isthmus.evaluate import judging, told, verdicts

    if every:
        judging.listed(Console(), as_json)
        return
    if rubric is None or answers is None:
        raise typer.BadParameter("a rubric and --answers are needed; isthmus judge --list shows the rubrics")
    console = Console(stderr=as_json)
    found = judging.judge(
        rubric, by, answers, against, references, calibration, out, rubric_file,
        times=times, temperature=temperature, coverage=coverage, key_from=key_from, resume=resume,
        command=again(), console=console,
    )  # fmt: skip
    if as_json:
        print(json.dumps(found.to_dict(rubric, f"judged by {by.rsplit('#')[-1]}"), indent=1, allow_nan=False))
    else:
        told.show(f"judge {rubric}", f"judged by {by.rsplit('#')[-1]}", found, console)
    if not verdicts.enough(found, coverage):
        raise IsthmusError("too little was judged for a score; the reasons stand above")


Data = Annotated[str, typer.Argument(help="Files, a folder or a data set, as in a recipe.")]
Split = Annotated[str, typer.Option(help="Of a data set.")]
Count = Annotated[int | None, typer.Option(min=1, help="A seeded sample of so many.")]
Seed = Annotated[int, typer.Option(help="Of that sample, and of a data set that is drawn.")]
DataOption = Annotated[
    list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="An option of the data, as in a recipe.")
]
Workers = Annotated[int, typer.Option(min=1, help="Processes; more than one need Ray.")]
Gpus = Annotated[float, typer.Option(min=0, help="GPUs of each worker, 0.5 for half of one; without, the CPU.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads of each worker. The last digits depend on it.")]
Address = Annotated[str | None, typer.Option(help="A Ray cluster that is running; else Ray is started here.")]
Tolerate = Annotated[float, typer.Option(min=0, max=1, help="The share of samples, and of rows, that may be bad.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")]


@app.command()
def extract(
    what: Annotated[str, typer.Argument(metavar="RECIPE|MODEL", help="Whose encoders: a recipe's or a model's.")],
    changes: Changes = None,
    data: Annotated[str | None, typer.Option(help="Files, a folder or a data set; by default all of a recipe.")] = None,
    split: Split = "train",
    count: Count = None,
    seed: Seed = 0,
    option: DataOption = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/extract-NAME by default.")] = None,
    resume: Resume = False,
    workers: Workers = 1,
    gpus_per_worker: Gpus = 0.0,
    threads: Threads = 1,
    address: Address = None,
    shard: Annotated[int, typer.Option(min=1, help="Samples of a shard.")] = 256,
    tolerate: Tolerate = 0.01,
) -> None:
    """Encode a corpus's media once, in shards and by several workers, into the cache that training reads.

    Ctrl-C, or a crash, costs the shards under way; --resume does those that are missing.

    \b
    Examples:
      isthmus extract demo --workers 2
      isthmus extract demo --data "captions/{000..099}.tar" --workers 2 --resume
      isthmus extract default --data pictures.jsonl --option media=images
    """
    from isthmus.bulk import extract as whole
    from isthmus.bulk.corpus import Source, options
    from isthmus.bulk.pool import Pool
    from isthmus.command import again

    source = None if data is None else Source(data, split, count, options(option or []), seed)
    folder = out or Path("runs") / f"extract-{Path(what).stem}"
    pool = Pool(workers, gpus_per_worker, threads, address)
    whole.extract(
        whole.whose(what, changes), source, folder, pool,
        shard=shard, tolerate=tolerate, resume=resume, command=again(), console=Console(),
    )  # fmt: skip


@app.command()
def answer(
    data: Data,
    model: Annotated[str, typer.Option(help="default, or a folder.")] = "default",
    split: Split = "test",
    count: Count = None,
    seed: Seed = 0,
    option: DataOption = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/answer-NAME by default.")] = None,
    resume: Resume = False,
    workers: Workers = 1,
    gpus_per_worker: Gpus = 0.0,
    threads: Threads = 1,
    address: Address = None,
    shard: Annotated[int, typer.Option(min=1, help="Samples of a shard.")] = 64,
    batch: Annotated[int, typer.Option(min=1, help="Questions that are answered together.")] = 32,
    longest: Annotated[int, typer.Option(min=1, help="Tokens of an answer, at most.")] = 64,
    tolerate: Tolerate = 0.01,
) -> None:
    """Answer every question of a corpus, in shards and by several workers: OUT/00000.jsonl and so on, manifest.json.

    Ctrl-C, or a crash, costs the shards under way; --resume does those that are missing, and the files are the same.

    \b
    Examples:
      isthmus answer easy-vqa --count 200
      isthmus answer questions.jsonl --model runs/demo/model --option media=images --workers 2
      isthmus answer questions.jsonl --workers 2 --resume
    """
    from isthmus.bulk import answer as whole
    from isthmus.bulk.corpus import Source, options
    from isthmus.bulk.pool import Pool
    from isthmus.command import again

    source = Source(data, split, count, options(option or []), seed)
    folder = out or Path("runs") / f"answer-{Path(data).stem}"
    pool = Pool(workers, gpus_per_worker, threads, address)
    whole.answer(
        model, source, folder, pool, shard=shard, batch=batch, longest=longest,
        tolerate=tolerate, resume=resume, command=again(), console=Console(),
    )  # fmt: skip


@app.command(name="import")
def import_(
    folder: Annotated[Path, typer.Argument(help="A local folder with config.json and safetensors.")],
    out: Annotated[Path, typer.Option(help="The new model's folder.")],
) -> None:
    """Turn a released LLaVA, BLIP-2, InstructBLIP, IDEFICS, Llama 3.2 Vision or Qwen2-Audio into a model folder.

    \b
    Examples:
      isthmus import llava-1.5-7b-hf --out models/llava
    """
    from isthmus.model import importers, save_full

    save_full(*importers.read(folder), out)
    talk = command("chat", "--model", str(out))
    Console().print(f"Talk to it:  {talk}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="default, or a folder.")],
    to: Annotated[str, typer.Option(help="llava-hf or gguf.")],
    out: Annotated[Path, typer.Option(help="The folder to be written.")],
) -> None:
    """Write a model for other programs, adapters merged, or say why it cannot be expressed there.

    Both formats are LLaVA's: clip, mlp with one soft token for each feature, a decoder-only LLM. So the default model
    and what the recipe demo trains (vit-s, features joined) are refused, and so are connectors inside the LLM.
    An LLM that was trained in 4 bits is written with its own weights and the adapter.

    \b
    Examples:
      isthmus import llava-1.5-7b-hf --out models/llava
      isthmus export models/llava --to llava-hf --out llava-hf
    """
    from isthmus.model import exporters
    from isthmus.registry import find

    exporters.write(*isthmus.load_with_processor(model, quantize=False), to, out)
    files = ", ".join(sorted(path.name for path in out.expanduser().iterdir()))
    loads = find("isthmus.model.exporters", to).LOADS
    for line in (f"Written:  {out} ({files})", f"Load it:  {loads}"):
        Console().print(line, highlight=False, markup=False, soft_wrap=True)


def _about(folder: str, wanted: str | None) -> dict[str, str]:
    """File -> its ABOUT line."""
    from isthmus.registry import constants, names

    package = f"isthmus.{folder}"
    return {name: constants(package, name)["ABOUT"] for name in names(package) if wanted in (None, name)}


def _composable() -> list[str]:
    from isthmus import parts as catalogue
    from isthmus.registry import names

    return sorted({*catalogue.known(), *(name for folder in FOLDERS for name in names(f"isthmus.{folder}"))})


if __name__ == "__main__":
    main()
