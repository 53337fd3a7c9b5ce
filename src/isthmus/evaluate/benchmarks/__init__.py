"""Benchmarks: one file each, found by its name, with its data, its prompt and its scorer.

A file holds literals, which listings read without importing it: `ABOUT`, a line; `PREDICTIONS`, the forms that its
predictions have, each with an example line; `REFERENCES`, likewise, empty where rows of predictions hold the truth as
well; `SOURCE`, whose rule it is. And the scorer:

    score(predictions: Path, references: Path | None, mode: str) -> Scored

In the mode `official` it does exactly what the authors' own code does, so that published figures come out of published
files digit for digit; `lenient` reads answers as a person would, and leaves unscored what nobody could read. Paths are
files, or folders where the benchmark comes as one. Files that cannot be used are `BadData`. It gives each sample's own
score in `Scored.marks` where the samples have one, for paired tests and for looking at those that are wrong.

A benchmark whose figures are another model's has `PART`, what that is, and its `score` takes `part`, the folder.

A benchmark that models can be asked (`isthmus eval MODEL --benchmarks NAME`) has as well, as literals: `DATA`, the
files of its folder, as patterns, with what each is, none where it makes what it asks about; `GET`, where to get them;
`HUB`, a hub's repository with these files, if there is one; `HEADLINE`, the metric that tables show. And

    questions(folder: Path) -> Sequence[Question]

as the authors ask them. Answers become rows, `question.row` and under `prediction` what was said, in
`predictions.jsonl`, which `score` reads. Where the benchmark's own form is another, `write(folder: Path, out: Path,
answered) -> Path` writes it from pairs of question and answer and tells what is to be scored; where `score` needs
references, `truths(folder)` tells which.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from isthmus import registry
from isthmus.errors import BadData, UnknownName
from isthmus.evaluate.packed import unpacked
from isthmus.evaluate.scored import MODES, Scored

__all__ = ["PACKAGE", "asking", "score"]

PACKAGE = "isthmus.evaluate.benchmarks"


def score(
    benchmark: str,
    predictions: str | Path,
    references: str | Path | None = None,
    mode: str = "official",
    part: str | None = None,
) -> Scored:
    """The figures of a file of predictions, by a benchmark's own rule.

    Args:
        benchmark: a name of `isthmus score --list`.
        predictions: a file in one of the benchmark's own forms.
        references: the truths; not needed where the rows of predictions hold them.
        mode: `official`, the authors' rule, or `lenient`.
        part: the folder of a model, for a benchmark that needs one (`PART`).

    Raises:
        UnknownName: for a benchmark or a mode that does not exist.
        BadData: for files that are missing, are in another form, or do not belong together.
    """
    benchmark = benchmark.lower()
    module = registry.find(PACKAGE, benchmark)
    if mode not in MODES:
        raise UnknownName(registry.miss("mode", mode, MODES))
    places = {"predictions": Path(predictions), "references": Path(references) if references is not None else None}
    for what, place in places.items():
        if place is not None and not place.exists():
            raise BadData(f"{place}: no such file of {what}")
    if places["references"] is None and module.REFERENCES and not getattr(module, "INSIDE", False):
        raise BadData(f"{benchmark} needs --references: {next(iter(module.REFERENCES))}")
    if part is not None and not hasattr(module, "PART"):
        raise BadData(f"{benchmark} needs no model: leave --part out")
    if part is None and hasattr(module, "PART") and not getattr(module, "INSIDE", False):
        raise BadData(f"{benchmark} needs --part: the folder of {module.PART}")
    try:
        with unpacked(places["predictions"]) as own, unpacked(places["references"]) as truths:
            found: Scored = module.score(own, truths, mode, **({"part": part} if hasattr(module, "PART") else {}))
    except BadData as error:
        if any(place is not None and str(place) in str(error) for place in places.values()):
            raise
        raise BadData(f"{predictions}: {error}") from error
    return found


def asking(benchmark: str) -> ModuleType:
    """The file of a benchmark whose questions models can be asked.

    Raises `UnknownName` for one that does not exist, and `BadData` for one that only scores files.
    """
    module = registry.find(PACKAGE, benchmark)
    if not hasattr(module, "questions"):
        known = [name for name in registry.names(PACKAGE) if "GET" in registry.constants(PACKAGE, name)]
        raise BadData(
            f"{benchmark} scores files (isthmus score {benchmark}); it has no questions of its own. "
            f"What models can be asked: {', '.join(known)}"
        )
    return module
