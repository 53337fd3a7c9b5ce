"""Compose a model from pretrained parts."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer

from isthmus import parts
from isthmus.connectors._options import SIZES
from isthmus.connectors._options import options as connector_options
from isthmus.data import frames
from isthmus.encoders._pictures import resize
from isthmus.errors import BadRecipe, PartUnavailable
from isthmus.model import encoding
from isthmus.model.composed import IsthmusModel, connector, family
from isthmus.model.configuration import IsthmusConfig
from isthmus.model.processor import IsthmusProcessor
from isthmus.options import problems
from isthmus.parts import catalog
from isthmus.parts.cache import sha256
from isthmus.parts.weights import SAFE, pretrained
from isthmus.registry import find, miss, names

EXAMPLES = {
    "image": "vit-s", "audio": "whisper", "video": "videomae", "points": "point-transformer", "series": "patchtst"
}  # fmt: skip
FILES = (".safetensors", ".json", ".jinja", ".txt", ".model")  # what a part's folder is loaded from


Sense = tuple[str, str] | Mapping[str, Any]  # (encoder, connector), or a mapping with these and more


@dataclasses.dataclass(frozen=True)
class Chosen:
    """What is chosen for one kind of media: where the encoder's weights are, and what the configuration says of it."""

    part: str
    encoder: dict[str, Any]
    connector: dict[str, Any]


def compose(
    llm: str = "smollm2-135m-instruct",
    image: Sense | None = ("vit-s", "mlp"),
    audio: Sense | None = None,
    video: Sense | None = None,
    points: Sense | None = None,
    series: Sense | None = None,
    seed: int = 0,
    frame: str | None = None,
) -> tuple[IsthmusModel, IsthmusProcessor]:
    """An LLM with senses: pretrained parts in fp32, joined by fresh connectors, which alone are trainable.

    Each kind of media has its own encoder and connector; `image=None` alone gives an LLM that reads only.

    Args:
        llm: a part's name, `hf://org/name@revision`, or a local folder.
        image: (encoder, connector), or a mapping with `encoder`, `connector` and what is not to be their default:
            `part` (where the encoder's weights come from), `size` (pixels), and the connector's options.
        audio: the same; `size` counts frames of the spectrum, or samples.
        video: the same; with an encoder of pictures, `frames` are those of a clip that it sees (8).
        points: the same; `size` counts points.
        series: the same; `size` counts steps.
        seed: of the connectors' initial weights.
        frame: how the LLM is spoken to: one of `data.frames.NAMED`. By default what the catalogue says of the part,
            else its tokenizer's chat template, ChatML where it has those tokens, or question and answer alone.

    Raises:
        UnknownName: for a part, an encoder, a connector or a frame that does not exist.
        PartUnavailable: for a part that cannot be fetched or read.
        BadRecipe: for options that do not fit, or an LLM that cannot be joined.
    """
    wanted = {"image": image, "audio": audio, "video": video, "points": points, "series": series}
    if frame is not None:
        frames.named(frame)  # a wrong name is an error before anything is fetched
    chosen = {kind: _chosen(kind, how) for kind, how in wanted.items() if how is not None}
    named = {"llm": llm} | {f"{kind}.encoder": it.part for kind, it in chosen.items()}
    folders = {where: parts.get(source) for where, source in named.items()}
    config = IsthmusConfig(
        llm_config=_config(folders["llm"]),
        encoders={kind: it.encoder for kind, it in chosen.items()},
        connectors={kind: it.connector for kind, it in chosen.items()},
        parts={where: _record(source, folders[where]) for where, source in named.items()},
        frame=frame,
    )
    for options in config.connectors.values():
        _fill_in(options, config.get_text_config())
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
    for kind in config.encoders:
        modules[kind] = encoding.module(config, kind).load(folders[f"{kind}.encoder"])
        setattr(config, f"{kind}_config", modules[kind].config)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folders["llm"], **SAFE)
        readers = {kind: _reader(config, kind, folders[f"{kind}.encoder"]) for kind in config.encoders}
    except (OSError, ValueError) as error:
        where = ", ".join(map(str, folders.values()))
        raise PartUnavailable(f"a part in {where} cannot be loaded: {error}") from error
    config.llm_config = llm.config
    for own in (llm.config, *(module.config for module in modules.values())):
        own.name_or_path = ""  # a path of this machine, which a checkpoint would carry away
    model = joined(config, llm, modules)
    if not isinstance(config.frame, dict):
        name = config.frame or parts.frame(config.parts.get("llm", {}).get("name", ""))
        config.frame = dataclasses.asdict(frames.frame(tokenizer, name, config.is_encoder_decoder))
    processor = IsthmusProcessor(
        tokenizer, readers.pop("image", None), config.placeholders, frame=config.frame, **_sizes(model)
    )
    processor.readers = readers
    _check_llm(model, processor)
    return freeze(model), processor


def _sizes(model: IsthmusModel) -> dict[str, Any]:
    """What a processor must know of the model: slots, what connectors read, and how long media become features."""
    config, slots = model.config, {}
    connectors: Any = model.connectors
    for kind, module in connectors.items():
        N = math.prod(encoding.grid(config, kind))
        table = module.keep(torch.arange(1, N + 1)).sum(1).tolist()
        if table[0] != table[-1]:
            slots[kind] = table
    return {
        "tokens": {kind: module.num_tokens for kind, module in connectors.items()},
        "reads": [kind for kind, module in connectors.items() if module.reads],
        "slots": slots,
        "encoders": {
            kind: config.encoders[kind] | {"config": getattr(config, f"{kind}_config").to_dict()}
            for kind in config.encoders
            if kind != "image"
        },
    }


def joined(config: IsthmusConfig, llm: Any, encoders: Mapping[str, Any]) -> IsthmusModel:
    """The model of `config` around an LLM and encoders that are there already, with fresh connectors."""
    with torch.device("meta"):  # the parts' own modules replace these, so none is initialised for nothing
        model = IsthmusModel(config)
    model.llm, model.generation_config = llm, llm.generation_config
    for kind, encoder in encoders.items():
        model.encoders[kind], model.connectors[kind] = encoder, connector(config, kind, llm)
        model.connectors[kind].join(llm, model.sight, kind)  # type: ignore[operator]
    return model


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
    local = source not in parts.known() and Path(source).expanduser().is_dir()
    return {"name": str(folder.resolve()) if local else source, "sha256": fingerprint(source, folder)}


def _config(folder: Path) -> Any:
    try:
        config = AutoConfig.from_pretrained(folder, **SAFE)
    except (OSError, ValueError) as error:
        raise PartUnavailable(f"the part in {folder} cannot be loaded: {error}") from error
    return getattr(config, "vision_config", config)  # a whole CLIP or SigLIP: its vision half


def _chosen(kind: str, how: Sense) -> Chosen:
    """What `compose` was asked for one kind of media, checked."""
    given = dict(zip(("encoder", "connector"), how, strict=True)) if isinstance(how, tuple) else dict(how)
    given = {key: value for key, value in given.items() if value is not None}
    for key in ("encoder", "connector"):
        if key not in given:
            example = EXAMPLES[kind]
            raise BadRecipe(f"{kind}: no {key} is named. For example: {{encoder: {example}, connector: mlp}}")
    module = find("isthmus.encoders", name := given.pop("encoder"))
    framed = kind == "video" and module.KIND == "image"
    if kind != module.KIND and not framed:
        fit = [other for other in names("isthmus.encoders") if kind == find("isthmus.encoders", other).KIND]
        raise BadRecipe(f"{kind}: the encoder {name} is for {module.KIND}. Those for {kind}: {', '.join(fit)}")
    part, size = given.pop("part", module.PART), given.pop("size", module.SIZE)
    if part is None:
        raise BadRecipe(f"{kind}: the encoder {name} has no default weights. Name a folder or hub part with `part`")
    if size < 1:
        raise BadRecipe(f"{kind}: size: {size}, at least 1 is needed")
    encoder = {"name": name, "size": size}
    if framed:
        encoder["frames"] = frames = given.pop("frames", encoding.FRAMES)
        if not isinstance(frames, int) or frames < 1:
            raise BadRecipe(f"{kind}: frames: {frames!r}, a number of at least 1 is needed")
    options = {key: value for key, value in given.items() if key != "connector"}
    known = list(connector_options(given["connector"]))
    for key in options:
        if key not in known:
            raise BadRecipe(f"{kind}: {miss('option', key, ['part', 'size', *(['frames'] if framed else []), *known])}")
    build = find("isthmus.connectors", given["connector"]).Connector.__init__
    if wrong := [what for _, what in problems(given["connector"], build, SIZES, options)]:
        raise BadRecipe("\n".join(f"{kind}: {what}" for what in wrong))
    return Chosen(part, encoder, {"name": given["connector"], **options})


def _fill_in(options: dict[str, Any], text: Any) -> None:
    """The size of the vocabulary for a connector that reads, or for one inside another."""
    if options.get("instruction"):
        options.setdefault("vocab", text.vocab_size)
    if isinstance(options.get("inside"), dict):
        options["inside"] = dict(options["inside"])
        _fill_in(options["inside"], text)


def _reader(config: IsthmusConfig, kind: str, folder: Path) -> Any:
    """What prepares media of a kind: the encoder's own reader, or the image processor in its folder."""
    module, size = encoding.module(config, kind), config.encoders[kind]["size"]
    if module.KIND == "video":
        config.encoders[kind]["frames"] = module.frames(getattr(config, f"{kind}_config"))
    if hasattr(module, "reader"):
        return module.reader(folder, size)
    images = AutoImageProcessor.from_pretrained(folder, **SAFE, backend="pil")
    resize(images, size)
    return images


def _check_llm(model: IsthmusModel, processor: IsthmusProcessor) -> None:
    template = processor.template
    end = template.control(template.frame.end)
    if not end or end[-1] in template.plain(template.frame.end):
        raise BadRecipe(
            f"the LLM's tokenizer has no control token {template.frame.end!r} that could end an answer and that a user "
            "cannot type. Add one as a special token."
        )
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = end[-1], processor.pad
    if model.config.is_encoder_decoder:  # its loss is its own
        return
    # The loss is computed from the head alone; a soft cap or a scale after it would make that silently wrong.
    with torch.no_grad():
        ids = torch.tensor([template.prefix(()) + template.question("a")])
        head = model.get_output_embeddings()(model.llm.get_decoder()(ids).last_hidden_state)
        if not torch.allclose(model.llm(ids).logits, head, atol=1e-4):
            name = model.config.llm_config.model_type
            raise BadRecipe(f"{name} changes its logits after the head, and training here does not. Take another LLM.")
