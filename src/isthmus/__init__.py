"""Isthmus composes a multimodal LLM from pretrained parts, trains it in stages, measures it honestly and talks.

    import isthmus
    from isthmus import Image

    model, processor = isthmus.load_with_processor("default")
    print(isthmus.ask(model, processor, "What is this?", Image("cat.png")))

Importing it loads no model library; that happens with the first model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isthmus.errors import IsthmusError, UnknownName
from isthmus.types import Audio, Image, Medium, Message, Points, Sample, Series, Turn, Video

__version__ = "0.1.0"
__all__ = [
    "Audio",
    "Image",
    "IsthmusError",
    "Message",
    "Points",
    "Sample",
    "Series",
    "Turn",
    "Video",
    "ask",
    "compose",
    "describe",
    "load_with_processor",
]


def load_with_processor(name: str | Path = "default", quantize: bool = True) -> tuple[Any, Any]:
    """A model and its processor: `default` (shipped), or a folder that a run or `save_pretrained` wrote.

    Without `quantize`, an LLM that was trained in 4 bits has its own weights (`isthmus.model.load`).

    Raises:
        UnknownName: when there is no such model; it names the nearest.
        BadCheckpoint: for a checkpoint that is incomplete, altered or made for other parts.
        PartUnavailable: for a part that cannot be fetched.
    """
    folder = model_folder(name)
    from isthmus.model import load

    return load(folder, quantize=quantize)


def model_folder(name: str | Path) -> Path:
    """The folder of a model's checkpoint; raises as `load_with_processor` does."""
    from isthmus.registry import miss

    if str(name) == "default":
        return Path(__file__).parent / "shipped"
    folder = Path(name).expanduser()
    if not (folder / "config.json").is_file():
        near = [*folder.glob("model/config.json"), *Path("runs").glob("*/model/config.json")]
        runs = {path.parent for path in near}
        known = ["default", *sorted(map(str, runs))]
        raise UnknownName(miss("model", str(name), known) + f", or any checkpoint's folder{_trained_by(folder)}")
    return folder


def _trained_by(folder: Path) -> str:
    """How to get the model of a run that a recipe of ours names and that is not there."""
    from isthmus.train.recipe import shipped

    name = folder.parent.name
    return f". It comes of `isthmus train {name}`" if folder.name == "model" and name in shipped() else ""


def compose(**parts: Any) -> tuple[Any, Any]:
    """A new model from parts, with its processor (see `isthmus.model.compose`)."""
    from isthmus.model import compose as build

    return build(**parts)


def ask(model: Any, processor: Any, question: str, *media: Medium, experts: Sequence[str] = ()) -> str:
    """The answer to one question about any number of media, of the kinds that the model takes.

    `experts`, by name (`speech`, `ocr`, `video`), tell what they make of the media as text before the question, also of
    kinds that the model does not take.
    """
    from isthmus.chat import Chat

    chat = Chat(model, processor, experts=experts)
    for medium in media:
        chat.show(medium)
    return chat.ask(question)[0]


def describe(medium: str | Path | Medium, experts: Sequence[str] | None = None, model: Any = "default") -> Any:
    """A video, sound or picture as text (see `isthmus.describing.describe`): `print` it, or read its `told`."""
    from isthmus.describing import describe as tell

    return tell(medium, experts, model)
