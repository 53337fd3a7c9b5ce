"""A model on an OpenAI-compatible server; several questions are under way at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from isthmus.errors import BadMedia, BadRecipe, IsthmusError
from isthmus.evaluate.endpoint import Endpoint, Reply
from isthmus.evaluate.models import Said
from isthmus.evaluate.questions import Question
from isthmus.media import load
from isthmus.types import Message

NO_LIKELIHOODS = "a server tells no likelihoods of options. Let it answer: --way generate"
IN_A_ROW = 8  # failures, each after several tries: more will not come


class Served:
    """By `http://HOST/v1#MODEL`; a video goes there as pictures."""

    failed = 0  # in a row
    takes: Collection[str] = ("image", "audio", "video")

    def __init__(self, name: str) -> None:
        self.endpoint = Endpoint.named(name)
        self.endpoint.named_model()  # a server that is not there is told before anything is decoded

    def answers(self, questions: Sequence[Question]) -> list[Said]:
        """What it says at temperature 0; where there was no reply, why, and whether to ask again."""
        said = dict(self.stream(questions))
        return [said[number] for number in range(len(questions))]

    def stream(self, questions: Sequence[Question]) -> Iterator[tuple[int, Said]]:
        """Each answer as it comes.

        Raises `IsthmusError` where the server fails so many times in a row that it will not answer the others either.
        """
        asked = []
        for number, own in enumerate(questions):
            try:
                for medium in own.media:
                    load(medium)
                asked.append(number)
            except BadMedia as error:
                yield number, Said(None, str(error))
        chats = [[Message("user", questions[number].text, questions[number].media)] for number in asked]
        for place, one in self.endpoint.stream(chats, longest=[questions[number].longest for number in asked]):
            if isinstance(one, Reply):
                self.failed = 0
                yield asked[place], Said(one.text, cut=one.cut)
                continue
            self.failed = self.failed + 1 if one.again else 0
            yield asked[place], Said(None, str(one), again=one.again)
            if self.failed >= IN_A_ROW:
                raise IsthmusError(
                    f"{self.endpoint.url} answered none of the last {self.failed} questions ({one}). Is it running? Its"
                    " answers so far are kept: go on with --resume"
                )

    def chosen(self, questions: Sequence[Question]) -> list[Said]:
        """Raises `BadRecipe`."""
        raise BadRecipe(NO_LIKELIHOODS)
