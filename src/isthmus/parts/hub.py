"""Parts from a model hub: `hf://org/name@revision`."""

from __future__ import annotations

import re
from pathlib import Path

from isthmus.errors import PartUnavailable

SCHEME = "hf://"
_FORM = re.compile(r"hf://(?P<repo>[\w.-]+(?:/[\w.-]+)?)@(?P<revision>[\w./-]+)")

# Weights as safetensors, configuration and tokenizer: never a pickle, never code.
_FILES = ["*.safetensors", "*.json", "*.jinja", "merges.txt", "vocab.txt", "tokenizer.model"]


def snapshot(source: str) -> Path:
    """The local folder of a hub repository at an exact revision, kept in the hub client's own cache.

    Raises `PartUnavailable` if the source has no revision, or the hub cannot be reached and nothing is cached.
    """
    match = _FORM.fullmatch(source)
    if match is None:
        raise PartUnavailable(
            f"{source!r} does not name a revision. Write hf://org/name@revision, best with a commit hash: "
            "a name alone may mean other weights tomorrow."
        )
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(match["repo"], revision=match["revision"], allow_patterns=_FILES)
    except Exception as error:  # the client changed its HTTP library, and so its exceptions, between releases
        raise PartUnavailable(
            f"{match['repo']} at revision {match['revision']} could not be fetched from the hub: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}\n"
            "Give a local folder that holds config.json instead, or a part that needs no hub (`isthmus parts`)."
        ) from error
    return Path(folder)
