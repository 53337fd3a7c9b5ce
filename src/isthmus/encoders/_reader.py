"""A reader for media that transformers has no feature extractor for, and how a saved one's class is found."""

from __future__ import annotations

from typing import Any

import transformers
from transformers import FeatureExtractionMixin
from transformers.image_processing_utils import BaseImageProcessor

from isthmus.errors import BadCheckpoint


class Reader(FeatureExtractionMixin):  # type: ignore[misc]
    """What media are brought to before they are encoded; saved and loaded as a feature extractor is.

    Args:
        span: how many points or steps one medium has.
        channels: numbers of one point or step.
    """

    def __init__(self, span: int = 0, channels: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.span, self.channels = span, channels


def known(name: Any, *own: type) -> Any:
    """The reader's class that a checkpoint calls `name`: one of `own`, or one of transformers.

    Raises `BadCheckpoint` for any other name: nothing else of transformers is ever made from a checkpoint's word.
    """
    ours = {one.__name__: one for one in own}
    found = ours.get(name) or getattr(transformers, str(name), None)
    if not (isinstance(found, type) and issubclass(found, FeatureExtractionMixin | BaseImageProcessor)):
        raise BadCheckpoint(
            f"no reader {name!r}. Known: {', '.join([*ours, 'WhisperFeatureExtractor', 'CLIPImageProcessor'])} and "
            "transformers' other feature extractors and image processors. Copy the checkpoint again"
        )
    return found
