"""What encoders make of a stage's media: once for those that stay as they are, in every step for those that learn."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from isthmus.data.features import FeatureCache, TooLarge
from isthmus.data.seen import Piece, Seen
from isthmus.data.shards import Rows
from isthmus.errors import BadMedia
from isthmus.parts import cache
from isthmus.train.mixture import Mixture, without
from isthmus.train.recipe import Mix, Stage
from isthmus.train.setup import Run, learning, raw
from isthmus.train.tried import tried
from isthmus.types import Medium, Sample

NO_MATTER = ("transformers_version", "_name_or_path", "architectures", "dtype")  # features do not depend on these


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
    digest = tried(run.processor, samples, fresh, bad, console) if fresh else ""
    if bad:
        samples, mixes = without(samples, mixes, bad)
    make = functools.partial(prepared if raw(stage) else encode, run) if fresh else None
    return Mixture(samples, mixes, kept, make, list(bad.values()), digest)


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


def _encode(run: Run, kind: str, arrays: list[Any]) -> tuple[Tensor, Tensor | None]:
    values, valid = run.processor.stack(kind, arrays)
    return run.model.encode(kind, values, valid), valid
