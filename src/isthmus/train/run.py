"""A run: the stages of a recipe one after another, from parts to a checkpoint."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import random
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from isthmus.data.features import FeatureCache, TooLarge
from isthmus.data.seen import Piece, Seen
from isthmus.data.shards import Rows
from isthmus.data.sources import load_split
from isthmus.errors import BadMedia, BadRecipe, Interrupted, IsthmusError
from isthmus.model import add_lora, compose, part, save_trained, unfreeze
from isthmus.options import checked
from isthmus.parts import cache
from isthmus.registry import find
from isthmus.train.loop import run_stage
from isthmus.train.mixture import Mixture, read_data, without
from isthmus.train.recipe import OBJECTIVE, Lora, Mix, Recipe, Stage
from isthmus.train.state import Progressed
from isthmus.types import Medium, Sample

ROOM = 2**29  # bytes that must be free where a run is to go
NO_MATTER = ("transformers_version", "_name_or_path", "architectures", "dtype")  # features do not depend on these


@dataclass
class Run:
    """A model with its processor, and how each stage went."""

    model: Any
    processor: Any
    stages: dict[str, Progressed] = field(default_factory=dict)

    @property
    def minutes(self) -> float:
        """How long the stages took, over all the sittings of a run that was resumed."""
        return sum(stage.seconds for stage in self.stages.values()) / 60


def composed(recipe: Recipe) -> Run:
    """The recipe's parts put together, untrained."""
    senses = {kind: own.asked for kind, own in recipe.model.senses.items()}
    how: dict[str, Any] = {"image": None, "llm": recipe.model.llm, "frame": recipe.model.frame} | senses
    return Run(*compose(**how, seed=recipe.seed))


def train(recipe: Recipe, folder: Path, *, resume: bool = False, command: str = "", console: Console) -> Run:
    """Train every stage and write the light checkpoint to `folder`.

    With `resume`, finished stages are put back from their states and the one under way goes on where it was; the
    result is bit for bit that of a run which was never stopped. Without it, a folder that holds a run is refused.

    Args:
        command: how to go on after Ctrl-C, for the message of `Interrupted`.

    Raises:
        Interrupted: after Ctrl-C, at whatever moment; what was done is kept.
        BadRecipe, BadData, BadMedia: for a recipe or data that cannot be used, before anything is trained.
        IsthmusError: as `loop.run_stage` does, and when the disk is full.
    """
    _claim(recipe, folder, resume, console)
    command = command or "train the same recipe again with resume=True"
    try:
        return _stages(recipe, folder, resume, command, console)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; what was done is in {folder}. Go on: {command}") from None


def _stages(recipe: Recipe, folder: Path, resume: bool, command: str, console: Console) -> Run:
    data = read_data(recipe)  # bad data stop the run before it begins
    run = composed(recipe)
    parts = [facts["sha256"] for _, facts in sorted(run.model.config.parts.items())]
    mixture: Mixture | None = None
    with ExitStack() as opened:
        logs = [find("isthmus.train.logs", name).Log(folder, recipe) for name in dict.fromkeys(["jsonl", *recipe.log])]
        for log in logs:
            opened.callback(log.close)
        for number, stage in enumerate(recipe.stages):
            console.print(f"[bold]stage {number + 1} of {len(recipe.stages)}: {stage.name}[/] ({stage.objective})")
            torch.manual_seed(recipe.seed + number)
            run.model.requires_grad_(False)
            groups = [group(run.model, where, how) for where, how in stage.train.items()]
            samples, mixes = data[number]
            mixture = mixed(run, stage, samples, mixes, before=mixture, console=console)
            quarantine(folder, stage, mixture.bad, console)
            goal = objective(run, stage, mixture.samples, mixture.some)
            groups += helpers(goal, groups)
            check = held_out(run, stage, goal, recipe.seed, console)
            run.model.train()
            run.stages[stage.name] = run_stage(
                stage, goal, mixture, groups, folder / "stages" / stage.name,
                seed=recipe.seed, resume=resume, how_to_resume=command, parts=parts, console=console,
                check=check, logs=logs,
            )  # fmt: skip
    run.model.requires_grad_(False)
    run.model.eval()
    save_trained(run.model, folder / "model")
    return run


def quarantine(folder: Path, stage: Stage, bad: Sequence[str], console: Console) -> None:
    """Write down which samples a stage leaves out, and why; a later sitting finds the same and writes them anew."""
    if bad:
        path = folder / "quarantine" / f"{stage.name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps({"reason": reason}) + "\n" for reason in bad), encoding="utf-8")
        console.print(f"{len(bad):,} samples are left out, with their reasons in {path}", markup=False)


def _claim(recipe: Recipe, folder: Path, resume: bool, console: Console) -> None:
    """Write the recipe into the run's folder, or see that the one there is the same."""
    path, text = folder / "recipe.json", recipe.model_dump_json(indent=1)
    if path.exists() and not resume:
        raise BadRecipe(f"{folder} holds a run already. Go on with --resume, or choose another folder with --out")
    if resume and not path.exists():
        console.print(f"nothing to resume in {folder}: starting there", markup=False, highlight=False)
    if path.exists() and (before := path.read_text(encoding="utf-8")) != text:
        changes = "; ".join(differences(json.loads(before), json.loads(text)))
        raise BadRecipe(
            f"{folder} was begun with another recipe ({path}): {changes}. Resume with that, or choose another --out"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(folder).free) < ROOM:
            raise BadRecipe(f"{folder}: {free / 1e6:,.0f} MB free, a run needs {ROOM / 1e6:,.0f}. Choose another --out")
        (new := path.with_suffix(".new")).write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise IsthmusError(f"{folder} cannot hold a run: {error}. Choose another folder with --out") from error


def differences(before: Any, after: Any, where: str = "") -> list[str]:
    """What differs between two recipes, by dotted keys.

    >>> differences({"seed": 0, "stages": [{"steps": 40}]}, {"seed": 0, "stages": [{"steps": 50}, {}]})
    ['stages.0.steps was 40 and is 50', 'stages.1 was not there']
    """
    if before == after:
        return []
    pairs: list[tuple[Any, Any, Any]] = []
    if isinstance(before, dict) and isinstance(after, dict):
        pairs = [(key, before.get(key, ...), after.get(key, ...)) for key in before | after]
    elif isinstance(before, list) and isinstance(after, list):
        pairs = [(i, old, new) for i, (old, new) in enumerate(itertools.zip_longest(before, after, fillvalue=...))]
    if pairs:
        return [what for key, old, new in pairs for what in differences(old, new, f"{where}.{key}".lstrip("."))]
    if before is ... or after is ...:
        return [f"{where} was not there" if before is ... else f"{where} is not there"]
    return [f"{where} was {before} and is {after}"]


def group(model: Any, where: str, how: float | Lora) -> dict[str, Any]:
    """AdamW's parameter group of one trained part: all its weights, with its buffers beside them, or its adapter's.

    Raises `BadRecipe` for a part that does not exist, or an adapter of another size than the one that an earlier stage
    put there.
    """
    module = part(model, where)
    if isinstance(how, Lora):
        wanted = {"r": how.lora, "alpha": how.lora * how.scale}
        if where not in model.config.adapters:
            add_lora(model, where, how.lora, how.lora * how.scale)
        if (there := model.config.adapters[where]) != wanted:
            raise BadRecipe(f"train: {where} has the adapter {there} of an earlier stage, not {wanted}; keep one size")
        adapter = [weight for name, weight in module.named_parameters() if ".lora_" in name]
        return {"name": where, "params": [weight.requires_grad_(True) for weight in adapter], "lr": how.lr}
    stored = module.state_dict().keys()
    buffers = [buffer for name, buffer in module.named_buffers() if name in stored]
    return {"name": where, "params": unfreeze(model, where), "lr": how, "buffers": buffers}


def objective(run: Run, stage: Stage, samples: Sequence[Sample], some: Callable[[int], Seen]) -> Any:
    """The stage's objective for these samples; `some` gives what so many of them show."""
    build = find("isthmus.train.objectives", stage.objective).Objective
    return build(run.model, run.processor, samples, some, **checked(build.__init__, OBJECTIVE, stage.options))


def held_out(run: Run, stage: Stage, goal: Any, seed: int, console: Console) -> Callable[[], float] | None:
    """What gives the objective's loss on the samples that the stage is checked on; None where it is not."""
    if (held := stage.check) is None:
        return None
    samples = load_split(held.data, held.split, held.count, held.options, seed + 1)
    mixture = mixed(run, stage, samples, [Mix()] * len(samples), console=console)
    weigh = getattr(goal, "weigh", len)

    @torch.no_grad()
    def loss() -> float:
        run.model.eval()
        total = weight = 0.0
        for start in range(0, len(samples), stage.batch):
            some, seen = mixture.batch(range(start, min(start + stage.batch, len(samples))), random.Random(start))
            total += goal(some, seen)[0].item() * weigh(some)
            weight += weigh(some)
        run.model.train()
        return total / weight

    return loss


def helpers(goal: Any, groups: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """AdamW's groups of what an objective trains beside parts, at their rates, and throws away at the stage's end."""
    own = getattr(goal, "own", {})
    return [
        {"name": f"what helps {one['name']}", "params": own[one["name"]], "lr": one["lr"]}
        for one in groups
        if one["name"] in own
    ]


def raw(stage: Stage) -> bool:
    """Whether a stage's objective takes media as they are prepared, in place of features."""
    return getattr(find("isthmus.train.objectives", stage.objective), "RAW", False)


def learning(stage: Stage) -> set[str]:
    """The kinds of media whose encoder a stage trains, so that no features can be kept."""
    return {where.removesuffix(".encoder") for where in stage.train if where.endswith(".encoder")}


def mixed(
    run: Run,
    stage: Stage,
    samples: Sequence[Sample],
    mixes: list[Mix],
    *,
    altered: Collection[str] = (),
    before: Mixture | None = None,
    console: Console | None = None,
) -> Mixture:
    """A stage's data: features of encoders that stay as they are, and a way to make those of encoders that learn.

    Args:
        altered: kinds of media whose features shall not be kept either.
        before: of the stage before. Where it has these features already, they are not read again.
    """
    kinds = {medium.kind for sample in samples for medium in sample.media}
    fresh = kinds if raw(stage) else kinds & {*learning(stage), *altered}
    if not fresh and before is not None and before.encode is None and before.samples == samples:
        return Mixture(samples, mixes, before.features)
    bad: dict[int, str] = {}
    try:
        kept = features(run, samples, console=console, without=fresh, bad=bad) if not fresh or kinds - fresh else None
    except TooLarge as error:
        (console or Console(stderr=True)).print(f"{error}. Until then, every step encodes its media anew", markup=False)
        kept, fresh = None, kinds
    if bad:
        samples, mixes = without(samples, mixes, bad)
    make = functools.partial(prepared if raw(stage) else encode, run) if fresh else None
    return Mixture(samples, mixes, kept, make, list(bad.values()))


def encode(run: Run, samples: Sequence[Sample], learns: bool = False) -> Seen:
    """What the samples show, encoded anew; without `learns`, dropout is off.

    Raises `BadMedia` for a medium that cannot be decoded.
    """
    for encoder in run.model.encoders.values():
        _mode(encoder, learns and run.model.training)
    seen = prepared(run, samples)
    store = {kind: run.model.encode(kind, media, seen.valid.get(kind)) for kind, media in seen.store.items()}
    return dataclasses.replace(seen, store=store)


def prepared(run: Run, samples: Sequence[Sample], learns: bool = False) -> Seen:
    """What the samples show as it is prepared for encoders, in place of features.

    Raises `BadMedia` for a medium that cannot be decoded.
    """
    try:
        inputs, slots = run.processor.prepare([medium for sample in samples for medium in sample.media])
    except BadMedia:
        for sample in samples:
            with _of(sample):
                run.processor.prepare(list(sample.media))
        raise
    store, each = inputs.get("media", {}), iter(slots)
    row = {kind: itertools.count() for kind in store}
    pieces = ([(kind, next(row[kind]), count) for kind, count in some] for some in each)
    rows = [[next(pieces) for _ in sample.media] for sample in samples]
    return Seen(store, inputs.get("valid", {}), rows)


def _arrays(run: Run, sample: Sample, medium: Medium) -> Any:
    with _of(sample):
        return run.processor.arrays(medium)


@contextmanager
def _of(sample: Sample) -> Iterator[None]:
    """Any `BadMedia` that is raised inside names the sample."""
    try:
        yield
    except BadMedia as error:
        raise BadMedia(f"sample {sample.id}: {error}") from error


def _mode(encoder: Any, learns: bool) -> None:
    """Training mode for an encoder that learns. What is frozen stays as it is, batch statistics too: of an encoder
    all of it, under an adapter its batch norms."""
    learning = {".lora_" in name for name, weight in encoder.named_parameters() if weight.requires_grad}
    encoder.train(learns and bool(learning))
    if learning == {True}:
        for module in encoder.modules():
            if isinstance(module, _NormBase):
                module.eval()


@torch.no_grad()
def features(
    run: Run,
    samples: Sequence[Sample],
    note: str = "features",
    console: Console | None = None,
    without: Collection[str] = (),
    bad: dict[int, str] | None = None,
) -> Seen:
    """What the samples show, as float16, from the cache where it is there.

    A medium of the kinds `without` is one piece that stands for what is made of it later (`Seen.filled`).

    Raises `BadMedia` for a medium that cannot be decoded. With `bad`, its sample is left out instead, and its place and
    the reason are put there.
    """
    run.model.eval()
    store: dict[str, Tensor | Rows] = {}
    valid: dict[str, Tensor] = {}
    rows: dict[str, dict[int, list[list[Piece]]]] = {}
    kinds = dict.fromkeys(medium.kind for sample in samples for medium in sample.media)
    for kind in (kind for kind in kinds if kind not in without):
        count = sum(medium.kind == kind for sample in samples for medium in sample.media)
        title = note if len(kinds) == 1 else f"{note}, {kind}"
        media = ((i, sample, m) for i, sample in enumerate(samples) for m in sample.media if m.kind == kind)
        shown = track(media, f"{title:>12}", total=count, disable=count < 128, console=console)
        owners: list[int] = []
        with closing(FeatureCache(cache.root() / "features", fingerprint(run, kind))) as kept:
            arrays = _good(run, shown, owners, bad)
            store[kind], lengths, pieces = kept.get(arrays, count, functools.partial(_encode, run, kind))
        valid |= {} if lengths is None else {kind: lengths}
        slots = run.processor.counts(kind, len(store[kind]), lengths)
        rows[kind] = {}
        for owner, some in zip(owners, pieces, strict=True):
            rows[kind].setdefault(owner, []).append([(kind, row, slots[row]) for row in some])
    each = []
    for i, sample in enumerate(samples):
        if not bad or i not in bad:
            mine = {kind: iter(own.get(i, ())) for kind, own in rows.items()}
            each.append([next(mine[m.kind]) if m.kind in mine else [(m.kind, 0, 0)] for m in sample.media])
    return Seen(store, valid, each)


def _good(
    run: Run, media: Iterable[tuple[int, Sample, Medium]], owners: list[int], bad: dict[int, str] | None
) -> Iterator[Any]:
    """The arrays of media that can be decoded; `owners` are the places of their samples."""
    for place, sample, medium in media:
        try:
            arrays = _arrays(run, sample, medium)
        except BadMedia as error:
            if bad is None:
                raise
            bad[place] = str(error)
        else:
            owners.append(place)
            yield arrays


def _encode(run: Run, kind: str, arrays: list[Any]) -> tuple[Tensor, Tensor | None]:
    values, valid = run.processor.stack(kind, arrays)
    return run.model.encode(kind, values, valid), valid


def fingerprint(run: Run, kind: str) -> str:
    """What features depend on: the encoder, its configuration and weights, and what is done to a medium before it."""
    config, processor = run.model.config, run.processor
    own = getattr(config, f"{kind}_config")
    made = {key: value for key, value in own.to_dict().items() if key not in NO_MATTER}
    reader = processor.image_processor if kind == "image" else processor.readers[kind]
    facts = [config.encoders[kind], made, config.adapters.get(f"{kind}.encoder"), reader.to_dict()]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for name, tensor in sorted(run.model.encoders[kind].state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy())
    return digest.hexdigest()
