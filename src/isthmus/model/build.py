"""Compose a model from pretrained parts."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer

from isthmus import parts
from isthmus.connectors._options import SIZES
from isthmus.connectors._options import options as connector_options
from isthmus.data.packing import plain
from isthmus.encoders._pictures import resize
from isthmus.errors import BadRecipe, PartUnavailable
from isthmus.model.composed import IsthmusModel, connector, family
from isthmus.model.configuration import IsthmusConfig
from isthmus.model.processor import IsthmusProcessor
from isthmus.options import problems
from isthmus.parts import catalog
from isthmus.parts.cache import sha256
from isthmus.parts.weights import SAFE, pretrained
from isthmus.registry import find, miss

FILES = (".safetensors", ".json", ".jinja", ".txt", ".model")  # what a part's folder is loaded from


def compose(
    llm: str = "smollm2-135m-instruct",
    image: tuple[str, str] | Mapping[str, Any] = ("vit-s", "mlp"),
    seed: int = 0,
) -> tuple[IsthmusModel, IsthmusProcessor]:
    """An LLM with eyes: pretrained parts in fp32, joined by a fresh connector, which alone is trainable.

    Args:
        llm: a part's name, `hf://org/name@revision`, or a local folder.
        image: (encoder, connector), or a mapping with `encoder`, `connector` and what is not to be their default:
            `part` (where the encoder's weights come from), `size` (pixels), and the connector's options.
        seed: of the connector's initial weights.

    Raises:
        UnknownName: for a part, an encoder or a connector that does not exist.
        PartUnavailable: for a part that cannot be fetched or read.
        BadRecipe: for options that do not fit, or an LLM that cannot be joined.
    """
    options = dict(zip(("encoder", "connector"), image, strict=True)) if isinstance(image, tuple) else dict(image)
    options = {key: value for key, value in options.items() if value is not None}
    for key in ("encoder", "connector"):
        if key not in options:
            raise BadRecipe(f"image: no {key} is named. For example: {{encoder: vit-s, connector: mlp}}")
    encoder = find("isthmus.encoders", name := options.pop("encoder"))
    part, size = options.pop("part", encoder.PART), options.pop("size", encoder.SIZE)
    if part is None:
        raise BadRecipe(f"image: the encoder {name} has no default weights. Name a folder or hub part with `part`")
    if size < 1:
        raise BadRecipe(f"image: size: {size} pixels, at least 1 is needed")
    _check_options(options)
    named = {"llm": llm, "image.encoder": part}
    folders = {where: parts.get(source) for where, source in named.items()}
    config = IsthmusConfig(
        llm_config=_config(folders["llm"]),
        image_config=_config(folders["image.encoder"]),
        encoders={"image": {"name": name, "size": size}},
        connectors={"image": {"name": options.pop("connector"), **options}},
        parts={where: _record(source, folders[where]) for where, source in named.items()},
    )
    _fill_in(config.connectors["image"], config.get_text_config())
    config.placeholders = {kind: config.get_text_config().vocab_size + k for k, kind in enumerate(config.encoders)}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return assemble(config, folders)


def assemble(config: IsthmusConfig, folders: Mapping[str, Path]) -> tuple[IsthmusModel, IsthmusProcessor]:
    """The model of `config` with its parts' weights from `folders` ("llm", "<kind>.encoder"), and its processor."""
    if not getattr(config.get_text_config(), "num_attention_heads", None):
        name = config.get_text_config().model_type
        raise BadRecipe(f"{name} has no attention, by which text would look at media. Take another LLM")
    llm, modules = pretrained(family(config.llm_config), folders["llm"]), {}
    for kind, encoder in config.encoders.items():
        modules[kind] = find("isthmus.encoders", encoder["name"]).load(folders[f"{kind}.encoder"])
        setattr(config, f"{kind}_config", modules[kind].config)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folders["llm"], **SAFE)
        images = _images(config.encoders["image"], folders["image.encoder"])
    except (OSError, ValueError) as error:
        where = ", ".join(map(str, folders.values()))
        raise PartUnavailable(f"a part in {where} cannot be loaded: {error}") from error
    config.llm_config = llm.config
    for own in (llm.config, *(module.config for module in modules.values())):
        own.name_or_path = ""  # a path of this machine, which a checkpoint would carry away
    model = joined(config, llm, modules)
    tokens: dict[str, Any] = {kind: module.num_tokens for kind, module in model.connectors.items()}
    reads = [kind for kind, module in model.connectors.items() if module.reads]
    processor = IsthmusProcessor(tokenizer, images, config.placeholders, tokens, frame(tokenizer), reads)
    _check_llm(model, processor)
    return freeze(model), processor


def joined(config: IsthmusConfig, llm: Any, encoders: Mapping[str, Any]) -> IsthmusModel:
    """The model of `config` around an LLM and encoders that are there already, with fresh connectors."""
    with torch.device("meta"):  # the parts' own modules replace these, so none is initialised for nothing
        model = IsthmusModel(config)
    model.llm, model.generation_config = llm, llm.generation_config
    for kind, encoder in encoders.items():
        model.encoders[kind], model.connectors[kind] = encoder, connector(config, kind, llm)
        model.connectors[kind].join(llm, model.sight, kind)  # type: ignore[operator]
    return model


def frame(tokenizer: Any) -> dict[str, Any] | None:
    """The frame that an LLM's tokenizer has control tokens for: None for ChatML, else the plain one."""
    control = tokenizer("<|im_start|><|im_end|>", add_special_tokens=False).input_ids
    if len(control) == 2 or tokenizer.eos_token is None:
        return None
    begins = tokenizer.bos_token is not None and tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]
    return dataclasses.asdict(plain(tokenizer.eos_token, tokenizer.bos_token if begins else ""))


def freeze(model: IsthmusModel) -> IsthmusModel:
    """Only connectors stay trainable; everything is in evaluation mode."""
    model.requires_grad_(False)
    model.connectors.requires_grad_(True)
    model.eval()
    return model


def unfreeze(model: IsthmusModel, where: str) -> list[nn.Parameter]:
    """Make all of a part's weights trainable and return them.

    The configuration records that they are no longer the part's own, so that a light checkpoint holds them, whether or
    not they are frozen again before it is saved.
    """
    weights = list(part(model, where).requires_grad_(True).parameters())
    if not where.endswith(".connector"):
        model.config.trained = sorted({*model.config.trained, where})
    return weights


def part(model: IsthmusModel, where: str) -> nn.Module:
    """The part of a model that a recipe calls `llm`, `image.encoder` or `image.connector`."""
    known = {"llm": model.llm}
    for kind in model.connectors:
        known |= {f"{kind}.encoder": model.encoders[kind], f"{kind}.connector": model.connectors[kind]}
    if where not in known:
        raise BadRecipe(miss("part", where, known))
    return known[where]  # type: ignore[no-any-return]


def fingerprint(source: str, folder: Path) -> str:
    """What stands for a part: `parts.fingerprint` where the catalogue has it, else SHA-256 over its `FILES`."""
    if source in catalog.PARTS:
        return parts.fingerprint(source)
    files = sorted(path for path in folder.iterdir() if path.suffix in FILES)
    return hashlib.sha256("".join(f"{path.name} {sha256(path)}\n" for path in files).encode()).hexdigest()


def _record(source: str, folder: Path) -> dict[str, str]:
    local = source not in catalog.PARTS and Path(source).expanduser().is_dir()
    return {"name": str(folder.resolve()) if local else source, "sha256": fingerprint(source, folder)}


def _config(folder: Path) -> Any:
    try:
        config = AutoConfig.from_pretrained(folder, **SAFE)
    except (OSError, ValueError) as error:
        raise PartUnavailable(f"the part in {folder} cannot be loaded: {error}") from error
    return getattr(config, "vision_config", config)  # a whole CLIP or SigLIP: its vision half


def _check_options(options: Mapping[str, Any]) -> None:
    name = options["connector"]
    own = {key: value for key, value in options.items() if key != "connector"}
    for key in own:
        if key not in (known := list(connector_options(name))):
            raise BadRecipe(f"image: {miss('option', key, ['part', 'size', *known])}")
    if wrong := [what for _, what in problems(name, find("isthmus.connectors", name).Connector.__init__, SIZES, own)]:
        raise BadRecipe("\n".join(f"image: {what}" for what in wrong))


def _fill_in(options: dict[str, Any], text: Any) -> None:
    """The size of the vocabulary for a connector that reads, or for one inside another."""
    if options.get("instruction"):
        options.setdefault("vocab", text.vocab_size)
    if isinstance(options.get("inside"), dict):
        options["inside"] = dict(options["inside"])
        _fill_in(options["inside"], text)


def _images(encoder: Mapping[str, Any], folder: Path) -> Any:
    """The image processor in `folder`, or what the encoder's file has instead, for squares of the encoder's size."""
    module = find("isthmus.encoders", encoder["name"])
    if hasattr(module, "reader"):
        return module.reader(folder, encoder["size"])
    images = AutoImageProcessor.from_pretrained(folder, **SAFE, backend="pil")
    resize(images, encoder["size"])
    return images


def _check_llm(model: IsthmusModel, processor: IsthmusProcessor) -> None:
    template = processor.template
    end = template.control(template.frame.end)
    if len(end) != 1 or template.plain(template.frame.end) == end:
        raise BadRecipe(
            f"the LLM's tokenizer has no control token {template.frame.end!r} that could end an answer and that a user "
            "cannot type. Add one as a special token."
        )
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = end[0], processor.pad
    if model.config.is_encoder_decoder:  # its loss is its own
        return
    # The loss is computed from the head alone; a soft cap or a scale after it would make that silently wrong.
    with torch.no_grad():
        ids = torch.tensor([processor.template.prefix(())])
        head = model.get_output_embeddings()(model.llm.get_decoder()(ids).last_hidden_state)
        if not torch.allclose(model.llm(ids).logits, head, atol=1e-4):
            name = model.config.llm_config.model_type
            raise BadRecipe(f"{name} changes its logits after the head, and training here does not. Take another LLM.")
