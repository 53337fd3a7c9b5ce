"""What encoders make of a stage's media: once for those that stay as they are, in every step for those that learn."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import send_to_device
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from isthmus.data.features import FeatureCache, Source, TooLarge
from isthmus.data.seen import Piece, Seen
from isthmus.data.shards import Rows
from isthmus.errors import BadMedia
from isthmus.parts import cache
from isthmus.train.mixture import Mixture, kinds, without
from isthmus.train.recipe import Mix, Stage
from isthmus.train.setup import Run, learning, raw
from isthmus.train.tried import tried
from isthmus.train.world import ALONE, World
from isthmus.types import Medium, Sample, Slice

READING = 1
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
    world: World = ALONE,
) -> Mixture:
    """A stage's data: features of encoders that stay as they are, and a way to make those of encoders that learn.

    Args:
        altered: kinds of media whose features shall not be kept either.
        before: of the stage before. Where it has these features already, they are not read again.
        world: the processes that encode a share each, and find the others' in the cache.
    """
    shown = kinds(samples)
    fresh = shown if raw(stage) else shown & {*learning(stage), *altered}
    if not fresh and before is not None and before.prepare is None and before.samples == samples:
        return Mixture(samples, mixes, before.features)
    bad: dict[int, str] = {}
    if world.size > 1 and (not fresh or shown - fresh):
        with suppress(TooLarge):
            mine = Every(samples, world.rank, world.size)
            features(run, mine, console=console, without=fresh, bad={})
        world.wait()
    try:
        kept = features(run, samples, console=console, without=fresh, bad=bad) if not fresh or shown - fresh else None
        lost = ""
    except TooLarge as error:
        kept, lost = None, str(error)
    if world.sum(bool(lost))[0]:  # for one process, so for all
        lost = f"{lost or 'features do not fit for another process'}. Until then, every step encodes its media anew"
        (console or Console(stderr=True)).print(lost, markup=False)
        kept, fresh, bad = None, shown, {}
    digest = tried(run.processor, samples, fresh, bad, console) if fresh else ""
    if bad:
        samples, mixes = without(samples, mixes, bad)
    prepare = functools.partial(prepared, run) if fresh else None
    encoders = functools.partial(encoded, run) if fresh and not raw(stage) else None
    return Mixture(samples, mixes, kept, prepare, encoders, list(bad.values()), digest)


class Every(Sequence[Sample]):
    """Every n-th sample of a sequence from the k-th on, read when it is asked for."""

    def __init__(self, samples: Sequence[Sample], start: int, step: int) -> None:
        self.samples, self.places = samples, range(start, len(samples), step)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, place: Any) -> Any:
        return self.samples[self.places[place]]


def encode(run: Run, samples: Sequence[Sample], learns: bool = False) -> Seen:
    """What the samples show, encoded anew; without `learns`, dropout is off.

    Raises `BadMedia` for a medium that cannot be decoded.
    """
    return encoded(run, prepared(run, samples), learns)


def encoded(run: Run, media: Seen, learns: bool = False) -> Seen:
    """Features of media that are `prepared`; without `learns`, dropout is off."""
    for encoder in run.model.encoders.values():
        _mode(encoder, learns and run.model.training)
    store = {}
    for kind, prepared_media in media.store.items():
        own = send_to_device((prepared_media, media.valid.get(kind)), _device(run, kind))
        store[kind] = run.model.encode(kind, *own)
    return dataclasses.replace(media, store=store)


def prepared(run: Run, samples: Sequence[Sample]) -> Seen:
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
    note_bad = None if bad is None else bad.__setitem__
    media = [sample.media for sample in samples]  # once: of a large set, each sample is read from its file
    count = Counter(medium.kind for own in media for medium in own)
    for kind in (kind for kind in count if kind not in without):
        title = note if len(count) == 1 else f"{note}, {kind}"
        owners = [i for i, own in enumerate(media) for m in own if m.kind == kind]
        some = (
            source(run, functools.partial(samples.__getitem__, i), m, note_bad and functools.partial(note_bad, i))
            for i, own in enumerate(media)
            for m in own
            if m.kind == kind
        )
        shown = track(some, f"{title:>12}", total=count[kind], disable=count[kind] < 128, console=console)
        with closing(FeatureCache(cache.root() / "features", fingerprint(run, kind))) as kept:
            encode = functools.partial(encode_arrays, run, kind)
            store[kind], lengths, pieces = kept.get(shown, count[kind], encode)
        valid |= {} if lengths is None else {kind: lengths}
        slots = run.processor.counts(kind, len(store[kind]), lengths)
        rows[kind] = {}
        for owner, own in zip(owners, pieces, strict=True):
            if own is not None:
                rows[kind].setdefault(owner, []).append([(kind, row, slots[row]) for row in own])
    each = []
    for i, shown_here in enumerate(media):
        if not bad or i not in bad:
            mine = {kind: iter(own.get(i, ())) for kind, own in rows.items()}
            each.append([next(mine[m.kind]) if m.kind in mine else [(m.kind, 0, 0)] for m in shown_here])
    return Seen(store, valid, each)


def _device(run: Run, kind: str) -> torch.device:
    """Where an encoder computes; an LLM that is to be divided may not be there yet."""
    device: torch.device = next(run.model.encoders[kind].parameters()).device
    return device


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
        digest.update(tensor.contiguous().cpu().numpy())
    return digest.hexdigest()


def source(
    run: Run, sample: Callable[[], Sample], medium: Medium, failed: Callable[[str], None] | None = None
) -> Source:
    """A sample's medium for the cache, which reads it where it must.

    Args:
        failed: told why it cannot be decoded, and then it is left out; by default that is raised as `BadMedia`.
    """

    def read() -> Any:
        try:
            return arrays_of(run, sample(), medium)
        except BadMedia as error:
            if failed is None:
                raise
            failed(str(error))
            return None

    return Source(_name(medium), read)


def _name(medium: Medium) -> str:
    """What tells a medium from every other one without its being read, as far as its file's size and time tell it.

    `READING` is counted up when what is decoded of a file changes.

    Empty for one that is made: its code may change.
    """
    source: Any = medium.source
    if isinstance(source, bytes):
        place = hashlib.sha256(source).hexdigest()
    elif isinstance(source, str | Path | Slice):
        path, *span = dataclasses.astuple(source) if isinstance(source, Slice) else (source,)
        try:
            facts = os.stat(path)
        except OSError:  # told when it is read
            return ""
        place = repr((os.path.abspath(path), facts.st_size, facts.st_mtime_ns, *span))
    else:
        return ""
    return repr((READING, place, dataclasses.replace(medium, source=b"")))


def arrays_of(run: Run, sample: Sample, medium: Medium) -> Any:
    """What the medium's encoder is given of it. Raises `BadMedia`, naming the sample."""
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


def encode_arrays(run: Run, kind: str, arrays: list[Any]) -> tuple[Tensor, Tensor | None]:
    """Features [K, N, D] of pieces of media, and how many units of each are real [K], where that matters."""
    values, valid = send_to_device(run.processor.stack(kind, arrays), _device(run, kind))
    made: Tensor = run.model.encode(kind, values, valid)
    return made.cpu(), None if valid is None else valid.cpu()
