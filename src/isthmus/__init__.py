"""Isthmus composes a multimodal LLM from pretrained parts, trains it in stages, measures it honestly and talks.

    import isthmus
    from isthmus import Image

    model, processor = isthmus.load_with_processor("default")
    print(isthmus.ask(model, processor, "What is this?", Image("cat.png")))

Importing it loads no model library; that happens with the first model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from isthmus.errors import IsthmusError
from isthmus.types import Image, Message, Sample, Turn

__version__ = "0.1.0"
__all__ = ["Image", "IsthmusError", "Message", "Sample", "Turn", "ask", "compose", "load_with_processor"]


def load_with_processor(name: str = "default") -> tuple[Any, Any]:
    """A model and its processor: `default` (shipped), or a folder that a run or `save_pretrained` wrote."""
    from isthmus.model import load

    return load(Path(__file__).parent / "shipped" if name == "default" else Path(name))


def compose(**parts: Any) -> tuple[Any, Any]:
    """A new model from parts, with its processor (see `isthmus.model.compose`)."""
    from isthmus.model import compose as build

    return build(**parts)


def ask(model: Any, processor: Any, question: str, *media: Image) -> str:
    """The answer to one question about any number of pictures."""
    from isthmus.chat import Chat

    return Chat(model, processor, waiting=list(media)).ask(question)[0]
