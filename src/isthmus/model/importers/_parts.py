"""What importers share: the original model, read safely, and a composed model around its modules."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoImageProcessor, AutoModelForCausalLM, AutoTokenizer

from isthmus.data.packing import Frame
from isthmus.errors import PartUnavailable
from isthmus.model import encoding
from isthmus.model.build import freeze, joined, sizes
from isthmus.model.composed import IsthmusModel
from isthmus.model.configuration import IsthmusConfig
from isthmus.model.processor import IsthmusProcessor
from isthmus.parts.weights import SAFE, pretrained

Imported = tuple[IsthmusModel, IsthmusProcessor]


def original(kind: Any, folder: Path) -> Any:
    """The model of the transformers class `kind` in `folder`, in fp32; raises as `pretrained` does."""
    return pretrained(kind, folder).eval()


def require(folder: Path, config: Any, **wanted: Any) -> None:
    """Refuse a checkpoint whose configuration has another value than what can be expressed here."""
    for key, value in wanted.items():
        if (found := getattr(config, key)) != value:
            raise PartUnavailable(
                f"{folder}: {config.model_type} with {key} {found!r} cannot be imported, only {value!r}"
            )


def causal(config: Any, decoder: nn.Module, head: nn.Module) -> Any:
    """The LLM of `config` whose decoder and head are there already."""
    with torch.device("meta"):
        llm = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    setattr(llm, llm.base_model_prefix, decoder)
    llm.set_output_embeddings(head)
    config.tie_word_embeddings = llm.config.tie_word_embeddings = head.weight is llm.get_input_embeddings().weight
    return llm


def composed(
    llm: Any, kind: str, encoder: nn.Module, options: dict[str, Any], connector: dict[str, Any]
) -> tuple[IsthmusModel, Any]:
    """A model of an LLM, an encoder (`options` are its name and size) and a fresh connector, which is returned too."""
    own: Any = encoder.config
    for part in (llm.config, own):
        part.name_or_path = ""  # a path of this machine, which a checkpoint would carry away
    config = IsthmusConfig(
        llm_config=llm.config,
        encoders={kind: options},
        connectors={kind: connector},
        placeholders={kind: llm.config.get_text_config().vocab_size},
        **{f"{kind}_config": own},
    )
    model = freeze(joined(config, llm, {kind: encoder}))
    return model, model.connectors[kind]


def processor(model: IsthmusModel, tokenizer: Any, images: Any, frame: Frame | None) -> IsthmusProcessor:
    """The model's processor; no frame is ChatML's."""
    asked = None if frame is None else dataclasses.asdict(frame)
    return IsthmusProcessor(tokenizer, images, model.config.placeholders, frame=asked, **sizes(model))


def reader(model: IsthmusModel, kind: str, folder: Path) -> Any:
    """What prepares media of a kind other than images, with the settings in `folder`."""
    return encoding.module(model.config, kind).reader(folder, model.config.encoders[kind]["size"])


def tokenizer(folder: Path) -> Any:
    """The LLM's tokenizer."""
    return _loaded(AutoTokenizer, folder)


def images(folder: Path) -> Any:
    """The image processor."""
    return _loaded(AutoImageProcessor, folder, backend="pil")


def _loaded(kind: Any, folder: Path, **options: Any) -> Any:
    try:
        return kind.from_pretrained(folder, **SAFE, **options)
    except (OSError, ValueError) as error:
        raise PartUnavailable(f"{folder} cannot be imported: {error}") from error


def ends(tokenizer: Any) -> tuple[str, str]:
    """What the tokenizer puts before and after a text by itself, as text."""
    ids, bare = (tokenizer("a", add_special_tokens=own).input_ids for own in (True, False))
    start = next((i for i in range(len(ids)) if ids[i : i + len(bare)] == bare), 0)
    before, after = ids[:start], ids[start + len(bare) :]
    return "".join(tokenizer.convert_ids_to_tokens(before)), "".join(tokenizer.convert_ids_to_tokens(after))


def same(config: Any, names: str) -> dict[str, Any]:
    """The values of a configuration that another one takes by the same names, which spaces separate."""
    return {name: getattr(config, name) for name in names.split()}


def move(names: dict[str, str], theirs: nn.Module, ours: nn.Module) -> None:
    """Weights from the modules of one to those of the other; `names` are ours -> theirs."""
    for name, old in names.items():
        target = ours.get_submodule(name)
        if not isinstance(target, nn.Identity):
            target.load_state_dict(theirs.get_submodule(old).state_dict())
