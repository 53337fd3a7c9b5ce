"""Extraction: what frozen encoders make of a corpus's media, into the cache that training and evaluation read.

A line of a shard is a sample: `id`, how many `media` of it were encoded, the files of the cache's folder `features`
that hold them (`in`), and `failed`, the reason, where one could not be.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console

from isthmus import parts
from isthmus.bulk.corpus import Corpus, Source
from isthmus.bulk.pool import Line, Pool
from isthmus.bulk.run import Task, drive, loaded, model_facts
from isthmus.data.features import FeatureCache
from isthmus.data.index import TOLERATE
from isthmus.errors import BadRecipe
from isthmus.model.build import fingerprint as fingerprint_of
from isthmus.parts import cache
from isthmus.train.features import encode_arrays, fingerprint, source
from isthmus.train.recipe import Recipe, load_recipe
from isthmus.train.setup import Run, composed, learning
from isthmus.types import Medium, Sample

SHARD = 256  # samples

LOST = (
    "features that were extracted are not in {} any more: they are more than it may hold (set ISTHMUS_FEATURES_GB to"
    " more), or the workers' cache is another folder than this process's (docs/bulk.md says what to do)"
)


class Extractor:
    """Holds the encoders of a model, and a cache of features for each kind of media that it met.

    Args:
        load: the model and its processor, on the CPU.
        device: where encoders run; the LLM is let go.
    """

    def __init__(self, corpus: Corpus, load: Callable[[], Run], device: str) -> None:
        self.corpus, self.run = corpus, load()
        self.run.model.llm = torch.nn.Identity()  # it would take most of the memory, and encodes nothing
        self.run.model.eval().to(device)
        self.caches: dict[str, FeatureCache] = {}

    def close(self) -> None:
        """Let go of the caches' files."""
        for own in self.caches.values():
            own.close()

    @torch.inference_mode()
    def __call__(self, number: int) -> list[Line]:
        """Encode what is not there yet of a shard's media."""
        shard = self.corpus.shard(number)
        lines: list[Line] = [{"id": sample.id, "media": 0, "in": []} for sample, _ in shard]
        media = [
            (line, sample, medium)
            for line, (sample, without) in zip(lines, shard, strict=True)
            for medium in sample.media
            if medium.kind not in without
        ]
        for kind in dict.fromkeys(medium.kind for _, _, medium in media):
            self._encode(kind, [one for one in media if one[2].kind == kind])
        for line in lines:
            line["in"] = sorted(set(line["in"]))
        return lines

    def _encode(self, kind: str, media: Sequence[tuple[Line, Sample, Medium]]) -> None:
        if kind not in self.run.processor.placeholders:
            takes = ", ".join(self.run.processor.placeholders) or "no media"
            for line, sample, _ in media:
                line["failed"] = f"sample {sample.id}: this model takes {takes}, not {kind}"
            return
        if kind not in self.caches:
            self.caches[kind] = FeatureCache(cache.root() / "features", fingerprint(self.run, kind))
        encode = functools.partial(encode_arrays, self.run, kind)
        given = [
            source(self.run, functools.partial(_same, sample), medium, functools.partial(line.__setitem__, "failed"))
            for line, sample, medium in media
        ]
        rows, _, pieces = self.caches[kind].get(given, len(media), encode)
        paths: list[Path] = [Path(cast(Any, own).filename) for own in rows.shards]
        files = [f"{path.parent.name}/{path.name}" for path in paths]
        for (line, _, _), some in zip(media, pieces, strict=True):
            if some is not None:
                line["media"] += 1
                line["in"] += [files[shard] for shard in rows.places[list(some), 0]]


def _same(sample: Sample) -> Sample:
    return sample


def kept(lines: Sequence[Line]) -> bool:
    """Whether the features that a shard's lines speak of are in this machine's cache still."""
    folder = cache.root() / "features"
    return all((folder / name).is_file() for name in {name for line in lines for name in line["in"]})


def sources(recipe: Recipe) -> list[Source]:
    """The data sets of a recipe's stages and benchmarks, each once, without the media that are encoded anew in steps.

    What an encoder makes is another thing once a stage trains it, so its kind is passed over from that stage on.
    """
    found: list[Source] = []
    altered: set[str] = set()
    for stage in recipe.stages:
        altered |= learning(stage)
        without = tuple(sorted(altered))
        found += [
            Source(name, "train", mix.count, mix.options, recipe.seed, without=without)
            for name, mix in stage.data.items()
        ]
        if (held := stage.check) is not None:
            found.append(Source(held.data, held.split, held.count, held.options, recipe.seed + 1, without=without))
    without = tuple(sorted(altered))
    found += [
        Source(own.data, own.split, own.count, own.options, recipe.seed + 1, without=without)
        for own in recipe.evaluate.values()
    ]
    return [own for number, own in enumerate(found) if own not in found[:number]]


def extract(
    what: Recipe | str,
    source: Source | None,
    out: Path,
    pool: Pool,
    *,
    shard: int = SHARD,
    tolerate: float = TOLERATE,
    resume: bool = False,
    command: str = "",
    console: Console,
) -> dict[str, Any]:
    """Encode the media of `source`, or of all that a recipe trains and tests on; the manifest is returned.

    Args:
        what: a recipe, whose encoders are taken as they come, or a model: `default` or a checkpoint's folder.
        shard: samples of a shard.

    Raises what `run.drive` does, and `IsthmusError` where the cache does not hold what was extracted.
    """
    load: Callable[[], Run]
    if isinstance(what, Recipe):
        told, load = _recipe_facts(what), functools.partial(composed, what)
        given = sources(what) if source is None else [source]
    elif source is None:
        raise BadRecipe(f"{what} is a model, which has no data of its own: say which, with --data")
    else:
        told, load, given = model_facts(what), functools.partial(loaded, what), [source]
    corpus = Corpus([dataclasses.replace(own, tolerate=tolerate) for own in given], shard)
    facts = {"task": "extract", "model": told}
    start, lost = functools.partial(Extractor, corpus, load), LOST.format(cache.root() / "features")
    task = Task("features", "media", lambda line: int(line["media"]), start, kept, lost)
    return drive(task, corpus, out, facts, pool, tolerate=tolerate, resume=resume, command=command, console=console)


def whose(name: str, changes: Sequence[str] | None = None) -> Recipe | str:
    """The recipe that a name means, with changes, or the model; `default` is the model, as in other commands.

    Raises what `load_recipe` does.
    """
    if name == "default" or (Path(name).expanduser() / "config.json").is_file():
        if changes:
            raise BadRecipe(f"{name} is a model, and {changes[0]!r} changes a recipe")
        return name
    return load_recipe(name, changes)


def _recipe_facts(recipe: Recipe) -> dict[str, Any]:
    """What a recipe's encoders are: names, parts and sizes, and what stands for each part."""
    names = {name for own in recipe.model.senses.values() for name in own.parts if name not in (None, "new")}
    prints = {name: fingerprint_of(name, parts.get(name)) for name in sorted(names)}
    return {"model": recipe.model.model_dump(exclude_none=True), "seed": recipe.seed, "parts": prints}
