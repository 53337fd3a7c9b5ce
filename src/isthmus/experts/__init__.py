"""Experts turn a medium into text, with no training: one file each, found by its name.

A file holds `ABOUT`, a line for listings; `KINDS`, the kinds of media that it takes; `SHORT`, the name that is shorter
to type; `INCLUDES`, the experts whose text is in its own; and `load(...)`, which answers an expert: `expert(medium)` is
what it tells, a list of `Told` in order of time, in seconds from where the medium begins. `load` needs no argument, and
takes some of these by name: `caption`, which says of a picture what it shows, or is None (a model does this, and models
come later). `ABOUT`, `KINDS`, `SHORT`, `INCLUDES` and `PARTS` (names of the catalogue) are literals, since listings
read them.

Nothing said is no error: a picture without text, a sound without speech and a video without sound give no lines. A
medium that cannot be decoded is `BadMedia`; an expert raises it as `isthmus.media.load` does.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import PIL.Image

from isthmus import registry
from isthmus.errors import BadMedia, UnknownName
from isthmus.experts._told import Told
from isthmus.types import Medium

__all__ = ["Caption", "Experts", "Told", "bounded", "need", "resolve"]

PACKAGE = "isthmus.experts"
LINES, CHARACTERS = 100, 4000  # that experts may tell before one question: about 1,200 tokens
LONGEST = 400  # characters of one line
Caption = Callable[[PIL.Image.Image], str]
Expert = Callable[[Medium], list[Told]]


def resolve(name: str) -> str:
    """The expert that a full or a short name means. Raises `UnknownName` with all of both.

    >>> resolve("speech"), resolve("speech-to-text")
    ('speech-to-text', 'speech-to-text')
    """
    every = registry.names(PACKAGE)
    short = {registry.constants(PACKAGE, one)["SHORT"]: one for one in every}
    found = short.get(name, name.replace("_", "-"))
    if found not in every:
        raise UnknownName(registry.miss("expert", name, dict.fromkeys([*short, *every])))
    return found


class Experts:
    """Several experts by name; each is loaded when it is first needed. Raises `UnknownName` for one there is not.

    Where one includes another (`video` has `speech` and `ocr`), only the first is asked about a medium that both take.
    """

    def __init__(self, names: Iterable[str], **given: Any) -> None:
        found = dict.fromkeys(resolve(name) for name in names)
        self.modules: dict[str, ModuleType] = {name: registry.find(PACKAGE, name) for name in found}
        self.given = given
        self.loaded: dict[str, Expert] = {}

    def about(self, kind: str) -> list[str]:
        """The names of those that are asked about a medium of this kind."""
        takes = [name for name, module in self.modules.items() if kind in module.KINDS]
        inside = {other for name in takes for other in getattr(self.modules[name], "INCLUDES", ())}
        return [name for name in takes if name not in inside]

    def __call__(self, medium: Medium) -> list[Told]:
        """What all that take it tell of a medium, in order of time. Raises `BadMedia` for a damaged one."""
        told = [one for name in self.about(medium.kind) for one in self._expert(name)(medium)]
        return sorted(told, key=lambda one: one.start or 0.0)

    def _expert(self, name: str) -> Expert:
        if name not in self.loaded:
            load = self.modules[name].load
            wants = inspect.signature(load).parameters
            self.loaded[name] = load(**{key: value for key, value in self.given.items() if key in wants})
        return self.loaded[name]


def bounded(told: Sequence[Told], lines: int = LINES, characters: int = CHARACTERS) -> tuple[list[Told], str]:
    """The first of what is told, as much as may stand before a question, and a note of what was left out, or "".

    A line is cut to `LONGEST` characters and then ends in three dots.

    >>> some, note = bounded([Told("text", "a"), Told("text", "b"), Told("text", "c")], lines=2)
    >>> [one.text for one in some], note
    (['a', 'b'], '1 of 3 lines that experts told was left out: at most 2 lines and 4,000 characters are read')
    """
    kept: list[Told] = []
    room = characters
    for one in told[:lines]:
        text = one.text if len(one.text) <= LONGEST else one.text[: LONGEST - 4] + " ..."
        cut = replace(one, text=text)
        room -= len(str(cut)) + 1
        if room < 0:
            break
        kept.append(cut)
    if not (missing := len(told) - len(kept)):
        return kept, ""
    was = "was" if missing == 1 else "were"
    return kept, (
        f"{missing} of {len(told)} lines that experts told {was} left out: at most {lines} lines and {characters:,}"
        " characters are read"
    )


def kind_of(medium: Medium, kinds: Sequence[str], name: str) -> None:
    """Raises `BadMedia` for a medium of a kind that an expert does not take."""
    if getattr(medium, "kind", None) not in kinds:
        what = getattr(medium, "kind", type(medium).__name__)
        raise BadMedia(f"a medium of the kind {what}; {name} takes {' and '.join(kinds)}")
