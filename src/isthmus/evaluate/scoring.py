"""Answers into figures: what counts as right, and every figure with its n, its interval and two baselines.

An answer is right when it equals the truth after a light normalisation. Yes/no is scored by balanced accuracy, because
a model that always says yes looks good by plain accuracy wherever yes is the more frequent truth. Beside each figure
stand the score of the best constant answer (`majority`) and the score of the same model when it is shown another
sample's media (`swapped`): a model that does not beat both has not been shown to look at them.

    sources of the intervals
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927
    G. Y. Zou, A. Donner, "Construction of confidence limits about effect measures", Statistics in Medicine 27, 2008
    L. Kish, "Survey Sampling", 1965: the design effect, of samples that come in clusters
    M. Bisani, H. Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP 2004
    E. L. Korn, B. I. Graubard, "Confidence intervals for proportions with small expected number of positive counts
    estimated from survey data", Survey Methodology 24, 1998: an interval at n divided by the design effect
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from statistics import NormalDist, fmean
from typing import NamedTuple

import numpy as np

from isthmus.errors import BadData
from isthmus.evaluate.metrics.word_errors import errors, whisper_normaliser

Z = NormalDist().inv_cdf(0.975)  # half-width of a 95 % interval, in standard deviations
ALL = "all"  # the kind of a benchmark's overall row
WORDS, WORD_ERRORS = "words", "word error rate"  # the kind of question that asks what is said, and its second figure
DRAWS = 1000  # of the bootstrap


@dataclass(frozen=True)
class Answer:
    """One question that a model was asked, with the truth and what it said.

    `sample` names what was shown: answers of the same sample are not independent, and the intervals allow for that.
    `swapped` is what the same model answered when shown another sample's media; None if it was not asked.
    """

    sample: str
    benchmark: str
    kind: str
    question: str
    truth: str
    answer: str
    swapped: str | None = None

    def to_dict(self) -> dict[str, str | None]:
        """A flat dictionary, one line of a JSON lines file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, object]) -> Answer:
        """The answer that `to_dict` wrote; raises `BadData` naming the first field that is missing, odd or unknown."""
        names = [field.name for field in fields(cls)]
        if unknown := sorted(set(record) - set(names)):
            raise BadData(f"an answer has no field {unknown[0]!r}. Known: {', '.join(names)}")
        for name in names:
            value = record.get(name)
            if not isinstance(value, str) and not (name == "swapped" and value is None):
                raise BadData(f"the field {name!r} of an answer must be a text, not {value!r}")
        return cls(**record)  # type: ignore[arg-type]  # checked in the loop above


@dataclass(frozen=True)
class Row:
    """One line of the table of results: scores are fractions, `low` and `high` the ends of a 95 % interval.

    `medium` is what its questions are about, in a word (`types.noun`).
    """

    benchmark: str
    kind: str
    metric: str
    n: int
    value: float
    low: float
    high: float
    majority: float
    majority_answer: str
    swapped_n: int | None = None
    swapped: float | None = None
    swapped_low: float | None = None
    swapped_high: float | None = None
    medium: str = "medium"

    @property
    def doubt(self) -> str:
        """What the score does not clearly exceed, judged by the intervals; empty if it exceeds every baseline known.

        Two intervals that do not overlap are more than a 5 % test asks for, so this errs towards doubt.

        >>> Row("b", "name", "accuracy", 50, 0.6, 0.46, 0.72, 0.5, "dog").doubt
        'not clearly above the majority answer'
        """
        less = self.metric == WORD_ERRORS  # is better
        beaten_by = (
            ["the majority answer"] if (self.high >= self.majority if less else self.low <= self.majority) else []
        )
        other = self.swapped_low if less else self.swapped_high
        if other is not None and (self.high >= other if less else self.low <= other):
            beaten_by.append(f"another {self.medium}")
        return f"not clearly {'below' if less else 'above'} {' or '.join(beaten_by)}" if beaten_by else ""


class Mark(NamedTuple):
    """One scored answer; `group` is its class for balanced accuracy and the same for all for plain accuracy."""

    right: bool
    group: str
    sample: str


class Estimate(NamedTuple):
    """A score with its 95 % interval."""

    value: float
    low: float
    high: float


def normalised(text: str, kind: str) -> tuple[str, ...]:
    """What is compared: without case, outer whitespace, one trailing full stop and one leading article.

    For the kind 'objects', the names between commas, each normalised, sorted.

    >>> normalised(" The Owl. ", "name"), normalised("a dog, an Owl", "objects")
    (('owl',), ('dog', 'owl'))
    """
    text = text.casefold().strip().removesuffix(".").rstrip()
    if kind == "objects":
        return tuple(sorted(_bare(name) for name in text.split(",")))
    return (_bare(text),)


def _bare(name: str) -> str:
    """The name without outer whitespace and one leading article."""
    first, _, rest = name.strip().partition(" ")
    return rest.strip() if first in ("a", "an", "the") and rest else name.strip()


def right(answer: str, truth: str, kind: str) -> bool:
    """Whether the answer equals the truth after `normalised`; nothing is searched for inside a longer answer.

    >>> right("An owl.", "owl", "name"), right("owl, dog", "dog, owl", "objects"), right("dog", "dog, dog", "objects")
    (True, True, False)
    >>> right("yes, there is", "yes", "yes/no")
    False
    """
    return normalised(answer, kind) == normalised(truth, kind)


def wilson(hits: float, n: float) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson, 1927); `n` may be an effective number, so a fraction.

    The roots p of (hits / n - p)^2 = Z^2 p (1 - p) / n. Nothing observed says nothing: `n` = 0 gives (0, 1).

    >>> [round(end, 4) for end in wilson(8, 10)], [round(end, 4) for end in wilson(0, 10)]
    ([0.4902, 0.9433], [0.0, 0.2775])
    """
    if n <= 0:
        return 0.0, 1.0
    share, grown = hits / n, n + Z**2
    centre = (hits + Z**2 / 2) / grown
    half = Z * math.sqrt(n * share * (1 - share) + Z**2 / 4) / grown
    return max(0.0, centre - half), min(1.0, centre + half)


def estimate(marks: Sequence[Mark]) -> Estimate:
    """The mean over groups of the share of right answers, with a 95 % interval.

    With one group this is accuracy; with a group per true class it is balanced accuracy. The limits of the groups are
    Wilson's, each group's n divided by `design_effect`, and combined by variance recovery (Zou and Donner, 2008):
    low = value - sqrt(sum_c (p_c - l_c)^2) / C. One group whose samples have one question each is
    Wilson's interval itself.

    >>> marks = [Mark(i < 8, "yes", f"a{i}") for i in range(10)] + [Mark(i < 6, "no", f"b{i}") for i in range(10)]
    >>> [round(x, 3) for x in estimate(marks)]
    [0.7, 0.489, 0.836]
    """
    groups: dict[str, list[bool]] = defaultdict(list)
    for mark in marks:
        groups[mark.group].append(mark.right)
    effect = design_effect(marks)
    shares = [fmean(group) for group in groups.values()]
    ends = [wilson(sum(group) / effect, len(group) / effect) for group in groups.values()]
    value = fmean(shares)
    below = math.hypot(*(share - low for share, (low, _) in zip(shares, ends, strict=True))) / len(groups)
    above = math.hypot(*(high - share for share, (_, high) in zip(shares, ends, strict=True))) / len(groups)
    return Estimate(value, value - below, value + above)


def word_errors(answer: str, truth: str) -> tuple[int, int]:
    """Words that are wrong, missing or too many, and words of the truth; their ratio is the word error rate.

    Both are normalised as Whisper's English texts are (Radford et al., 2022, appendix C): without case, punctuation and
    fillers, numbers in digits.

    >>> word_errors("Press 1 to go.", "press one to continue"), word_errors("well, yes", "yes")
    ((1, 4), (1, 1))
    """
    told, said = whisper_normaliser()(truth), whisper_normaliser()(answer)
    if not told:
        raise BadData(f"{truth!r}: no word is left of it, and a word error rate is over words")
    found = errors(told, said)
    return found.substitutions + found.deletions + found.insertions, found.units


def word_error_rate(counts: Sequence[tuple[int, int]]) -> Estimate:
    """Errors over words of all clips; its 95 % interval by drawing clips anew (Bisani and Ney, 2004).

    >>> [round(x, 2) for x in word_error_rate([(0, 4), (2, 4), (1, 2), (5, 5)])]
    [0.53, 0.12, 0.89]
    """
    errors_K, words_K = np.array(counts, float).T
    drawn_RK = np.random.default_rng(0).integers(len(counts), size=(DRAWS, len(counts)))
    rates_R = errors_K[drawn_RK].sum(1) / words_K[drawn_RK].sum(1)
    low, high = np.quantile(rates_R, [0.025, 0.975])
    return Estimate(float(errors_K.sum() / words_K.sum()), float(low), float(high))


def design_effect(marks: Sequence[Mark]) -> float:
    """How many times larger the variance is because questions share a sample (Kish, 1965); at least 1.

    The linearised variance between samples, over that of independent answers. Where every group is all right or all
    wrong there is no spread to judge by, and the questions of a sample count as one: the mean number per sample.

    >>> alone = [Mark(i % 2 == 0, "", f"s{i}") for i in range(100)]
    >>> pairs = [Mark(i // 2 % 2 == 0, "", f"s{i // 2}") for i in range(100)]  # both of a picture right, or both wrong
    >>> round(design_effect(alone), 2), round(design_effect(pairs), 2)
    (1.0, 2.04)
    """
    sizes = Counter(mark.group for mark in marks)
    hits = Counter(mark.group for mark in marks if mark.right)
    by_sample: dict[str, float] = defaultdict(float)
    for right_, group, sample in marks:
        by_sample[sample] += (right_ - hits[group] / sizes[group]) / sizes[group]
    count = len(by_sample)
    independent = sum(hits[g] * (size - hits[g]) / size**3 for g, size in sizes.items())
    if count == len(marks):
        return 1.0
    if count == 1 or independent == 0:
        return len(marks) / count
    return max(1.0, count / (count - 1) * sum(total**2 for total in by_sample.values()) / independent)


def table(answers: Sequence[Answer], overall: Sequence[str] = (), media: Mapping[str, str] | None = None) -> list[Row]:
    """A row for each benchmark and kind, in the order in which they first appear; `media` says what each is about.

    A benchmark named in `overall` also gets a row of kind 'all' after its others: the one plain accuracy over all its
    questions, yes/no among them, under which it was published. What is said has its word error rate as well.

    >>> said = [("yes", "yes"), ("yes", "yes"), ("yes", "no")]
    >>> rows = table([Answer(f"s{i}", "b", "yes/no", "?", t, a) for i, (a, t) in enumerate(said)], overall=("b",))
    >>> [(row.kind, row.metric, round(row.value, 2), round(row.majority, 2)) for row in rows]
    [('yes/no', 'balanced accuracy', 0.5, 0.5), ('all', 'accuracy', 0.67, 0.67)]
    """
    cells: dict[str, dict[str, list[Answer]]] = defaultdict(lambda: defaultdict(list))
    for answer in answers:
        cells[answer.benchmark][answer.kind].append(answer)
    rows = []
    for benchmark, kinds in cells.items():
        for kind, cell in kinds.items():
            rows.append(_row(benchmark, kind, _plain(kind) == "yes/no", cell))
            rows += [_words_row(benchmark, kind, cell)] if _plain(kind) == WORDS else []
        if benchmark in overall:
            rows.append(_row(benchmark, ALL, False, [answer for cell in kinds.values() for answer in cell]))
    return [replace(row, medium=(media or {}).get(row.benchmark, row.medium)) for row in rows]


def about(rows: Iterable[Row]) -> str:
    """What the questions of all rows are about, in a word."""
    found = {row.medium for row in rows}
    return found.pop() if len(found) == 1 else "medium"


def _row(benchmark: str, kind: str, balanced: bool, cell: Sequence[Answer]) -> Row:
    """The row of one cell: the model, its majority baseline and, where it was asked, its swapped baseline."""
    truths = Counter(normalised(answer.truth, answer.kind) for answer in cell)
    constant = ", ".join(truths.most_common(1)[0][0])
    asked = [answer for answer in cell if answer.swapped is not None]
    model = estimate(_marks(cell, balanced, (answer.answer for answer in cell)))
    majority = estimate(_marks(cell, balanced, (constant for _ in cell)))
    swapped = estimate(_marks(asked, balanced, (answer.swapped or "" for answer in asked))) if asked else None
    return Row(
        benchmark=benchmark,
        kind=kind,
        metric="balanced accuracy" if balanced else "accuracy",
        n=len(cell),
        value=model.value,
        low=model.low,
        high=model.high,
        majority=majority.value,
        majority_answer=constant,
        swapped_n=len(asked) if swapped else None,
        swapped=swapped.value if swapped else None,
        swapped_low=swapped.low if swapped else None,
        swapped_high=swapped.high if swapped else None,
    )


def _words_row(benchmark: str, kind: str, cell: Sequence[Answer]) -> Row:
    """The word error rate of one cell, with that of the most frequent truth and of the answers to other sounds."""
    constant = Counter(answer.truth for answer in cell).most_common(1)[0][0]
    asked = [answer for answer in cell if answer.swapped is not None]
    model, majority = (
        word_error_rate([word_errors(text, answer.truth) for answer, text in zip(cell, said, strict=True)])
        for said in ([answer.answer for answer in cell], [constant] * len(cell))
    )
    swapped = word_error_rate([word_errors(a.swapped or "", a.truth) for a in asked]) if asked else None
    ends = (swapped.value, swapped.low, swapped.high) if swapped else (None, None, None)
    return Row(
        benchmark, kind, WORD_ERRORS, len(cell), *model, majority.value, constant, len(asked) or None, *ends
    )  # fmt: skip


def _plain(kind: str) -> str:
    """The kind of a question without the medium that it is about (`sound: words`)."""
    return kind.rpartition(": ")[2]


def _marks(cell: Sequence[Answer], balanced: bool, said: Iterable[str]) -> list[Mark]:
    """What was said, scored against each answer's truth."""
    return [
        Mark(right(text, a.truth, a.kind), normalised(a.truth, a.kind)[0] if balanced else "", a.sample)
        for a, text in zip(cell, said, strict=True)
    ]
