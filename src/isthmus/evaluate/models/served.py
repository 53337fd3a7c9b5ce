"""A model on an OpenAI-compatible server; several questions are under way at once."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from isthmus.errors import BadMedia, BadRecipe
from isthmus.evaluate.endpoint import Endpoint, Reply
from isthmus.evaluate.models import Said
from isthmus.evaluate.questions import Question
from isthmus.media import load
from isthmus.types import Message


class Served:
    """By `http://HOST/v1#MODEL`; a video goes there as pictures."""

    takes: Collection[str] = ("image", "audio", "video")

    def __init__(self, name: str) -> None:
        self.endpoint = Endpoint.named(name)
        self.endpoint.named_model()  # a server that is not there is told before anything is decoded

    def answers(self, questions: Sequence[Question]) -> list[Said]:
        """What it says at temperature 0; where there was no reply, why, and whether to ask again."""
        said: dict[str, Said] = {}
        for own in questions:
            try:
                for medium in own.media:
                    load(medium)
            except BadMedia as error:
                said[own.id] = Said(None, str(error))
        asked = [own for own in questions if own.id not in said]
        chats = [[Message("user", own.text, own.media)] for own in asked]
        found = self.endpoint.replies(chats, longest=[own.longest for own in asked])
        for own, one in zip(asked, found, strict=True):
            said[own.id] = Said(one.text) if isinstance(one, Reply) else Said(None, str(one), again=one.again)
        return [said[own.id] for own in questions]

    def chosen(self, questions: Sequence[Question]) -> list[Said]:
        """Raises `BadRecipe`."""
        raise BadRecipe("a server tells no likelihoods of options. Let it answer: --way generate")
