"""What a judge's verdicts come to: figures, its biases, and how far it agrees with people."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from isthmus.errors import BadData
from isthmus.evaluate.judge import Line, Sample
from isthmus.evaluate.judges import Rubric
from isthmus.evaluate.scored import Figure, Floats, Scored, mean, of_sums, proportion
from isthmus.evaluate.scoring import DRAWS

COVERAGE = 0.95  # of the samples must be judged, or there is no figure of them
WORDS = {"correct": 1.0, "partly": 0.5, "incorrect": 0.0, "first": 1.0, "tie": 0.5, "second": 0.0}
Values = dict[str, list[Any]]  # the sample's id -> what each of its runs came to


def summary(rubric: Rubric, some: Sequence[Sample], lines: Sequence[Line], coverage: float = COVERAGE) -> Scored:
    """The figures of all verdicts; of too few (`coverage`), only how many, and the judge's biases."""
    found = Scored()
    values = by_sample(rubric, lines, found)
    found.unscored |= {own.id: "no answer to judge" for own in some if not own.answer.strip()}
    judged = [own for own in some if own.id in values]
    found.metrics["coverage"] = proportion(own.id in values for own in some)
    if not enough(found, coverage):
        found.notes.append(
            f"no score: {len(judged):,} of {len(some):,} samples were judged, and {coverage:.0%} are needed"
        )
    elif judged:
        found.add(_figures(rubric, judged, values))
        for part in dict.fromkeys(own.category for own in judged if own.category):
            found.add(_figures(rubric, [own for own in judged if own.category == part], values), part)
    found.metrics["coverage"] = found.metrics.pop("coverage")  # behind the figures
    if judged:
        found.add(_biases(rubric, judged, values, lines))
        found.marks = {own.id: _one(rubric, values[own.id]) for own in judged}
    return found


def enough(found: Scored, coverage: float = COVERAGE) -> bool:
    """Whether so many samples of a summary were judged that there are figures of them."""
    return found.metrics["coverage"].value >= coverage


def by_sample(rubric: Rubric, lines: Sequence[Line], found: Scored) -> Values:
    """What each sample's runs came to; of a pair, both orders together. Why others are unjudged goes into `found`."""
    runs: dict[tuple[str, int], dict[str, Line]] = {}
    for line in lines:
        runs.setdefault((line["id"], line["run"]), {})[line["order"]] = line
    values: Values = {}
    for (name, _), orders in runs.items():
        if missing := next((line for line in orders.values() if "value" not in line), None):
            found.unscored[name] = missing["unjudged"]
        else:
            values.setdefault(name, []).append(
                _together(rubric, {order: line["value"] for order, line in orders.items()})
            )
    return {name: own for name, own in values.items() if name not in found.unscored}


def _together(rubric: Rubric, orders: Mapping[str, Any]) -> Any:
    """One verdict of a run: of both orders of a pair what they agree on, else a tie; scores as their means.

    A pair's is that of the answers against the others; scores are (the others', the answers').
    """
    if rubric.kind != "pair":
        return orders[""]
    ab, ba = orders["ab"], orders["ba"]
    if scores(rubric):
        return (ab[1] + ba[0]) / 2, (ab[0] + ba[1]) / 2
    return ab if ab == 1 - ba else 0.5


def scores(rubric: Rubric) -> bool:
    """Whether each of a pair has a score of its own."""
    return bool(getattr(rubric.module, "SCORES", False))


def _one(rubric: Rubric, runs: Sequence[Any]) -> float:
    """A sample's own score, from 0 to 1."""
    if scores(rubric):
        return fmean(own[1] for own in runs) / rubric.highest
    return fmean(runs) / rubric.highest


def _figures(rubric: Rubric, judged: Sequence[Sample], values: Values) -> dict[str, Figure]:
    if scores(rubric):
        pairs = [[fmean(own[i] for own in values[one.id]) for i in (0, 1)] for one in judged]
        relative = of_sums(lambda sums: 100 * sums[..., 1] / sums[..., 0], pairs)
        return {"relative_score": relative, "score": mean(own[1] for own in pairs)}
    each = [fmean(values[one.id]) for one in judged]
    if rubric.kind == "pair":
        shares = {"wins": 1.0, "ties": 0.5, "losses": 0.0}
        return {"win_rate": mean(each)} | {name: proportion(own == at for own in each) for name, at in shares.items()}
    return {"grade" if rubric.kind == "grade" else "score": mean(each)}


def _biases(rubric: Rubric, judged: Sequence[Sample], values: Values, lines: Sequence[Line]) -> dict[str, Figure]:
    """What a judge should not look at: which answer stands first, and how long one is."""
    found: dict[str, Figure] = {}
    if rubric.kind == "pair":
        orders: dict[tuple[str, int], dict[str, float]] = {}
        for line in lines:
            if line["id"] in values:
                value = line["value"]
                first = np.sign(value[0] - value[1]) / 2 + 0.5 if scores(rubric) else value
                orders.setdefault((line["id"], line["run"]), {})[line["order"]] = float(first)
        names = [name for name, _ in orders]
        found["position/flipped"] = proportion((own["ab"] != 1 - own["ba"] for own in orders.values()), names)
        decided = [(name, said) for (name, _), own in orders.items() for said in own.values() if said != 0.5]
        found["position/first"] = proportion((said == 1 for _, said in decided), [name for name, _ in decided])
    said = [_one(rubric, values[one.id]) for one in judged]
    lengths = [float(len(one.answer)) for one in judged]
    if rubric.kind == "pair":
        lengths = [math.log((1 + len(one.answer)) / (1 + len(one.other or one.reference))) for one in judged]
    return found | {"length/spearman": spearman(said, lengths)}


def agreement(rubric: Rubric, some: Sequence[Sample], values: Values) -> dict[str, Figure]:
    """How a judge agrees with people on the samples of a calibration set that have `human`.

    Cohen's kappa (1960), of grades with quadratic weights (1968), and Spearman's correlation; intervals by bootstrap.
    Raises `BadData` where no sample has a person's verdict, and for one that is none.
    """
    from sklearn.metrics import cohen_kappa_score

    both = [(_human(rubric, own), fmean(values[own.id])) for own in some if own.human is not None and own.id in values]
    if not both or scores(rubric):
        raise BadData("no sample of the calibration set was judged and has `human`, a person's verdict on this scale")
    people, judge = np.array(both, float).T
    weights = "quadratic" if rubric.kind == "grade" else None
    steps = 2 if rubric.kind != "grade" else 1

    def kappa(chosen: Any) -> float:
        ours, theirs = (np.rint(steps * side[chosen]).astype(int) for side in (judge, people))
        if len({*ours, *theirs}) == 1:
            return float("nan")
        return float(cohen_kappa_score(theirs, ours, weights=weights))

    exact = proportion(bool(a == b) for a, b in zip(np.rint(steps * people), np.rint(steps * judge), strict=True))
    found = {"people/kappa": _drawn(kappa, len(both)), "people/spearman": spearman(judge, people)}
    return found | {"people/agreement": exact}


def checked(rubric: Rubric, people: Sequence[Sample], path: Path | None) -> None:
    """Raises `BadData` for a calibration set without people's verdicts, or with one that is none."""
    told = [own for own in people if own.human is not None]
    if people and (not told or scores(rubric)):
        raise BadData(f"{path}: no row has `human`, a person's verdict as {rubric.name} gives them")
    for own in told:
        try:
            _human(rubric, own)
        except BadData as error:
            raise BadData(f"{path}: {error}") from None


def _human(rubric: Rubric, sample: Sample) -> float:
    said = sample.human
    value = WORDS.get(said.strip().lower(), _amount(said)) if isinstance(said, str) else said
    if not isinstance(value, int | float) or not 0 <= value <= rubric.highest:
        known = "a number" if rubric.kind == "grade" else "one of " + ", ".join(WORDS)
        raise BadData(f"{sample.id}: `human` is {said!r}, and should be {known} up to {rubric.highest:g}")
    return float(value)


def _amount(said: str) -> float | None:
    try:
        return float(said)
    except ValueError:
        return None


def spearman(a: Sequence[float] | Floats, b: Sequence[float] | Floats) -> Figure:
    """Spearman's rank correlation with a bootstrap interval; NaN where one side does not vary.

    >>> spearman([1, 2, 3, 4], [1, 3, 2, 4]).value
    0.8
    """
    from scipy.stats import rankdata

    one, other = np.asarray(a, float), np.asarray(b, float)

    def statistic(chosen: Any) -> float:
        ranks = np.stack([rankdata(one[chosen]), rankdata(other[chosen])])
        varies = (ranks.std(1) > 0).all()
        return round(float(np.corrcoef(ranks)[0, 1]), 12) if varies else float("nan")

    return _drawn(statistic, len(one))


def _drawn(statistic: Callable[[Any], float], count: int) -> Figure:
    """A statistic of chosen samples with its 95 % interval over draws with a fixed seed."""
    rng = np.random.default_rng(0)
    value = statistic(np.arange(count))
    drawn = [statistic(rng.integers(count, size=count)) for _ in range(DRAWS if count > 1 else 0)]
    real = [own for own in drawn if own == own]
    if value != value or len(real) < DRAWS // 2:
        return Figure(value, float("nan"), float("nan"), count)
    low, high = np.quantile(real, [0.025, 0.975])
    return Figure(value, float(low), float(high), count)
