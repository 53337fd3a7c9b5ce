"""Parts from a model hub: `hf://org/name@revision`."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from isthmus.errors import PartUnavailable

SCHEME = "hf://"
INDEX = "model.safetensors.index.json"  # of sharded weights: tensor -> file
_SHARD = re.compile(r"-\d+-of-\d+\.safetensors$")
_FORM = re.compile(r"hf://(?P<repo>[\w.-]+(?:/[\w.-]+)?)@(?P<revision>[\w./-]+)")

# Weights as safetensors, configuration and tokenizer: never a pickle, never code.
_FILES = ["*.safetensors", "*.json", "*.jinja", "merges.txt", "vocab.txt", "tokenizer.model"]


def snapshot(source: str) -> Path:
    """The local folder of a hub repository at an exact revision, kept in the hub client's own cache.

    Raises `PartUnavailable` if the source has no revision, if the hub cannot be reached and nothing is cached, or if
    there are no safetensors.
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
    if not any(Path(folder).glob("*.safetensors")):
        raise PartUnavailable(
            f"{match['repo']} has no safetensors at revision {match['revision']}, and pickles are not loaded: they can "
            "run code. If you trust its makers, save it once with transformers (from_pretrained, save_pretrained; the "
            "tokenizer or image processor too) and name that folder instead"
        )
    return Path(folder)


def cached(source: str) -> Path | None:
    """The folder of a repository whose configuration and all weights are on this machine; else None. Asks no hub.

    It reads the cache as the hub's client documents it, since importing that takes longer than a listing should.
    """
    if (match := _FORM.fullmatch(source)) is None:
        return None
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    root = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()
    repository = root / f"models--{match['repo'].replace('/', '--')}"
    reference = repository / "refs" / match["revision"]
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else match["revision"]
    folder = repository / "snapshots" / commit
    return folder if (folder / "config.json").is_file() and _whole(folder) else None


def _whole(folder: Path) -> bool:
    """Whether the weights of a folder are all there: one file, or every shard that the index names."""
    if (folder / "model.safetensors").is_file():  # which is what transformers looks for first
        return True
    try:
        shards = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    except FileNotFoundError:
        return any(path.is_file() and not _SHARD.search(path.name) for path in folder.glob("*.safetensors"))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # cut off: nothing can be loaded by it
        return False
    return bool(shards) and all((folder / str(shard)).is_file() for shard in shards)
