"""A reader for media that transformers has no feature extractor for."""

from __future__ import annotations

from typing import Any

from transformers import FeatureExtractionMixin


class Reader(FeatureExtractionMixin):  # type: ignore[misc]
    """What media are brought to before they are encoded; saved and loaded as a feature extractor is.

    Args:
        span: how many points or steps one medium has.
        channels: numbers of one point or step.
    """

    def __init__(self, span: int = 0, channels: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.span, self.channels = span, channels
