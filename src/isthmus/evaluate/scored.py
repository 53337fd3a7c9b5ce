"""What scoring gives: figures with their interval and n, and what went unscored, by reason.

A crash is not a zero: what could not be read, parsed or judged is `unscored`, counted and shown, and in no figure.
Where an official rule itself counts such an answer as wrong, or guesses, the official mode does so too and a note says
how often; the lenient mode leaves it unscored.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from isthmus.evaluate.scoring import DRAWS, Mark, estimate

MODES = ("official", "lenient")
Floats = npt.NDArray[np.float64]


class Figure(NamedTuple):
    """A figure with its 95 % interval; `n` is how many scored samples are behind it."""

    value: float
    low: float
    high: float
    n: int


@dataclass
class Scored:
    """The figures of one file of predictions, in the order in which they are printed.

    Names of metrics are the field's, in lower case with underscores; those of a part of the samples carry it before a
    slash (`adversarial/accuracy`). Shares lie between 0 and 1; figures that authors publish on another scale (MME's
    points, LLaVA-Bench's relative score) keep it.
    """

    metrics: dict[str, Figure] = field(default_factory=dict)
    unscored: dict[str, str] = field(default_factory=dict)  # the sample's id -> why
    notes: list[str] = field(default_factory=list)  # what a reader must know to believe the figures
    marks: dict[str, float] = field(default_factory=dict)  # the sample's id -> its own score in [0, 1]

    def add(self, figures: dict[str, Figure], part: str = "") -> None:
        """Put figures behind those that are there; of a `part` of the samples, with its name before theirs."""
        self.metrics |= {f"{part}/{name}" if part else name: figure for name, figure in figures.items()}

    def reasons(self) -> dict[str, int]:
        """How many went unscored, for each reason, most first."""
        counts: dict[str, int] = {}
        for why in self.unscored.values():
            counts[why] = counts.get(why, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    def to_dict(self, benchmark: str, mode: str) -> dict[str, Any]:
        """What `isthmus score --json` prints; None stands for what cannot be told, as an interval from one sample."""
        metrics = {
            name: {key: None if value != value else value for key, value in figure._asdict().items()}
            for name, figure in self.metrics.items()
        }
        unscored = {"count": len(self.unscored), "reasons": self.reasons()}
        return {"benchmark": benchmark, "mode": mode, "metrics": metrics, "unscored": unscored}


def proportion(right: Iterable[bool], clusters: Iterable[Hashable] | None = None) -> Figure:
    """The share of right answers, with Wilson's interval; `clusters` names what several answers share, as an image.

    >>> [round(x, 3) for x in proportion([True] * 8 + [False] * 2)]
    [0.8, 0.49, 0.943, 10]
    """
    hits = list(right)
    names = [str(name) for name in (range(len(hits)) if clusters is None else clusters)]
    marks = [Mark(bool(hit), "", name) for hit, name in zip(hits, names, strict=True)]
    return Figure(*estimate(marks), len(hits)) if marks else Figure(float("nan"), 0.0, 1.0, 0)


def mean(values: Iterable[float], clusters: Iterable[Hashable] | None = None, times: float = 1) -> Figure:
    """The mean of values times a factor, with a bootstrap interval over samples, or over clusters of them.

    >>> [round(x, 2) for x in mean([0.0, 0.5, 1.0, 0.5])]
    [0.5, 0.12, 0.88, 4]
    """
    some = np.array(list(values), float)
    sums_KS = np.stack([some, np.ones_like(some)], 1)
    return of_sums(lambda sums: times * sums[..., 0] / sums[..., 1], sums_KS, clusters)


def macro_mean(
    values: Sequence[float], groups: Sequence[Hashable], clusters: Sequence[Hashable] | None = None
) -> Figure:
    """The mean over groups of their means; a draw that holds nothing of a group is one of the others.

    >>> found = macro_mean([1, 1, 0, 1], ["a", "b", "b", "b"])
    >>> [round(x, 3) for x in found]
    [0.833, 0.25, 1.0, 4]
    """
    place = {name: i for i, name in enumerate(dict.fromkeys(groups))}
    sums_KG2 = np.zeros((len(values), len(place), 2))
    for row_G2, value, name in zip(sums_KG2, values, groups, strict=True):
        row_G2[place[name]] = value, 1

    def statistic(sums: Floats) -> Floats:
        each = sums.reshape(*sums.shape[:-1], len(place), 2)
        there = each[..., 1] > 0
        means = np.divide(each[..., 0], each[..., 1], out=np.zeros(there.shape), where=there)
        return np.asarray(over(means.sum(-1), there.sum(-1).astype(float)))

    return of_sums(statistic, sums_KG2.reshape(len(values), -1), clusters)


def of_sums(
    statistic: Callable[[Floats], Floats],
    sums_KS: npt.ArrayLike,
    clusters: Iterable[Hashable] | None = None,
    n: int | None = None,
) -> Figure:
    """A statistic of sums over samples (F1 of counts, BLEU of matches), with a bootstrap interval.

    Samples, or whole clusters, are drawn anew `DRAWS` times with a fixed seed, so the interval is the same each time.

    Args:
        statistic: takes sums [..., S], gives [...].
        sums_KS: [K, S], what each sample adds.
        clusters: what samples share, one name each; by default nothing.
        n: how many the figure is said to be of; K by default.

    >>> def f1(s): return 2 * s[..., 0] / (2 * s[..., 0] + s[..., 1] + s[..., 2])
    >>> found = of_sums(f1, [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]])
    >>> [round(x, 2) for x in found]
    [0.67, 0.0, 1.0, 4]
    """
    values_KS = np.asarray(sums_KS, float)
    count = len(values_KS)
    if not count:
        return Figure(float("nan"), float("nan"), float("nan"), 0)
    whole = float(statistic(values_KS.sum(0)))
    if clusters is not None:
        values_KS = _summed(values_KS, list(clusters))
    rng, some = np.random.default_rng(0), len(values_KS)
    if some == 1:
        return Figure(whole, float("nan"), float("nan"), count if n is None else n)
    drawn = np.stack([
        np.bincount(rng.integers(some, size=some), minlength=some).astype(float) @ values_KS for _ in range(DRAWS)
    ])  # fmt: skip
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.asarray(statistic(drawn), float)
    found = found[np.isfinite(found)]
    low, high = np.quantile(found, [0.025, 0.975]) if len(found) else (float("nan"), float("nan"))
    return Figure(whole, float(low), float(high), count if n is None else n)


def _summed(values_KS: Floats, clusters: Sequence[Hashable]) -> Floats:
    """The rows of each cluster added up."""
    number: dict[Hashable, int] = {}
    places = [number.setdefault(name, len(number)) for name in clusters]
    sums = np.zeros((len(number), values_KS.shape[1]))
    np.add.at(sums, places, values_KS)
    return sums


def yes_no(
    truths: Sequence[bool], said: Sequence[bool], clusters: Iterable[Hashable] | None = None
) -> dict[str, Figure]:
    """Accuracy, precision, recall, F1 and the share of yes among the predictions; True is the positive class.

    The n of precision is the number of positive predictions, and that of recall of positive truths; with none of them
    there is no such figure (NaN).

    >>> found = yes_no([True, True, False, False], [True, True, True, False])
    >>> {name: round(figure.value, 3) for name, figure in found.items()}
    {'accuracy': 0.75, 'precision': 0.667, 'recall': 1.0, 'f1': 0.8, 'yes_ratio': 0.75}
    """
    names = list(clusters) if clusters is not None else list(range(len(truths)))
    rows = list(zip(truths, said, names, strict=True))
    counts = np.array([[t and s, s and not t, t and not s] for t, s, _ in rows], float).reshape(-1, 3)
    positive, true = [row for row in rows if row[1]], [row for row in rows if row[0]]
    return {
        "accuracy": proportion((t == s for t, s, _ in rows), names),
        "precision": proportion((t for t, _, _ in positive), (name for *_, name in positive)),
        "recall": proportion((s for _, s, _ in true), (name for *_, name in true)),
        "f1": of_sums(lambda c: over(2 * c[..., 0], 2 * c[..., 0] + c[..., 1] + c[..., 2]), counts, names),
        "yes_ratio": proportion(said, names),
    }


def over(above: Floats, below: Floats) -> Floats:
    """A quotient, 0 where nothing is divided by nothing."""
    found: Floats = np.divide(above, below, out=np.zeros_like(above, float), where=np.asarray(below) != 0)
    return found
