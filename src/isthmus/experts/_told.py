"""What experts say of a medium, and how an LLM reads it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Told:
    """One thing that an expert says: what kind of thing it is (`speech`, `text`, `caption`), and when, in seconds.

    Of stills, `start` and `end` are None.
    """

    what: str
    text: str
    start: float | None = None
    end: float | None = None

    def __str__(self) -> str:
        """A line as people and LLMs read it.

        >>> print(Told("speech", "press one", 0.5, 2.04), Told("text", "EXIT"), sep="; ")
        0.5-2.0 s speech: press one; text: EXIT
        """
        when = "" if self.start is None else f"{self.start:.1f}-{self.end:.1f} s "
        return f"{when}{self.what}: {self.text}"


def before(question: str, told: Iterable[Told]) -> str:
    """A question with what experts say before it, in order of time: the text beside a medium's soft tokens.

    This is VideoChat's pairing (Li et al., 2023, arXiv:2305.06355, section 3.1) where both are given.

    >>> print(before("What is said?", [Told("text", "EXIT", 1.0, 2.0), Told("speech", "press one", 0.5, 2.0)]))
    0.5-2.0 s speech: press one
    1.0-2.0 s text: EXIT
    What is said?
    """
    lines = sorted(told, key=lambda one: one.start or 0.0)
    return "\n".join([*map(str, lines), question])
