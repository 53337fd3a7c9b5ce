"""What can be asked the questions of benchmarks.

default, runs/demo/model       a composed model            composed.py
a folder, a name on a hub      any image-text model        image_text.py
http://localhost:8000/v1#name  an OpenAI-compatible server served.py
majority, random               no model at all             trivial.py
blind:NAME                     one of these without media  trivial.py
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from isthmus import model_folder
from isthmus.errors import UnknownName
from isthmus.evaluate.questions import Question

BLIND = "blind:"
TRIVIAL = ("majority", "random")


class Said(NamedTuple):
    """An answer; None where there is none, and why.

    `confidence` is the model's own probability of it; `again` says that another try may succeed; `left` that it was not
    asked at all, which is no failure; `cut` that the answer would have been longer.
    """

    answer: str | None
    failed: str = ""
    confidence: float | None = None
    again: bool = False
    left: bool = False
    cut: bool = False


class Model(Protocol):
    """What answers questions, as many at once as are given, in their order."""

    takes: Collection[str]  # kinds of media

    def answers(self, questions: Sequence[Question]) -> list[Said]:
        """What it says, greedily."""

    def chosen(self, questions: Sequence[Question]) -> list[Said]:
        """Of each question's `answers` the likeliest by its mean log-likelihood per token."""


@runtime_checkable
class Streams(Protocol):
    """A model whose answers come one by one, each at its own time."""

    def stream(self, questions: Sequence[Question]) -> Iterator[tuple[int, Said]]:
        """Each answer with its question's number, as they come."""


def kind(name: str) -> str:
    """What a name stands for: `composed`, `image_text`, `served`, `trivial` or `blind`.

    Raises `UnknownName` for a folder that holds no model.
    """
    if name in TRIVIAL:
        return "trivial"
    if name.startswith(BLIND):
        return "blind"
    if name.startswith(("http://", "https://")):
        return "served"
    if name == "default":
        return "composed"
    folder = Path(name).expanduser()
    if not folder.exists() and name.count("/") == 1 and not name.startswith((".", "/", "runs/")):
        return "image_text"  # org/name
    try:
        config = json.loads((model_folder(name) / "config.json").read_text(encoding="utf-8"))
    except UnknownName as error:
        raise UnknownName(f"{error}. Or an OpenAI-compatible URL, {', '.join(TRIVIAL)} or {BLIND}MODEL") from None
    return "composed" if config.get("model_type") == "isthmus" else "image_text"


def opened(name: str, questions: Sequence[Question], device: str = "cpu", seed: int = 0) -> Model:
    """A model, ready to answer; `questions` are all that a benchmark asks, which trivial ones look at."""
    match kind(name):
        case "trivial":
            from isthmus.evaluate.models.trivial import Trivial

            return Trivial(name, questions, seed)
        case "blind":
            from isthmus.evaluate.models.trivial import Blind

            return Blind(opened(name.removeprefix(BLIND), questions, device, seed))
        case "served":
            from isthmus.evaluate.models.served import Served

            return Served(name)
        case "composed":
            from isthmus.evaluate.models.composed import Composed

            return Composed(name, device)
        case _:
            from isthmus.evaluate.models.image_text import ImageText

            return ImageText(name, device)


def facts(name: str) -> dict[str, Any]:
    """What a run's folder tells of a model: its name, and what stands for its files where these are here."""
    from isthmus.bulk.run import model_facts

    own = name.removeprefix(BLIND)
    what = kind(own)  # a folder may be called `majority` as well, such as that of its own run
    if what == "composed" or (what == "image_text" and Path(own).expanduser().is_dir()):
        return model_facts(own) | {"name": name}
    return {"name": name}


def confidence(logs: Sequence[float], chosen: int) -> float:
    """The probability of the chosen among options, from their log-likelihoods.

    >>> round(confidence([-1.0, -1.0, -1.0, -1.0], 0), 3)
    0.25
    """
    import torch

    return float(torch.tensor(logs, dtype=torch.float64).softmax(0)[chosen])
