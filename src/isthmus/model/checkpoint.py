"""Checkpoints: light ones, which hold what was trained, and full ones, which are ordinary transformers folders.

    light     config.json  trained.safetensors  manifest.json      the parts are fetched by name
    full      config.json  model.safetensors  tokenizer and processor files  manifest.json

A checkpoint becomes visible whole or not at all: it is written beside its place, flushed, and renamed into it.
"""

from __future__ import annotations

import copy
import errno
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from isthmus import parts
from isthmus.errors import BadCheckpoint, IsthmusError, PartUnavailable, UnknownName
from isthmus.model import quantize as quantized
from isthmus.model.build import assemble, fingerprint, freeze
from isthmus.model.choice import places
from isthmus.model.composed import IsthmusModel, encoder
from isthmus.model.configuration import IsthmusConfig
from isthmus.model.lora import add_lora, merge_lora
from isthmus.model.processor import IsthmusProcessor
from isthmus.parts import cache, catalog, foreign
from isthmus.parts.weights import SAFE

TRAINED = "trained.safetensors"
FULL = ("model.safetensors", "model.safetensors.index.json")


def save_trained(model: IsthmusModel, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a light checkpoint: connectors with their buffers, LoRA adapters, and parts whose own weights changed.

    Matrices are stored as `dtype`; vectors and scalars, which cost nothing, as they are. A part counts as changed
    once it was unfrozen (`unfreeze`), or if any of its own weights is trainable now.

    Raises:
        IsthmusError: when the disk is full or a tensor is not finite (an earlier checkpoint there stays as it was), or
            `folder` holds something else.
    """
    model.config.trained = sorted(where for where in _parts(model) if _changed(model, where))
    trained = {name: _stored(name, tensor, dtype) for name, tensor in trained_tensors(model).items()}
    with _replacing(folder, "light") as new:
        model.config.to_json_file(new / "config.json", use_diff=False)
        save_file(trained, new / TRAINED)


def save_full(model: IsthmusModel, processor: IsthmusProcessor, folder: str | Path) -> None:
    """Write an ordinary transformers folder, adapters merged, that the Auto classes load after `import isthmus.model`.

    What works for some kinds of media alone (`model.beside`) cannot be merged, and has keys of its own.
    A model with adapters is copied for the merge. Raises `IsthmusError` as `save_trained` does, or for a quantised LLM.
    """
    quantized.refuse(model.config, "a full checkpoint")
    if model.config.adapters:
        merge_lora(model := copy.deepcopy(model))
    with _replacing(folder, "full") as new:
        model.save_pretrained(new)
        processor.save_pretrained(new)


def load(folder: str | Path, merge: bool = True, quantize: bool = True) -> tuple[IsthmusModel, IsthmusProcessor]:
    """The model and processor of a checkpoint, light or full, with only the connectors (and adapters) trainable.

    Args:
        folder: what `save_trained`, `save_full` or `save_pretrained` wrote.
        merge: add the adapters to the weights; False keeps them, to train them further. One that works for some kinds
            of media alone stays beside the weights.
        quantize: hold the LLM as it was while it was trained; False takes its own weights in place of quantised ones,
            which needs no bitsandbytes and can be merged and exported, but is not quite what was trained.

    Raises:
        BadCheckpoint: for a checkpoint that is missing, incomplete, altered, made for other parts, or whose
            configuration names Python code to be run.
        PartUnavailable: for a part that cannot be fetched, or was altered in the cache.
    """
    folder = Path(folder).expanduser()
    if wrong := foreign.code(folder):
        raise BadCheckpoint(wrong)
    config = _config(folder)
    if not quantize:
        config.quantize = None
    _verify(folder)
    model, processor = (_full if any((folder / name).is_file() for name in FULL) else _light)(folder, config)
    if merge:
        merge_lora(model)
    return model, processor


def begin(model: IsthmusModel, folder: str | Path) -> tuple[str, set[str]]:
    """Give a composed model what a light checkpoint holds: connectors, adapters, parts whose weights changed.

    The model may take kinds of media that the checkpoint does not, not the other way round. Returned are the
    digest of what was taken, and the kinds of media of whose encoders it has the weights.

    Raises `BadCheckpoint` for a checkpoint that `load` would refuse, is a full one, or was made for other parts,
    connectors or sizes than the model's, or whose adapter was trained over an LLM held in other bits.
    """
    folder = Path(folder).expanduser()
    config = _config(folder)
    _verify(folder)
    if not (folder / TRAINED).is_file():
        raise BadCheckpoint(f"{folder} is no light checkpoint, which a run writes; a model begins with nothing else")
    for what in ("parts", "connectors", "encoders"):
        there, here = getattr(config, what), getattr(model.config, what)
        for where, its in there.items():
            if not its.items() <= here.get(where, {}).items():  # an older one lacks options that came later
                raise BadCheckpoint(f"{folder}: {where} of its {what} is {its}, of this model {here.get(where)}")
    if ("llm" in config.adapters or config.beside) and config.quantize != model.config.quantize:
        there, here = (form or "none" for form in (config.quantize, model.config.quantize))
        raise BadCheckpoint(
            f"{folder}: its LLM's adapter was trained with quantize: {there}, this model has {here}. An adapter is"
            " right for the weights that it was trained over: give both the same"
        )
    for where, facts in config.adapters.items():
        add_lora(model, where, **facts)
    if config.beside:
        model.put_beside(**config.beside)
    try:
        trained = load_file(folder / TRAINED)
    except (SafetensorError, OSError) as error:
        raise BadCheckpoint(f"{folder / TRAINED} cannot be read: {error}") from error
    own = model.state_dict()
    if wrong := sorted(name for name, tensor in trained.items() if name not in own or own[name].shape != tensor.shape):
        raise BadCheckpoint(f"{folder} does not fit this model: {len(wrong)} tensors differ, such as {wrong[0]}")
    model.load_state_dict(trained, strict=False)
    model.config.trained = sorted({*model.config.trained, *config.trained})
    return cache.sha256(folder / TRAINED), {name.split(".")[1] for name in trained if name.startswith("encoders.")}


def trained_tensors(model: IsthmusModel) -> dict[str, Tensor]:
    """What a light checkpoint holds: name -> tensor, as in the model's state dict."""
    whole = tuple(f"{_module(where)}." for where in model.config.trained)
    head = model.llm.get_output_embeddings().weight is model.llm.get_input_embeddings().weight
    tied = {f"llm.{name}" for name in model.llm.all_tied_weights_keys} if head else set()
    return {
        name: tensor
        for name, tensor in model.state_dict().items()
        if (name.startswith(("connectors.", "beside.", *whole)) or ".lora_" in name) and name not in tied
    }


def _parts(model: IsthmusModel) -> list[str]:
    return ["llm", *(f"{kind}.encoder" for kind in model.encoders)]


def _module(where: str) -> str:
    """The state dict's prefix of a part: `image.encoder` is `encoders.image`."""
    kind, _, role = where.partition(".")
    return f"{role}s.{kind}" if role else kind


def _changed(model: IsthmusModel, where: str) -> bool:
    own = model.get_submodule(_module(where)).named_parameters()
    return where in model.config.trained or any(p.requires_grad and ".lora_" not in name for name, p in own)


def _stored(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    stored = tensor.detach().cpu().to(dtype if tensor.dim() > 1 and tensor.is_floating_point() else tensor.dtype)
    if not bool(torch.isfinite(stored).all()):
        raise IsthmusError(
            f"{name} is not finite as {stored.dtype}, so the checkpoint was not written. If training did not diverge, "
            "save it as float32."
        )
    return stored.contiguous()


@contextmanager
def _replacing(target: str | Path, form: str) -> Iterator[Path]:
    """A new folder that takes the place of `target` once the block has filled it and it is on disk."""
    folder = Path(target).expanduser().absolute()
    if folder.exists() and not (folder / cache.MANIFEST).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise IsthmusError(f"{folder} holds something that is not a checkpoint. Name a folder that is new or empty.")
    try:
        with cache.scratch(folder.with_name(f".writing-{folder.name}")) as scratch:
            (new := scratch / folder.name).mkdir()
            yield new
            cache.write_manifest(new, {"checkpoint": form})
            cache.publish(new, folder)
    except (OSError, SafetensorError) as error:
        if cache.disk_full(error):
            error = OSError(errno.ENOSPC, "the disk is full")
        raise IsthmusError(f"the checkpoint {folder} was not written: {error}. What was there is unchanged.") from error


def _config(folder: Path) -> IsthmusConfig:
    try:
        facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = facts.get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        earlier = folder.with_name(f".replaced-{folder.name}")
        hint = f" An earlier one lies in {earlier}." if earlier.is_dir() else ""
        raise BadCheckpoint(f"{folder} is no checkpoint: config.json is missing or unreadable.{hint}") from error
    if kind != IsthmusConfig.model_type:
        raise BadCheckpoint(f"{folder} holds a {kind!r} model, not a composed one. `compose` takes it as a part.")
    try:
        return IsthmusConfig.from_dict(facts)  # type: ignore[no-any-return]
    except Exception as error:  # transformers checks values with many kinds of exception
        raise BadCheckpoint(f"{folder}: config.json does not describe a composed model: {error}") from error


def _verify(folder: Path) -> None:
    """Compare every file with the manifest; a folder of `save_pretrained` has none, and safetensors checks its own."""
    if not (folder / cache.MANIFEST).is_file() and any((folder / name).is_file() for name in FULL):
        return
    try:
        listing = json.loads((folder / cache.MANIFEST).read_text(encoding="utf-8"))["files"]
        expected = {name: (facts["size"], facts["sha256"]) for name, facts in listing.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadCheckpoint(f"{folder}: {cache.MANIFEST} is missing or damaged. Copy or train it again.") from error
    for name, (size, digest) in expected.items():
        file = folder / name
        if not file.is_file():
            raise BadCheckpoint(f"{folder} is incomplete: {name} is missing. Copy it again.")
        if file.stat().st_size != size:
            raise BadCheckpoint(f"{file} has {file.stat().st_size:,} bytes, {size:,} were written. Copy it again.")
        if cache.sha256(file) != digest:
            raise BadCheckpoint(f"{file} was altered: its SHA-256 is not the one in {cache.MANIFEST}. Copy it again.")


def _full(folder: Path, config: IsthmusConfig) -> tuple[IsthmusModel, IsthmusProcessor]:
    try:
        model, info = IsthmusModel.from_pretrained(folder, **SAFE, use_safetensors=True, output_loading_info=True)
        processor = IsthmusProcessor.from_pretrained(folder, **SAFE)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise BadCheckpoint(f"{folder} cannot be loaded: {error}. Copy it again.") from error
    if wrong := sorted({*info["missing_keys"], *info["unexpected_keys"]}):
        raise BadCheckpoint(f"{folder} does not fit its config.json: {len(wrong)} tensors differ, such as {wrong[0]}")
    return freeze(model), processor


def _light(folder: Path, config: IsthmusConfig) -> tuple[IsthmusModel, IsthmusProcessor]:
    folders = {where: _part(folder, where, facts) for where, facts in config.parts.items()}
    with tempfile.TemporaryDirectory() as room:
        for kind in config.encoders:  # those that were new have no part: all their weights are in the checkpoint
            if not any(where in folders for where in places(kind, config.encoders[kind]["name"])):
                folders[f"{kind}.encoder"] = Path(room) / kind
                encoder(config, kind).save_pretrained(Path(room) / kind)
        model, processor = assemble(config, folders)
    adapters, config.adapters = config.adapters, {}
    for where, facts in adapters.items():
        add_lora(model, where, **facts)
    try:
        trained = load_file(folder / TRAINED)
    except (SafetensorError, OSError) as error:
        raise BadCheckpoint(f"{folder / TRAINED} cannot be read: {error}") from error
    expected: dict[str, Any] = {name: tuple(tensor.shape) for name, tensor in trained_tensors(model).items()}
    found = {name: tuple(tensor.shape) for name, tensor in trained.items()}
    if wrong := sorted(dict(expected.items() ^ found.items())):
        raise BadCheckpoint(f"{folder} does not fit its config.json: {len(wrong)} tensors differ, such as {wrong[0]}")
    model.load_state_dict(trained, strict=False)
    return model, processor


def _part(folder: Path, where: str, facts: dict[str, str]) -> Path:
    try:
        source = parts.get(facts["name"])
    except UnknownName as error:
        raise BadCheckpoint(f"{folder} was made for a part that is not here: {error}") from error
    if (actual := fingerprint(facts["name"], source)) != facts["sha256"]:
        raise BadCheckpoint(
            f"{folder} was made for another {facts['name']} ({where}): SHA-256 {_short(facts['sha256'])}, "
            f"here {_short(actual)}. Take the version of Isthmus that trained it, or its full form."
        )
    if facts["name"] in catalog.PARTS and (altered := cache.altered(source)):  # their fingerprint is of the package
        raise PartUnavailable(
            f"{source / altered[0]} was altered: its SHA-256 is not the one in {cache.MANIFEST}. Delete the folder; the"
            " part is made again when it is next needed."
        )
    return source


def _short(print_: str) -> str:
    """The digest cut to what can be compared by eye, the converter in full."""
    digest, plus, converter = print_.partition("+")
    return f"{digest[:12]}...{plus}{converter}"
