"""`isthmus compare`: the same recipe with one connector after another, trained alike, asked alike, shown side by side.

DIR/comparison.json        what is compared: recipe, budget
DIR/<connector>.json       its options, what a step of it costs, and the recipe that follows from the budget
DIR/<connector>-<seed>/    an ordinary run, with answers.jsonl and facts.json once it is done
DIR/compare.html, .json    the result
"""

from __future__ import annotations

import dataclasses
import gc
import itertools
import json
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from isthmus.compare_run import write_json
from isthmus.connectors._options import SIZES
from isthmus.connectors._options import options as connector_options
from isthmus.demo import PUBLISHED, prepare
from isthmus.errors import BadRecipe, Interrupted, IsthmusError, UnknownName
from isthmus.evaluate.compare_report import Contender, Outcome, print_outcome, write_outcome
from isthmus.evaluate.comparison import cells
from isthmus.evaluate.scoring import Answer
from isthmus.options import problems
from isthmus.registry import find, miss, names
from isthmus.train.cost import Cost, cost
from isthmus.train.features import features
from isthmus.train.mixture import check_benchmarks, stage_samples
from isthmus.train.recipe import CONNECTORS, Bridge, Recipe
from isthmus.train.setup import composed, learning

REFERENCE = "mlp"  # where it is among those compared; else the first
COMMON = ("tokens",)  # options that mean the same for every connector
OWN = "connectors."  # what begins a change to one connector's options
PATIENCE = 10.0  # seconds that a run has to stop by itself
RATE = "rate."  # what begins, among these, its learning rate in one stage


@dataclass(frozen=True)
class Budget:
    """What every connector gets alike: the recipe's own `steps`, or an amount of `minutes` or of `flops`."""

    kind: str = "steps"
    amount: float | None = None

    @classmethod
    def parse(cls, text: str) -> Budget:
        """From what is typed; raises `BadRecipe` for anything else.

        >>> Budget.parse("flops=2e14"), Budget.parse("steps").amount
        (Budget(kind='flops', amount=200000000000000.0), None)
        """
        kind, sign, number = text.partition("=")
        try:
            amount = float(number) if sign else None
        except ValueError:
            amount = math.nan
        fits = amount is None if kind == "steps" else amount is not None and 0 < amount < math.inf
        if kind not in ("steps", "minutes", "flops") or not fits:
            raise BadRecipe(f"--budget {text}: a budget is steps (the recipe's own), minutes=30 or flops=1e15")
        return cls(kind, amount)


@dataclass(frozen=True)
class Variant:
    """One connector in a recipe: its options, those of the recipe that are not taken over, and by stage its rates.

    What suits one connector's learning rate can ruin another's, so each may have its own; steps and data stay alike.
    """

    name: str
    options: dict[str, Any]
    dropped: list[str]
    rates: dict[str, float] = field(default_factory=dict)


def compare(
    recipe: Recipe,
    variants: Sequence[Variant],
    *,
    seeds: int,
    budget: Budget,
    swapped: bool,
    out: Path,
    resume: bool,
    command: str,
    console: Console,
) -> Path:
    """Train every variant with every seed, ask all the same questions, and write the report, whose path is given.

    Run `k` has the recipe's seed + k, for the connector's weights, the samples drawn and their order alike; every
    variant sees the same. The questions are those of the recipe's own seed for all.

    Args:
        seeds: how many.
        swapped: whether questions are asked again with another medium, as the recipe says.
        resume: go on in `out`. Finished runs stay; connectors and seeds may differ from before, nothing else.
        command: how to go on, for messages.

    Raises:
        BadRecipe: for a recipe without questions, a budget that is too small, a folder that holds something else.
        Interrupted: after Ctrl-C; what was done is kept.
        IsthmusError: when a run fails or its process dies.
    """
    if not recipe.evaluate:
        raise BadRecipe(f"{recipe.name} asks nothing: it has no `evaluate`, so there is nothing to compare by")
    _claim(recipe, budget, swapped, out, resume)
    try:
        prepare(recipe, console)
        check_benchmarks(recipe.evaluate, recipe.seed)
        plans = [_plan(recipe, variant, budget, out, console) for variant in variants]
        runs = [(plan, seed) for seed in range(seeds) for plan in plans]
        folders = [out / f"{plan['connector']}-{seed}" for plan, seed in runs]
        todo = [folder for folder in folders if not (folder / "facts.json").is_file()]
        _encode(plans[0], {seed for (_, seed), it in zip(runs, folders, strict=True) if it in todo} - {0}, console)
        for number, ((plan, seed), folder) in enumerate(zip(runs, folders, strict=True), 1):
            title = f"run {number} of {len(runs)}: {plan['connector']}, seed {seed}"
            console.print(f"[bold]{title}[/]" + ("" if folder in todo else ", done already"), highlight=False)
            if folder in todo:
                own = Recipe.model_validate(plan["recipe"] | {"seed": recipe.seed + seed})
                job = {"recipe": own.model_dump(), "seed": recipe.seed, "swapped": swapped, "command": command}
                folder.mkdir(parents=True, exist_ok=True)
                write_json(folder / "job.json", job)
                start(folder, title, command)
        outcome = gather(recipe, plans, seeds, budget, out)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; what was done is in {out}. Go on: {command}") from None
    print_outcome(outcome, console)
    write_json(out / "compare.json", outcome.to_dict())
    return write_outcome(out / "compare.html", outcome, command)


def read_variants(recipe: Recipe, wanted: str, changes: Sequence[str]) -> list[Variant]:
    """The connectors named in `wanted`, with commas between, and `changes` to their options.

    Raises `UnknownName` and `BadRecipe` for a connector or an option that does not exist, or a name given twice.
    """
    chosen = [name.strip().replace("_", "-") for name in wanted.split(",") if name.strip()]
    for name in chosen:
        if name not in (known := names(CONNECTORS)):
            raise UnknownName(miss("connector", name, known))
    if len(chosen) < 2 or len(set(chosen)) < len(chosen):
        raise BadRecipe(f"--connectors {wanted}: name two or more, each once")
    own: dict[str, dict[str, Any]] = {name: {} for name in chosen}
    for change in changes:
        dotted, sign, text = change.removeprefix(OWN).partition("=")
        name, _, option = dotted.partition(".")
        if not sign or not option:
            raise BadRecipe(
                f"{change!r}: a connector's option is written connectors.NAME.OPTION=VALUE, its learning rate in a"
                " stage connectors.NAME.rate.STAGE=VALUE"
            )
        if (name := name.replace("_", "-")) not in own:
            raise UnknownName(f"{change!r}: {miss('connector among those compared', name, chosen)}")
        try:
            own[name][option] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise BadRecipe(f"{change!r}: {text!r} is not a YAML value") from error
    return [variant(recipe, name, own[name]) for name in chosen]


def variant(recipe: Recipe, name: str, own: Mapping[str, Any]) -> Variant:
    """The connector `name` with `own` options and the recipe's. Raises `BadRecipe` for others.

    Of the recipe's, those of its own connector go to that one alone (`hidden` is the width of the MLP's middle, and of
    a whole Q-Former); `COMMON` ones to every connector that has them.
    """
    bridge = recipe.model.senses[kind := compared(recipe)]
    given = {key: value for key, value in bridge.model_dump(exclude_unset=True).items() if value is not None}
    chosen = {*COMMON, *bridge.model_dump(exclude_defaults=True)} - Bridge.model_fields.keys()
    given = {key: value for key, value in given.items() if key in chosen}  # a saved recipe writes defaults out, too
    rates = {key.removeprefix(RATE): value for key, value in own.items() if key.startswith(RATE)}
    for stage, rate in rates.items():
        if stage not in (trained := [s.name for s in recipe.stages if f"{kind}.connector" in s.train]):
            raise BadRecipe(f"{name}: {miss('stage that trains the connector', stage, trained)}")
        if not isinstance(rate, float | int) or not 0 < rate < math.inf:
            raise BadRecipe(f"{name}: rate.{stage}: {rate!r} is no learning rate, such as 1.0e-3")
    own = {key: value for key, value in own.items() if not key.startswith(RATE)}
    known = connector_options(name)
    mine = bridge.connector.replace("_", "-") == name
    options = {key: value for key, value in given.items() if key in known and (mine or key in COMMON)} | dict(own)
    if options.get("memory") == "features" and "tokens" not in own:
        options.pop("tokens", None)  # the features themselves are looked at, all of them
    build = find(CONNECTORS, name).Connector.__init__
    if wrong := [what for _, what in problems(name, build, SIZES, options)]:
        raise BadRecipe("\n".join(wrong))
    return Variant(name, options, [key for key in given if key not in options], rates)


def with_connector(recipe: Recipe, variant: Variant) -> Recipe:
    """The recipe with this connector in place of its own."""
    facts, kind = recipe.model_dump(), compared(recipe)
    base = {key: facts["model"][kind][key] for key in Bridge.model_fields}
    facts["model"][kind] = base | {"connector": variant.name} | variant.options
    for stage in facts["stages"]:
        if stage["name"] in variant.rates:
            stage["train"][f"{kind}.connector"] = variant.rates[stage["name"]]
    return Recipe.model_validate(facts)


def compared(recipe: Recipe) -> str:
    """The kind of media whose connectors are compared: the first that the recipe's model takes, images before others.

    Raises `BadRecipe` for a model that takes none.
    """
    if not recipe.model.senses:
        raise BadRecipe(f"{recipe.name}: its model takes no media, so it has no connector to compare")
    return next(iter(recipe.model.senses))


def budgeted(recipe: Recipe, found: Cost, budget: Budget) -> Recipe:
    """The recipe without the stages that cannot be run, and with as many steps in the last one as the budget allows.

    The course of the learning rate ends with these steps. Minutes are also the last stage's ceiling, should its steps
    take longer than they did when they were timed.

    Raises `BadRecipe` when nothing is left to train, or the budget does not reach the last stage.
    """
    name = recipe.model.senses[compared(recipe)].connector
    stages = [stage for stage in recipe.stages if stage.name not in found.left_out]
    if not stages:
        raise BadRecipe(f"{name}: no stage is left. " + "; ".join(found.left_out.values()))
    if budget.amount is None:
        return recipe.model_copy(update={"stages": stages})
    *before, last = stages
    each: Mapping[str, float] = found.flops if budget.kind == "flops" else found.seconds
    unit = 60.0 if budget.kind == "minutes" else 1.0
    left = unit * budget.amount - sum(each[stage.name] * stage.steps for stage in before)
    steps = int(left / each[last.name])
    if steps < 1:
        least = (sum(each[stage.name] * stage.steps for stage in before) + each[last.name]) / unit
        raise BadRecipe(
            f"--budget {budget.kind}={budget.amount:g}: {name} needs {least:.3g} {budget.kind} for one step of"
            f" {last.name} after the stages before it. Give more, or make these shorter"
        )
    ceiling = {"minutes": left / 60} if budget.kind == "minutes" else {}
    return recipe.model_copy(update={"stages": [*before, last.model_copy(update={"steps": steps, **ceiling})]})


def start(folder: Path, title: str, command: str) -> None:
    """Do the run that is described in `folder`, in a process of its own, so that its memory is its own.

    Raises `Interrupted` and `IsthmusError` as the run does, or when its process dies.
    """
    line = [sys.executable, "-m", "isthmus.compare_run", str(folder)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            said = process.stdout.read()
            code = process.wait()
        except KeyboardInterrupt:
            try:
                _end(process)
            except KeyboardInterrupt:
                process.kill()
            said, code = "", Interrupted.exit_code
    if code == Interrupted.exit_code:
        raise Interrupted(f"stopped in {title}; saved. Go on: {command}")
    if code:
        lines = said.strip().splitlines()
        what = json.loads(lines[-1])["error"] if lines else _died(code)
        raise IsthmusError(f"{title}: {what}\nAfter that is mended, go on: {command}")


def _end(process: subprocess.Popen[str]) -> None:
    """Wait until it has saved: it has heard Ctrl-C too; or, when only this process has, it is told by its input."""
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


def _died(code: int) -> str:
    if code < 0:
        return f"its process was ended by signal {-code}; if nobody did that, memory ran out: take smaller batches"
    return f"its process ended with exit code {code}; what it said is above"


def _claim(recipe: Recipe, budget: Budget, swapped: bool, out: Path, resume: bool) -> None:
    """Write what is compared into the folder, or see that what is there is the same."""
    path, facts = out / "comparison.json", {"recipe": _common(recipe), **dataclasses.asdict(budget), "swapped": swapped}
    if path.exists():
        if not resume:
            raise BadRecipe(f"{out} holds a comparison already. Go on with --resume, or choose another --out")
        there = json.loads(path.read_text(encoding="utf-8"))
        if differ := [key for key in facts if facts[key] != there.get(key)]:
            what = ", ".join(differ)
            raise BadRecipe(f"{out} holds another comparison: {what} differ ({path}). Choose another --out")
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_json(path, facts)
    except OSError as error:
        raise IsthmusError(f"{out} cannot hold a comparison: {error}. Choose another folder with --out") from error


def _common(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON, without its connector, which every variant replaces."""
    facts: dict[str, Any] = json.loads(recipe.model_dump_json())
    own = facts["model"][kind := compared(recipe)]
    facts["model"][kind] = {key: own[key] for key in Bridge.model_fields if key != "connector"}
    return facts


def _plan(recipe: Recipe, variant: Variant, budget: Budget, out: Path, console: Console) -> dict[str, Any]:
    """What a variant costs and which recipe it follows, from its file, or measured now and written there."""
    path = out / f"{variant.name}.json"
    if path.is_file():
        plan: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        there, wanted = plan["options"] | _rated(plan.get("rates", {})), variant.options | _rated(variant.rates)
        if there != json.loads(json.dumps(wanted)):
            raise BadRecipe(
                f"{out} holds another comparison: {variant.name} with the options {there}, not {wanted} ({path})."
                " Choose another --out"
            )
        return plan
    console.print(f"what a step costs: {variant.name}", highlight=False)
    own = with_connector(recipe, variant)
    try:
        found = cost(own, timed=budget.kind == "minutes", console=console)
    except BadRecipe as error:
        raise BadRecipe(f"{variant.name}: {error}") from error
    chosen = budgeted(own, found, budget)
    plan = {"connector": variant.name, **dataclasses.asdict(variant), "cost": dataclasses.asdict(found)}
    plan |= {"recipe": json.loads(chosen.model_dump_json())}
    write_json(path, plan)
    gc.collect()
    return plan


def _rated(rates: Mapping[str, float]) -> dict[str, float]:
    return {f"{RATE}{stage}": rate for stage, rate in rates.items()}


def _encode(plan: Mapping[str, Any], seeds: set[int], console: Console) -> None:
    """Encode the media of these seeds, so that each run finds them and none is slower or larger for it.

    Those of seed 0 were, when the costs were measured.
    """
    recipe = Recipe.model_validate(plan["recipe"])
    if not seeds:
        return
    run = composed(recipe)
    still = list(itertools.takewhile(lambda stage: not learning(stage), recipe.stages))  # later ones depend on it
    for seed in sorted(seeds):
        drawn = (stage_samples(stage, recipe.seed + seed)[0] for stage in still)
        for samples, _ in itertools.groupby(drawn):  # stages often share theirs
            features(run, samples, f"seed {seed}", console)


def gather(recipe: Recipe, plans: Sequence[Mapping[str, Any]], seeds: int, budget: Budget, out: Path) -> Outcome:
    """The figures of all runs, from their folders.

    Raises `BadData` when answers cannot be read or are to different questions.
    """
    answers: dict[str, list[list[Answer]]] = {}
    contenders = []
    for plan in plans:
        name = plan["connector"]
        folders = [out / f"{name}-{seed}" for seed in range(seeds)]
        answers[name] = [list(_answers(folder / "answers.jsonl")) for folder in folders]
        facts = [json.loads((folder / "facts.json").read_text(encoding="utf-8")) for folder in folders]
        planned = {stage["name"]: stage["steps"] for stage in plan["recipe"]["stages"]}
        contenders.append(
            Contender.of(
                name, plan["options"] | _rated(plan.get("rates", {})), plan["dropped"], plan["cost"], planned, facts
            )
        )
    reference = REFERENCE if REFERENCE in answers else contenders[0].name
    return Outcome(
        recipe=recipe.name,
        parts=(recipe.model.llm, " and ".join(recipe.model.senses[compared(recipe)].encoders)),
        budget=budget.kind if budget.amount is None else f"{budget.kind}={budget.amount:g}",
        seeds=seeds,
        reference=reference,
        kinds=tuple(recipe.model.senses),
        contenders=contenders,
        cells=cells(answers, reference, PUBLISHED),
    )


def _answers(path: Path) -> Iterator[Answer]:
    for line in path.read_text(encoding="utf-8").splitlines():
        yield Answer.from_dict(json.loads(line))
