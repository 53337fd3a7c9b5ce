"""A data set of Hugging Face's `datasets`, streamed: from the hub, or a folder in the layout of one (`hf:NAME`)."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.data.containers import Found
from isthmus.errors import BadData, BadRecipe

PREFIX = "hf:"


def rows(name: str, split: str = "train", config: str | None = None) -> Iterator[Found]:
    """The rows of `hf:NAME` in their order, media as they are stored.

    Raises `BadRecipe` where `datasets` is not installed, `BadData` without such a data set, split or connection.
    """
    try:
        import datasets
    except ImportError as error:
        raise BadRecipe(f"{name} needs datasets: pip install 'isthmus[data]'") from error
    number = 0
    try:
        found = datasets.load_dataset(name.removeprefix(PREFIX), config, split=split, streaming=True)
        for column, feature in (found.features or {}).items():
            if isinstance(feature, datasets.Image | datasets.Audio | datasets.Video):
                found = found.cast_column(column, type(feature)(decode=False))
        for number, row in enumerate(found, 1):
            yield f"{name}, row {number}", dict(row)
    except Exception as error:  # datasets lets through whatever its readers and the network raise
        raise BadData(f"{name}, split {split}: after row {number}: {' '.join(str(error).split())[:300]}") from error
