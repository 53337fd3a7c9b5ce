"""Several runs side by side: models by benchmarks, the best of each, and whether others are clearly behind it.

Two models are compared on the samples that both have scored, in pairs: where questions share a picture by turning the
signs of whole pictures' differences (a permutation test), else by McNemar's exact test; p-values of one benchmark are
corrected after Holm (1979).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from isthmus.bulk.ledger import Ledger
from isthmus.errors import BadData
from isthmus.evaluate.benchmarks import PACKAGE as BENCHMARKS
from isthmus.evaluate.harness import RESULTS
from isthmus.registry import constants, names

LOWER = {"wer", "cer", "chair_s", "chair_i", "attack_success_rate", "hal", "cog", "ece", "brier"}
WORSE = ("perplexity", "error_rate", "bits_per_byte")  # how names of figures end of which less is better, too
COVERAGE = 0.95  # of a benchmark's questions; a figure of fewer is marked
CLEAR = 0.05
DRAWS = 10_000  # of signs
Line = dict[str, Any]
BARE: Line = {"prompt": "", "truth": "", "answer": None, "score": None, "parts": [], "media": []}


@dataclass(frozen=True)
class Run:
    """What a model was asked: figures by benchmark, and the lines of its questions."""

    model: str
    folder: Path
    benchmarks: dict[str, Line]
    samples: dict[str, dict[str, Line]] = field(default_factory=dict)
    begun: dict[str, str] = field(default_factory=dict)  # benchmarks that did not come to an end, and why
    places: dict[str, Path] = field(default_factory=dict)  # the folders of benchmarks that another run asked

    def joined(self, other: Run) -> Run:
        """Both, of one model that was asked other benchmarks each time."""
        own = {name: other.places.get(name, other.folder) for name in other.benchmarks}
        return replace(
            self, benchmarks=self.benchmarks | other.benchmarks, samples=self.samples | other.samples,
            begun=self.begun | other.begun, places=self.places | own,
        )  # fmt: skip

    def goes_with(self, other: Run) -> bool:
        """Whether the other is of the same model, by name and by its files where these were known, and adds to this."""
        files = {own.get("asked", {}).get("sha256") for run in (self, other) for own in run.benchmarks.values()}
        apart = not ({*self.benchmarks, *self.begun} & {*other.benchmarks, *other.begun})
        return self.model == other.model and apart and len(files) <= 1


class Pair(NamedTuple):
    """A comparison with the best: the test, on how many samples, and its corrected p-value (NaN: none was possible).

    `lead` is by how much the best is better on these, which differ from all where a model was asked only some.
    """

    test: str
    n: int
    p: float
    lead: float = 0.0


@dataclass
class Cell:
    """A model's headline on a benchmark; NaN where there is none, and `why`."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    unscored: int = 0
    asked: int = 0
    best: bool = False
    pair: Pair | None = None
    why: str = ""
    part: bool = False  # of the questions only some were asked, by --limit

    @property
    def coverage(self) -> float:
        """The share of questions that are scored."""
        return 1 - self.unscored / self.asked if self.asked else math.nan


@dataclass
class Column:
    """A benchmark, with a cell for each run; `mode` is how it was asked and scored, as far as it is told."""

    benchmark: str
    metric: str
    mode: str
    cells: list[Cell]

    @property
    def head(self) -> str:
        """The figure's name, with how it was asked where that is not the usual way.

        >>> Column("pope", "f1", "official", []).head, Column("pope", "f1", "official, circular", []).head
        ('f1', 'f1, circular')
        """
        return ", ".join(part for part in (self.metric, *self.mode.split(", ")) if part not in ("", "official"))

    @property
    def uneven(self) -> bool:
        """Whether the models' figures are of different numbers of samples."""
        return len({cell.n for cell in self.cells if not math.isnan(cell.value)}) > 1


def runs(paths: Sequence[Path]) -> list[Run]:
    """The runs of folders, or of files that `isthmus score --json` printed.

    Runs in which one model was asked different benchmarks are one; others of one name are told apart by their folders.

    Raises `BadData` for what is neither, saying what to run.
    """
    found: list[Run] = []
    for path in paths:
        file = path / RESULTS if path.is_dir() else path
        try:
            held = json.loads(file.read_text(encoding="utf-8"), object_hook=_clean)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            make = f"isthmus eval MODEL --benchmarks scenes --out {path}"
            raise BadData(f"{path}: no run ({why}). Make one: {make}") from error
        if isinstance(held, dict) and "metrics" in held and "benchmark" in held:
            held = {"model": path.stem, "benchmarks": {str(held["benchmark"]): held}}
        if not (
            isinstance(held, dict)
            and isinstance(held.get("benchmarks"), dict)
            and all(map(_whole, held["benchmarks"].values()))
        ):
            raise BadData(f"{file}: no results of a run, and not what isthmus score --json prints")
        samples = {name: _lines(path / name / "samples.jsonl") for name in held["benchmarks"]} if path.is_dir() else {}
        begun = _begun(path, held["benchmarks"])
        own = Run(str(held.get("model", path.name)), path, held["benchmarks"], samples, begun)
        place = next((i for i, run in enumerate(found) if path.is_dir() and run.goes_with(own)), None)
        if place is None:
            found.append(own)
        else:
            found[place] = found[place].joined(own)
    folders = Counter(run.folder.name for run in found)
    several = {name for name, count in Counter(run.model for run in found).items() if count > 1}
    return [
        replace(run, model=f"{run.model} ({run.folder if folders[run.folder.name] > 1 else run.folder.name})")
        if run.model in several
        else run
        for run in found
    ]


def _begun(path: Path, done: Mapping[str, Line]) -> dict[str, str]:
    """The benchmarks of a run's folder that are not done, and how many of their questions failed, if any, and why."""
    found = {}
    for shards in sorted(path.glob("*/shards")) if path.is_dir() else ():
        if (name := shards.parent.name) in done:
            continue
        ledger = Ledger(shards)
        lines = [line for file in sorted(shards.glob("*.jsonl")) for line in ledger.lines(int(file.stem))]
        failed = [str(line["failed"]) for line in lines if "failed" in line]
        found[name] = f": {len(failed):,} of {len(lines):,} failed, {failed[0]}" if failed else ""
    return found


def _whole(held: object) -> bool:
    """Whether it is what is told of one benchmark."""
    return (
        isinstance(held, dict)
        and isinstance(held.get("metrics"), dict)
        and isinstance(held.get("unscored"), dict)
        and {"count", "reasons"} <= held["unscored"].keys()
        and all(
            isinstance(own, dict) and {"value", "low", "high", "n"} <= own.keys() for own in held["metrics"].values()
        )
    )


def _clean(held: dict[str, Any]) -> dict[str, Any]:
    """Texts as they can be written: half of a surrogate pair becomes a mark."""
    return {str(_text(key)): _text(value) for key, value in held.items()}


def _text(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def less_is_better(metric: str) -> bool:
    """Whether a figure is one of errors.

    >>> less_is_better("wer"), less_is_better("odd/word_perplexity"), less_is_better("accuracy")
    (True, True, False)
    """
    name = metric.split("/")[-1].split(",")[0]
    return name in LOWER or name.endswith(WORSE)


def _lines(path: Path) -> dict[str, Line]:
    if not path.is_file():
        return {}
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").removesuffix("\n").split("\n"), 1):
        try:
            row = json.loads(line, object_hook=_clean)
            sure, score = row.get("confidence"), row.get("score")
            if not (score is None or 0 <= score <= 1) or not (sure is None or 0 <= sure <= 1):
                raise ValueError("score and confidence lie between 0 and 1")
            found[str(row["id"])] = BARE | row
        except (ValueError, KeyError, TypeError) as error:
            raise BadData(f"{path}, line {number}: damaged ({error}). Run the benchmark again with --resume") from error
    return found


def columns(some: Sequence[Run]) -> list[Column]:
    """The benchmarks of all runs, in order of first appearance, with the best of each marked and the others tested.

    A benchmark that was asked in two ways, or scored in two modes, is two columns.
    """
    found = []
    each = [(name, mode(held)) for run in some for name, held in run.benchmarks.items()]
    begun = [(name, "") for run in some for name in run.begun if name not in dict(each)]
    for name, how in dict.fromkeys([*each, *begun]):
        held = [own for run in some if (own := run.benchmarks.get(name)) and mode(own) == how]
        told = [own["headline"] for own in held if own.get("headline")]
        metric = (told or [_headline(name)])[0] or next(iter(held[0]["metrics"] if held else []), "")
        column = Column(name, metric, how, [_cell(run, name, metric, how) for run in some])
        most = max((cell.asked for cell in column.cells), default=0)
        for run, cell in zip(some, column.cells, strict=True):
            asked = run.benchmarks.get(name, {}).get("asked", {})
            cell.part = asked.get("limit") is not None and cell.asked < asked.get("of", most)
        _compare(column, some)
        found.append(column)
    return found


def mode(held: Line) -> str:
    """How a benchmark was scored, and asked if otherwise than by generating once."""
    asked = held.get("asked", {})
    way = asked.get("way", "generate")
    told = [str(held.get("mode", "")), *["circular"] * bool(asked.get("circular")), *[way] * (way != "generate")]
    shots = asked.get("shots")
    return ", ".join([*told, *["chat"] * bool(asked.get("chat")), *[f"{shots} shots"] * (shots is not None)])


def _headline(name: str) -> str:
    """What a benchmark's own file says, where there is one."""
    return str(constants(BENCHMARKS, name).get("HEADLINE", "")) if name in names(BENCHMARKS) else ""


def _cell(run: Run, name: str, metric: str, how: str) -> Cell:
    held = run.benchmarks.get(name)
    if held is None and name in run.begun:
        return Cell(why=f"not finished{run.begun[name]}")
    if held is None or mode(held) != how:
        return Cell(why="not asked")
    lines = run.samples.get(name, {})
    figure = held["metrics"].get(metric)
    unscored = held["unscored"]["count"]
    asked = len(lines) or (figure["n"] if figure else 0) + unscored
    if figure is None or figure["value"] is None:
        return Cell(unscored=unscored, asked=asked, why=next(iter(held["unscored"]["reasons"]), "no such figure"))
    low, high = (math.nan if figure[end] is None else figure[end] for end in ("low", "high"))
    cell = Cell(figure["value"], low, high, figure["n"], unscored, asked)
    if not enough(run, name):
        return Cell(unscored=unscored, asked=asked, why=f"only {cell.coverage:.0%} judged")
    return cell


def enough(run: Run, name: str) -> bool:
    """Whether so much of a benchmark was judged that its figures are told; true where nothing is a judge's to score."""
    held = run.benchmarks[name]
    missing = held["unscored"]["count"]
    asked = len(run.samples.get(name, {})) or max((own["n"] for own in held["metrics"].values()), default=0) + missing
    return not (judged(name, held) and asked and 1 - missing / asked < COVERAGE)


def judged(name: str, held: Line) -> bool:
    """Whether a benchmark's figures are a judge's: all of them, or those that its file names."""
    own = constants(BENCHMARKS, name) if name in names(BENCHMARKS) else {}
    if figures := own.get("JUDGED_FIGURES"):
        return any(figure in held["metrics"] for figure in figures)
    return "JUDGE" in own or (not own and any("judged" in why for why in held["unscored"]["reasons"]))


def _compare(column: Column, some: Sequence[Run]) -> None:
    """Mark the best of a column, and give the others their pairs."""
    there = [i for i, cell in enumerate(column.cells) if not math.isnan(cell.value)]
    able = [i for i in there if not column.cells[i].part] or there  # a lucky few questions beat no whole benchmark
    if not there:
        return
    sign = -1 if less_is_better(column.metric) else 1
    top = max(able, key=lambda i: sign * column.cells[i].value)
    for i in able:
        column.cells[i].best = len(there) > 1 and column.cells[i].value == column.cells[top].value
    others = [i for i in there if i != top and not column.cells[i].best]
    pairs = {i: paired(*(some[j].samples.get(column.benchmark, {}) for j in (top, i))) for i in others}
    for i, p in zip(pairs, holm([pair.p for pair in pairs.values()]), strict=True):
        column.cells[i].pair = pairs[i]._replace(p=p)


def paired(a: Mapping[str, Line], b: Mapping[str, Line]) -> Pair:
    """Whether two models differ on the samples that both have scored, of which id and prompt are alike; two-sided.

    >>> rows = lambda scores: {str(i): {"score": score} for i, score in enumerate(scores)}
    >>> pair = paired(rows([1] * 9 + [0]), rows([0] * 8 + [1, 1]))
    >>> pair.test, pair.n, round(pair.p, 4)
    ('McNemar, exact', 10, 0.0391)
    """
    ours, theirs = (_scores(side) for side in (a, b))
    both = [name for name in ours if name in theirs and a[name].get("prompt") == b[name].get("prompt")]
    if not both:
        return Pair("no samples in common that both have a score of", 0, math.nan)
    differ = [ours[name] - theirs[name] for name in both]
    lead = sum(differ) / len(differ)
    groups: dict[str, float] = {}
    for name, own in zip(both, differ, strict=True):
        cluster = str(a[name].get("image") or name)
        groups[cluster] = groups.get(cluster, 0.0) + own
    if len(groups) == len(both) and set(differ) <= {-1.0, 0.0, 1.0}:
        return Pair("McNemar, exact", len(both), _mcnemar(differ.count(1.0), differ.count(-1.0)), lead)
    shared = " that share a medium" * (len(groups) < len(both))
    return Pair(f"permutation of pairs{shared}", len(both), _signs([*groups.values()]), lead)


def _scores(lines: Mapping[str, Line]) -> dict[str, float]:
    """The samples that have a score of their own."""
    return {name: float(row["score"]) for name, row in lines.items() if row.get("score") is not None}


def _mcnemar(more: int, less: int) -> float:
    from scipy.stats import binomtest

    return float(binomtest(more, more + less).pvalue) if more + less else 1.0


def _signs(differences: Sequence[float]) -> float:
    """The share of draws of signs whose sum is as far from 0; of few differences, of all draws that there are."""
    own = np.array([one for one in differences if one], float)
    if not len(own):
        return 1.0
    if len(own) <= 13:
        signs = 1 - 2 * ((np.arange(2 ** len(own))[:, None] >> np.arange(len(own))) & 1)
        return float((np.abs(signs @ own) >= abs(own.sum()) - 1e-9).mean())
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(10):
        signs = rng.integers(2, size=(DRAWS // 10, len(own))) * 2 - 1
        hits += int((np.abs(signs @ own) >= abs(own.sum()) - 1e-9).sum())
    return (hits + 1) / (DRAWS + 1)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's corrected p-values; NaN stays so and does not count.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = sorted((i for i, p in enumerate(ps) if p == p), key=lambda i: ps[i])
    found, highest = [math.nan] * len(ps), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, ps[i] * (len(order) - rank)))
        found[i] = highest
    return found
