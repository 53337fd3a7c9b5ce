"""A stage's data: samples of several sets, their features, and the turns that a step shows."""

from __future__ import annotations

import bisect
import dataclasses
import hashlib
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from isthmus import model_folder
from isthmus.data.features import BATCH
from isthmus.data.index import TOLERATE, Chosen, Index
from isthmus.data.seen import Seen, spread
from isthmus.data.shards import Rows
from isthmus.data.sources import load_split
from isthmus.errors import BadData, BadMedia, BadRecipe
from isthmus.registry import miss
from isthmus.train.recipe import Check, Mix, Parts, Recipe, Stage
from isthmus.train.tried import stands_for
from isthmus.types import Medium, Sample

__all__ = ["Mixture", "check_benchmarks", "load_split", "pick", "read_data", "stage_samples"]

LOOK = 200  # samples in which every kind of question of a data set is met


@dataclass
class Mixture:
    """Samples, for each its `Mix`, and what encoders make of their media.

    Frozen encoders' `features` were computed once. One that learns has none to keep: `prepare` makes a batch's media of
    its kind anew in every step, and gradients reach the encoder through what `encode` returns.
    """

    samples: Sequence[Sample]
    mixes: list[Mix]
    features: Seen | None = None
    prepare: Callable[[Sequence[Sample]], Seen] | None = None  # samples -> their media as encoders take them
    encode: Callable[[Seen, bool], Seen] | None = None  # these, and whether encoders learn -> features
    bad: list[str] = dataclasses.field(default_factory=list)  # why samples were left out, one by one
    tried: str = ""  # the digest of the media to be encoded, where they were decoded already (`train.tried`)

    @property
    def lengths(self) -> list[int]:
        """What a sample costs, roughly: its turns, and what an index of files knows of their length.

        Samples of like length share a batch.
        """
        found: list[int] = []
        for own in _sets(self.samples):
            known = getattr(own, "lengths", None)
            found += [len(sample.turns) for sample in own] if known is None else known.tolist()
        return [min(length, mix.turns or length) for length, mix in zip(found, self.mixes, strict=True)]

    @property
    def spans(self) -> list[tuple[Mix, int]]:
        """Each data set's `Mix`, and how many samples it has."""
        groups = ((next(same), 1 + sum(1 for _ in same)) for _, same in itertools.groupby(self.mixes, key=id))
        return [(mix, count) for mix, count in groups]

    @property
    def digest(self) -> str:
        """Stands for the samples, their order and their features: a resumed stage must find the same.

        Features tell of media, preprocessing and encoder alike, and cost a tenth of a second for 1,800 pictures.
        Without them, the media themselves stand for these, or what describes a made one in full.
        """
        facts = [
            getattr(own, "digest", None) or [(s.id, s.turns, s.chained, s.system) for s in own]
            for own in _sets(self.samples)
        ]
        left = kinds(self.samples) - (set() if self.features is None else self.features.store.keys())
        media: list[Any] = [self.tried] if self.tried else []
        if left and not self.tried:
            media = [stands_for(medium) for sample in self.samples for medium in self._left(sample)]
        if self.features is None:
            return hashlib.sha256(repr((facts, media)).encode()).hexdigest()
        shapes = [(kind, own.shape, own.dtype) for kind, own in self.features.store.items()]
        digest = hashlib.sha256(repr((facts, self.features.rows, shapes, *media)).encode())
        for own in (*self.features.store.values(), *self.features.valid.values()):
            digest.update(own.digest.encode() if isinstance(own, Rows) else own.contiguous().numpy().data)
        return digest.hexdigest()

    def batch(self, indices: Sequence[int], rng: random.Random) -> tuple[list[Sample], Seen]:
        """The samples with the turns of this step, and what they show."""
        return self.pick(indices, rng), self.made(self.take(indices), learns=True)

    @torch.no_grad()
    def some(self, count: int) -> Seen:
        """What `count` samples show (all, if there are not as many), evenly spread."""
        chosen = spread(count, len(self.samples))
        parts = range(0, len(chosen), BATCH) if self.prepare else [0]
        size = BATCH if self.prepare else len(chosen)
        return Seen.joined([self.made(self.take(chosen[i : i + size]), learns=False) for i in parts])

    def take(self, indices: Sequence[int]) -> Seen:
        """What samples show, read and prepared but not encoded: nothing that depends on what is being learned."""
        kept = None if self.features is None else self.features[indices].taken()
        if self.prepare is None:
            assert kept is not None, "a mixture has features or a way to make them"
            return kept
        samples = [self.samples[i] for i in indices]
        if kept is None:
            return self.prepare(samples)
        return kept.filled(self.prepare([Sample(s.id, (medium,), ()) for s in samples for medium in self._left(s)]))

    def made(self, taken: Seen, learns: bool) -> Seen:
        """The same, with features for what was prepared."""
        if self.encode is None:
            return taken
        known = () if self.features is None else self.features.store
        fresh = {kind: media for kind, media in taken.store.items() if kind not in known}
        encoded = self.encode(Seen(fresh, taken.valid, taken.rows), learns)
        return dataclasses.replace(taken, store={**taken.store, **encoded.store})

    def _left(self, sample: Sample) -> list[Medium]:
        """The media of a sample that no features are kept of."""
        return [m for m in sample.media if self.features is None or m.kind not in self.features.store]

    def pick(self, indices: Sequence[int], rng: random.Random) -> list[Sample]:
        """The samples with the turns of this step."""
        return [pick(self.samples[i], self.mixes[i].turns, self.mixes[i].first, rng) for i in indices]


def pick(sample: Sample, turns: int, first: bool, rng: random.Random) -> Sample:
    """The sample with `turns` of its turns (0: all), drawn anew for every step; `first` always keeps the first one.

    A conversation, whose turns are chained, is taken whole.
    """
    chosen = list(sample.turns)
    if turns and turns < len(chosen) and not sample.chained:
        kept = chosen[:1] if first else []
        chosen = kept + rng.sample(chosen[len(kept) :], turns - len(kept))
    return dataclasses.replace(sample, turns=tuple(chosen))


class Joined(Sequence[Sample]):
    """The samples of several data sets one after another; those of files are read when they are asked for."""

    def __init__(self, sets: Sequence[Sequence[Sample]]) -> None:
        self.sets = list(sets)
        self._ends = list(itertools.accumulate(map(len, self.sets)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        place %= len(self)
        own = bisect.bisect_right(self._ends, place)
        return self.sets[own][place - (self._ends[own - 1] if own else 0)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Joined) and self.sets == other.sets


def _sets(samples: Sequence[Sample]) -> list[Sequence[Sample]]:
    return samples.sets if isinstance(samples, Joined) else [samples]


def kinds(samples: Sequence[Sample]) -> set[str]:
    """The kinds of media that samples have; of chosen samples of files, those of all of them."""
    found: set[str] = set()
    for own in _sets(samples):
        known = getattr(own, "kinds", None)
        found |= {medium.kind for sample in own for medium in sample.media} if known is None else known
    return found


def longer(samples: Sequence[Sample], limit: int) -> Iterator[Sample]:
    """The samples of more bytes of text than `limit` (`Sample.text_bytes`)."""
    for own in _sets(samples):
        if getattr(own, "longest", limit + 1) > limit:
            yield from (sample for sample in own if sample.text_bytes > limit)


def without(samples: Sequence[Sample], mixes: list[Mix], bad: Mapping[int, str]) -> tuple[Sequence[Sample], list[Mix]]:
    """The samples but for those at the `bad` places.

    Raises `BadMedia` with the first reasons when of a data set more are bad than it tolerates (`data.index.load`); of
    any but files of samples, that is one.
    """
    sets: list[Sequence[Sample]] = []
    start = 0
    for own in _sets(samples):
        places = [i for i in range(len(own)) if start + i not in bad]
        lost, files = len(own) - len(places), isinstance(own, Index | Chosen)
        share = float(mixes[start].options.get("tolerate", TOLERATE)) if files else 0.0
        if lost > share * len(own):
            reasons = "; ".join([bad[i] for i in range(start, start + len(own)) if i in bad][:3])
            more = f"{lost:,} of {len(own):,} samples cannot be used, {share:.1%} are tolerated. " if files else ""
            raise BadMedia(more + reasons)
        if lost and isinstance(own, Index | Chosen):
            own = Chosen(own, np.array(places))
        sets.append(own)
        start += len(places) + lost
    return Joined(sets), [mix for i, mix in enumerate(mixes) if i not in bad]


def stage_samples(stage: Stage, seed: int) -> tuple[Sequence[Sample], list[Mix]]:
    """The samples of every data set of a stage, and the `Mix` that each belongs to."""
    sets = [load_split(name, "train", mix.count, mix.options, seed) for name, mix in stage.data.items()]
    mixes = [mix for mix, some in zip(stage.data.values(), sets, strict=True) for mix in [mix] * len(some)]
    return Joined(sets), mixes


def read_data(recipe: Recipe) -> list[tuple[Sequence[Sample], list[Mix]]]:
    """The samples of every stage, as `stage_samples` gives them; those of the benchmarks are tried too.

    Raises `BadRecipe` and `BadData` for whatever would stop the run at its start, such as media that the model does not
    take, and `UnknownName` for a start that is not there.
    """
    if recipe.start is not None:
        model_folder(recipe.start)
    data = [stage_samples(stage, recipe.seed) for stage in recipe.stages]
    for stage, (samples, _) in zip(recipe.stages, data, strict=True):
        _takes(recipe.model, stage.name, samples)
    check_benchmarks(recipe.evaluate, recipe.seed, recipe.model)
    return data


def _takes(model: Parts, title: str, samples: Sequence[Sample]) -> None:
    if kinds(samples) <= model.senses.keys():
        return
    for sample in samples:
        if unknown := {medium.kind for medium in sample.media} - model.senses.keys():
            takes = ", ".join(model.senses) or "no media"
            raise BadRecipe(f"{title}: sample {sample.id} holds {', '.join(unknown)}, and the model takes {takes}")


def check_benchmarks(checks: Mapping[str, Check], seed: int, model: Parts | None = None) -> None:
    """Load the samples of every benchmark as the evaluation will, so that it fails before a training and not after.

    Raises `BadRecipe` and `BadData` naming the benchmark: options and splits that do not exist, kinds of question that
    its data set does not have, or none of them among the samples taken, or media that `model` does not take.
    """
    for title, check in checks.items():
        try:
            wanted, drawn = check.kinds or [], _kinds(check, check.count, seed, model)
            known = drawn
            if not drawn.issuperset(wanted) and check.count is not None:  # a small draw may lack a kind that exists
                known = drawn | _kinds(check, max(check.count, LOOK), seed, model)
            for kind in wanted:
                if kind not in known:
                    raise BadRecipe(f"kinds: {miss('kind of question', kind, sorted(known))}")
            if wanted and drawn.isdisjoint(wanted):
                raise BadRecipe(f"no question of the kinds {', '.join(wanted)} in its {check.count} samples; take more")
        except (BadRecipe, BadData) as error:
            raise type(error)(f"evaluate.{title}: {error}") from error


def _kinds(check: Check, count: int | None, seed: int, model: Parts | None) -> set[str]:
    samples = load_split(check.data, check.split, count, check.options, seed + 1)  # the evaluation's seed
    if model:
        _takes(model, check.data, samples)
    return {turn.kind for sample in samples for turn in sample.turns}
