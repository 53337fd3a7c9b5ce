"""Where samples come from: a data set by its name, or files or a folder of captioned media by their path."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from isthmus import options as own
from isthmus.data import containers, folder, index
from isthmus.errors import BadData, BadRecipe
from isthmus.registry import find, miss, names
from isthmus.types import Sample

Keys = tuple[str, ...]
SETS = "isthmus.data.sets"
FILES = ("name", "split", "count", "seed", "unanswered")  # what files of samples take beside their options
COMMON = ("split", "count", "seed")  # what every data set's `load` takes; the rest are its options


def problems(name: str, split: str, count: int | None, options: dict[str, Any]) -> Iterator[tuple[Keys, str]]:
    """What is wrong with a request, as (keys below the data set's own, what); nothing is loaded.

    >>> [what for _, what in problems("easy-vqa", "test", 8, {"concepts": 3})]
    ["easy-vqa: no option 'concepts'. Known options: none"]
    """
    if is_folder(name):
        for option in options:
            yield ("options", option), "a folder of captioned media has no options"
        return
    if is_files(name):
        for option, what in own.problems(name, index.load, FILES, options):
            yield ("options", option), what
        return
    if name not in names(SETS):
        if name.lower().endswith(tuple(containers.endings())):
            yield (), f"{name}: no such file"
        else:
            yield (), miss("data set, file or folder", name, names(SETS))
        return
    module = find(SETS, name)
    if split not in module.SPLITS:
        yield (("split",) if split != "train" else ()), f"{name}: {miss('split', split, module.SPLITS)}"
    if count is None and inspect.signature(module.load).parameters["count"].default is inspect.Parameter.empty:
        yield (), f"{name} is drawn without end: say how many samples with `count`"
    for option, what in own.problems(name, module.load, COMMON, options):
        yield ("options", option), what


def load_split(
    name: str, split: str, count: int | None, options: dict[str, Any], seed: int = 0, *, unanswered: bool = False
) -> Sequence[Sample]:
    """A split of a data set by name, or of files or a folder of captioned media by path.

    Of a folder, any split but `train` is what is held out. Samples of files are read from disk as they are asked for;
    with `unanswered`, their questions need no answer.

    Raises:
        BadRecipe: for a data set, split or option that does not exist.
        BadData: for a sample that cannot be trained or tested on.
    """
    if wrong := [what for _, what in problems(name, split, count, options)]:
        raise BadRecipe("\n".join(wrong))
    if is_files(name):
        chosen = own.checked(index.load, FILES, options)
        return index.load(name, split, count, seed, **chosen, unanswered=unanswered)  # usable by its making
    if is_folder(name):
        samples = folder.load(Path(name), split, count, seed=seed)
    else:
        load = find(SETS, name).load
        samples = load(split, count=count, seed=seed, **own.checked(load, COMMON, options))
    if not samples:
        raise BadData(f"{name}, split {split}: no samples")
    for sample in samples:
        usable(sample)
    return samples


def held_out(name: str, split: str) -> str | None:
    """The option of a data set that names what its split holds out of training; None where none does.

    >>> held_out("emoji-captions", "vendor"), held_out("easy-vqa", "test")
    ('unseen', None)
    """
    return getattr(find(SETS, name), "HELD_OUT", {}).get(split) if name in names(SETS) else None


def option(name: str, options: Mapping[str, Any], key: str) -> Any:
    """The value of a data set's option, given or by default; None where it has no such option.

    >>> option("emoji-captions", {}, "unseen"), option("easy-vqa", {}, "unseen")
    ('openmoji', None)
    """
    known = own.declared(find(SETS, name).load, COMMON) if name in names(SETS) else {}
    return options.get(key, known[key][1]) if key in known else None


def is_files(name: str) -> bool:
    """Whether a name means files of samples; a data set of the same name goes first."""
    return name not in names(SETS) and index.means_files(name)


def is_folder(name: str) -> bool:
    """Whether a name means a folder; a data set of the same name goes first, and `./easy-vqa` is then the folder."""
    return name not in names(SETS) and Path(name).is_dir()


def parts(name: str) -> tuple[str, ...]:
    """The parts that a data set is made from, which are fetched when it is first loaded; a folder has none.

    >>> parts("easy-vqa")
    ('easy-vqa',)
    """
    return () if name not in names(SETS) else tuple(find(SETS, name).PARTS)


def usable(sample: Sample) -> None:
    """Raises `BadData` naming a sample that has no turns, or a turn without an answer."""
    if not sample.turns:
        raise BadData(f"sample {sample.id}: has no turns, so nothing in it would be learned. Leave it out")
    for turn in sample.turns:
        if not turn.answer.strip():
            raise BadData(f"sample {sample.id}: {turn.question!r} has no answer, so nothing in it would be learned")
