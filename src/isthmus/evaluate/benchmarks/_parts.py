"""The figure of all samples, then those of each part of them: by type of question, split, task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from isthmus.evaluate.scored import Figure, Scored, mean, proportion


class Value(NamedTuple):
    """A sample's value; `cluster` is what several share, as a picture, `parts` are the names of where it counts.

    With its `id`, `add` marks it as the sample's own score.
    """

    value: float
    cluster: str
    parts: tuple[str, ...] = ()
    id: str = ""


def figure(some: Sequence[Value]) -> Figure:
    """Their mean: with Wilson's interval where each is right or wrong, else with a bootstrap's."""
    values, clusters = [one.value for one in some], [one.cluster for one in some]
    if values and all(value in (0, 1) for value in values):
        return proportion((value == 1 for value in values), clusters)
    return mean(values, clusters)


def add(found: Scored, metric: str, some: Sequence[Value], order: Iterable[str] = ()) -> None:
    """Put the figure of all behind those that are there, then each part's: those of `order` first, others as met."""
    found.marks |= {one.id: float(one.value) for one in some if one.id}
    found.add({metric: figure(some)})
    met: dict[str, list[Value]] = {name: [] for name in order}
    for one in some:
        for name in one.parts:
            met.setdefault(name, []).append(one)
    for name, own in met.items():
        if own:
            found.add({metric: figure(own)}, name)
