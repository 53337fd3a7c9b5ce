"""What experts say of a medium, and how an LLM reads it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Told:
    """One thing that an expert says: what kind of thing it is (`speech`, `text`, `caption`), and when, in seconds.

    Of stills, `start` and `end` are None. `of` says which of several media it is about.
    """

    what: str
    text: str
    start: float | None = None
    end: float | None = None
    of: str = ""

    def __str__(self) -> str:
        """A line as people and LLMs read it.

        >>> print(Told("speech", "press one", 0.5, 2.04), Told("text", "EXIT"), Told("text", "1", of="clip"), sep="; ")
        0.5-2.0 s speech: press one; text: EXIT; clip, text: 1
        """
        which = f"{self.of}, " if self.of else ""
        when = "" if self.start is None else f"{self.start:.1f}-{self.end:.1f} s "
        return f"{which}{when}{self.what}: {self.text}"

    def to_dict(self) -> dict[str, str | float | None]:
        """For JSON: what, text, start and end, and `of` where there is one."""
        return {key: value for key, value in vars(self).items() if key != "of" or value}


def before(question: str, told: Iterable[Told]) -> str:
    """A question with what experts say before it, of each medium in order of time: the text beside its soft tokens.

    This is VideoChat's pairing (Li et al., 2023, arXiv:2305.06355, section 3.1) where both are given.

    >>> print(before("What is said?", [Told("text", "EXIT", 1.0, 2.0), Told("speech", "press one", 0.5, 2.0)]))
    0.5-2.0 s speech: press one
    1.0-2.0 s text: EXIT
    What is said?
    """
    told = list(told)
    media = list(dict.fromkeys(one.of for one in told))
    lines = sorted(told, key=lambda one: (media.index(one.of), one.start or 0.0))
    return "\n".join([*map(str, lines), question])
