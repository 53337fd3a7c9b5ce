"""What needs no eyes: the majority answer, a random one, and a model that is shown nothing."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

from isthmus.evaluate.models import Model, Said
from isthmus.evaluate.questions import Question
from isthmus.types import KINDS


class Trivial:
    """Answers from the truths alone: `majority`, the most frequent of the benchmark's; `random`, any with equal chance.

    A random answer to a question with options is one of these; else one of the benchmark's different truths. It
    depends on the seed and the question's id. Where there are neither options nor truths, nothing is answered.
    """

    takes: Collection[str] = tuple(KINDS)

    def __init__(self, name: str, questions: Sequence[Question], seed: int = 0) -> None:
        self.name, self.seed = name, seed
        counts = Counter(own.truth for own in questions if own.truth)
        self.known = [answer for answer, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]

    def answers(self, questions: Sequence[Question]) -> list[Said]:
        """The answers; media and texts are not looked at."""
        nothing = Said(None, f"{self.name} has no options and no truths to answer from", left=True)
        return [Said(self._answer(own)) if self._known(own) else nothing for own in questions]

    chosen = answers

    def _known(self, question: Question) -> bool:
        return bool(self.known or (question.answers and self.name == "random"))

    def _answer(self, question: Question) -> str:
        if self.name == "random":
            return random.Random(f"{self.seed}/{question.id}").choice(question.answers or sorted(self.known))
        allowed = question.answers or self.known
        return next((answer for answer in self.known if answer in allowed), allowed[0])


class Blind:
    """A model that is asked the same without the media: what can be answered from the text alone."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.takes: Collection[str] = tuple(KINDS)

    def answers(self, questions: Sequence[Question]) -> list[Said]:
        """What the model says to the texts."""
        return self.model.answers([replace(own, media=()) for own in questions])

    def chosen(self, questions: Sequence[Question]) -> list[Said]:
        """What it finds likeliest by the texts."""
        return self.model.chosen([replace(own, media=()) for own in questions])
