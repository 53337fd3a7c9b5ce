"""The pre-flight of `isthmus check`: everything about a recipe that can be known without training it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from rich.console import Console
from rich.text import Text
from torch import Tensor

from isthmus.connectors._sight import layers
from isthmus.data.packing import Row, Template, pack
from isthmus.data.seen import Seen
from isthmus.errors import MergeError
from isthmus.model import describe
from isthmus.model.quantize import nbytes
from isthmus.train.execution import execution
from isthmus.train.features import mixed
from isthmus.train.loop import all_learn
from isthmus.train.mixture import Mixture, read_data
from isthmus.train.order import order
from isthmus.train.recipe import Mix, Recipe, Stage
from isthmus.train.setup import Run, composed, helpers, learning, objective, raw, trained
from isthmus.types import IGNORE_INDEX, Sample

LIBRARIES = 0.45e9  # bytes: Python with torch and transformers, measured
NAMES = {"image": "images", "audio": "sounds", "video": "clips", "points": "clouds"}  # pieces of a kind
BACKWARD = 1.5  # memory of a backward pass, and what the allocator does not give back, over the activations


def check(recipe: Recipe, console: Console) -> None:
    """Compose the parts and print, for each stage, its data, a sample with its supervised part, sizes and memory.

    One batch goes forward, and a sample of each kind of media that it lacks, so that placeholders and soft tokens are
    counted and not computed; nothing is trained or written but these samples' features, which the run will find in the
    cache.

    The memory of a stage is the sum of: weights (parameters and buffers as they are stored), gradients (as many bytes
    as what is trained), moments (twice as many: AdamW keeps two in fp32), activations (what autograd keeps for the
    backward pass of the batch with the most turns, counted by its saved-tensor hooks, shared storage once), the
    backward pass itself (`BACKWARD` times the activations, an empirical factor), features in fp16, and the libraries.
    Compared once with the peak resident memory of a run, recipe `demo` on CPU: stage instruct with batch 2, 1.83 GB
    estimated and 1.87 measured; with batch 8, 3.8 estimated and 3.83 measured. `BACKWARD` was fitted to these two, so
    elsewhere expect errors of some ten per cent.

    Raises:
        BadRecipe, BadData, BadMedia, UnknownName, PartUnavailable: whatever would stop the run at its start.
        MergeError: when placeholders and soft tokens differ in number.
    """
    data = read_data(recipe)
    run = composed(recipe)
    console.print(describe(run.model), markup=False, highlight=False, soft_wrap=True)
    for number, (stage, (samples, mixes)) in enumerate(zip(recipe.stages, data, strict=True), 1):
        minutes = f", at most {stage.minutes:g} minutes" if stage.minutes else ""
        console.print(f"\n[bold]stage {number} of {len(recipe.stages)}: {stage.name}[/]", highlight=False)
        _say(console, "does", f"{stage.objective}, {stage.steps} steps of {stage.batch} samples{minutes}")
        _say(console, "data", "; ".join(_counts(stage, mixes)))
        mixture = Mixture(samples, mixes)
        _stage(run, stage, mixture, recipe.seed, console)


def _stage(run: Run, stage: Stage, mixture: Mixture, seed: int, console: Console) -> None:
    model, groups = run.model, trained(run, stage)
    counts = {part["name"]: sum(weight.numel() for weight in part["params"]) for part in groups}
    rates = {part["name"]: part["lr"] for part in groups}
    _say(console, "trains", "; ".join(f"{name}: {n:,} parameters at {rates[name]:g}" for name, n in counts.items()))
    batches, lengths = order(mixture, stage, seed), mixture.lengths
    epoch = range(-(-len(lengths) // stage.batch))
    largest = max((batches[step] for step in epoch), key=lambda batch: sum(lengths[i] for i in batch))
    largest = [*largest, *_new(mixture.samples, [mixture.samples[i] for i in largest])]
    changed = {*model.config.adapters, *model.config.trained}  # by this stage or before: features are not to be kept
    some = [mixture.samples[i] for i in largest], [mixture.mixes[i] for i in largest]
    little = mixed(run, stage, *some, altered={where.removesuffix(".encoder") for where in changed})
    batch, seen = little.pick(range(len(largest)), random.Random(seed)), little.some(len(largest))
    rows = [pack(sample, run.processor.template, seen.media(place)) for place, sample in enumerate(batch)]
    if not raw(stage):
        _say(console, "merge", _merged(run, rows, seen))
    goal = objective(run, stage, mixture.samples, lambda count: seen)
    groups += helpers(goal, groups)
    model.train()
    with execution(model, stage.model_copy(update={"compile": False})):
        if stage.activation_checkpointing:  # one layer is run again at a time; the first is kept whole in its stead
            layers(model.llm)[0].gradient_checkpointing = False  # type: ignore[assignment]
        with activations(model) as kept:
            loss, tokens = goal(*little.batch(range(len(largest)), random.Random(seed)))
        reached = torch.autograd.grad(loss, [w for part in groups for w in part["params"]], allow_unused=True)
    gradients = iter(reached)
    all_learn(stage, {part["name"]: [next(gradients) for _ in part["params"]] for part in groups})
    if tokens == sum(len(row.ids) for row in rows):  # the objective reads these rows
        for place in _new(batch) or [0]:  # one of each kind
            console.print(marked(rows[place], run.processor.template), soft_wrap=True)
        _say(console, "tokens", f"{tokens:,} a step at most, {_supervised(rows):,} of them supervised")
    else:
        what = "media" if raw(stage) else "soft tokens"
        _say(console, "tokens", f"{tokens:,} {what} a step; no text goes through the LLM")
    _say(console, "loss", f"{loss.item():.3f} on this batch, before training")
    weights = nbytes(model)
    learned = sum(w.numel() * w.element_size() for part in groups for w in part["params"])
    still = set() if raw(stage) else {*seen.store} - learning(stage)  # kinds whose features are kept
    own = sum(seen.store[kind].numel() * 2 for kind in still)  # as float16
    stored = own * len(mixture.samples) // len(batch)
    facts = {"weights": weights, "gradients": learned, "moments": 2 * learned, "activations": sum(kept.values())}
    facts |= {"backward": BACKWARD * facts["activations"], "features": stored, "libraries": LIBRARIES}
    parts = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in facts.items())
    _say(console, "memory", f"about {sum(facts.values()) / 1e9:.1f} GB ({parts})")


def _new(samples: Sequence[Sample], met: Iterable[Sample] = ()) -> list[int]:
    """Which of the samples are the first to show a kind of media that those `met` and the ones before do not."""
    known, found = {medium.kind for sample in met for medium in sample.media}, []
    for place, sample in enumerate(samples):
        if not known.issuperset(kinds := {medium.kind for medium in sample.media}):
            known |= kinds
            found.append(place)
    return found


def marked(row: Row, template: Template) -> Text:
    """The tokens of a row, separated by spaces: [ supervised ] in bold green, media as <image>x16, a space inside a
    token as a middle dot and a new line as an arrow."""
    text, inside = Text("    sample   "), False
    kinds = {token: kind for kind, token in template.placeholders.items()}
    for start, end in _runs(row, kinds):
        token, learned = row.ids[start], row.labels[start] != IGNORE_INDEX
        if learned != inside:
            text.append("[ " if learned else "] ", style="bold")
            inside = learned
        if token in kinds:
            text.append(f"<{kinds[token]}>x{end - start} ", style="cyan")
            continue
        piece = template.tokenizer.decode([token]).replace(" ", "\u00b7").replace("\n", "\u21b5")
        text.append(f"{piece} ", style="bold green" if learned else "dim")
    return text.append("]" if inside else "", style="bold")


def _runs(row: Row, kinds: dict[int, str]) -> Iterator[tuple[int, int]]:
    """Each token as (start, end), but a run of one placeholder at once."""
    start = 0
    for end in range(1, len(row.ids) + 1):
        if end == len(row.ids) or row.ids[start] not in kinds or row.ids[end] != row.ids[start]:
            yield start, end
            start = end


def _merged(run: Run, rows: Sequence[Row], seen: Seen) -> str:
    """Placeholders in the text and soft tokens out of the connectors, which must agree for each kind of media."""
    run.model.eval()
    said = []
    for kind in seen.kinds:
        features, valid = seen.features(kind)
        mask, keep = run.model.real(kind, features.shape[1], valid)
        _, owners = seen.places(kind)
        read = run.processor.texts((kind, rows[owner].sample.turns[0].question) for owner in owners)
        with torch.no_grad():
            soft = run.model.connectors[kind](features, read.get("texts", {}).get(kind), mask)
        slots = sum(row.ids.count(run.processor.placeholders[kind]) for row in rows)
        made = soft.shape[0] * soft.shape[1] if keep is None else int(keep.sum())
        each = f"{soft.shape[0]} {NAMES.get(kind, kind)} x {'at most ' if keep is not None else ''}{soft.shape[1]}"
        if slots != made:
            raise MergeError(f"{kind}: {slots} placeholders in the text, {made} soft tokens ({each})")
        said.append(f"{slots} placeholders = {made} soft tokens ({each}, D={soft.shape[2]})")
    return "; ".join(said) or "no media"


@contextmanager
def activations(model: Any) -> Iterator[dict[int, int]]:
    """Storage -> bytes that autograd keeps for a backward pass inside the block, weights apart."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield kept


def _supervised(rows: Sequence[Row]) -> int:
    return sum(label != IGNORE_INDEX for row in rows for label in row.labels)


def _counts(stage: Stage, mixes: Sequence[Mix]) -> Iterator[str]:
    for name, mix in stage.data.items():
        yield f"{name}: {sum(one is mix for one in mixes):,} samples"


def _say(console: Console, title: str, text: str) -> None:
    console.print(f"    {title:<9}{text}", markup=False, highlight=False, soft_wrap=True)
