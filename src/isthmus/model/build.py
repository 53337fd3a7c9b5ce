"""Compose a model from pretrained parts."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoTokenizer

from isthmus import parts
from isthmus.data import frames
from isthmus.encoders._pictures import usual
from isthmus.errors import BadRecipe, PartUnavailable
from isthmus.model import encoding
from isthmus.model import quantize as quantized
from isthmus.model.choice import NEW, Sense, choose, places
from isthmus.model.composed import IsthmusModel, connector, family
from isthmus.model.configuration import IsthmusConfig
from isthmus.model.processor import IsthmusProcessor
from isthmus.parts import catalog
from isthmus.parts.cache import sha256
from isthmus.parts.weights import SAFE, pretrained
from isthmus.registry import miss

FILES = (".safetensors", ".json", ".jinja", ".txt", ".model")  # what a part's folder is loaded from


def compose(
    llm: str = "smollm2-135m-instruct",
    image: Sense | None = ("vit-s", "mlp"),
    audio: Sense | None = None,
    video: Sense | None = None,
    points: Sense | None = None,
    series: Sense | None = None,
    seed: int = 0,
    frame: str | None = None,
    quantize: str | None = None,
) -> tuple[IsthmusModel, IsthmusProcessor]:
    """An LLM with senses: pretrained parts in fp32, joined by fresh connectors, which alone are trainable.

    Each kind of media has its own encoder and connector; `image=None` alone gives an LLM that reads only.

    Args:
        llm: a part's name, `hf://org/name@revision`, or a local folder.
        image: (encoder, connector), or a mapping with `encoder`, `connector` and what is not to be their default:
            `part` (where the encoder's weights come from), `size` (pixels), `tiles` (into how many, at most, a picture
            is cut beside its thumbnail), and the connector's options. With a list of encoders, `part` and `size` may
            be lists too, and `join` says how features are joined: by `channel`, or by `token`.
        audio: the same; `size` counts frames of the spectrum, or samples.
        video: the same; with an encoder of pictures, `frames` are those of a clip that it sees (8).
        points: the same; `size` counts points. `part: new` makes an encoder to be trained from nothing; `channels` are
            then the numbers of a point (3), and `new` its sizes, such as `{"layers": 6}` (what its `fresh` takes).
        series: the same; `size` counts steps, `channels` those of a new encoder. `rate` is the number of steps a second
            that every series is brought to; without it, each keeps its own.
        seed: of the connectors' initial weights.
        frame: how the LLM is spoken to: one of `data.frames.NAMED`. By default what the catalogue says of the part,
            else its tokenizer's chat template, ChatML where it has those tokens, or question and answer alone.
        quantize: `nf4` holds the LLM's weights in 4 bits (`model.quantize`); connectors and adapters learn beside them.

    Raises:
        UnknownName: for a part, an encoder, a connector or a frame that does not exist.
        PartUnavailable: for a part that cannot be fetched or read.
        BadRecipe: for options that do not fit, or an LLM that cannot be joined.
    """
    wanted = {"image": image, "audio": audio, "video": video, "points": points, "series": series}
    for key, name in (("llm", llm), ("frame", frame)):
        if not isinstance(name, str) and (key, name) != ("frame", None):
            raise BadRecipe(f"{key}: {name!r}, a name is needed, as a text")
    if frame is not None:
        frames.named(frame)  # a wrong name is an error before anything is fetched
    chosen = {kind: choose(kind, how) for kind, how in wanted.items() if how is not None}
    where_from = {where: part for it in chosen.values() for where, part in it.parts.items()}
    named = {"llm": llm} | {where: part for where, part in where_from.items() if part != NEW}
    folders = {where: parts.get(source) for where, source in named.items()}
    config = IsthmusConfig(
        llm_config=_config(folders["llm"]),
        encoders={kind: it.encoder for kind, it in chosen.items()},
        connectors={kind: it.connector for kind, it in chosen.items()},
        parts={where: _record(source, folders[where]) for where, source in named.items()},
        trained=[where for where, part in where_from.items() if part == NEW],
        quantize=quantize,
        frame=frame,
    )
    for options in config.connectors.values():
        _fill_in(options, config.get_text_config())
    config.placeholders = {kind: config.get_text_config().vocab_size + k for k, kind in enumerate(config.encoders)}
    with torch.random.fork_rng(), tempfile.TemporaryDirectory() as room:
        torch.manual_seed(seed)
        for kind, it in chosen.items():
            if it.new is not None:
                folders[f"{kind}.encoder"] = Path(room) / kind
                it.new().save_pretrained(Path(room) / kind)
        return assemble(config, folders)


def assemble(config: IsthmusConfig, folders: Mapping[str, Path]) -> tuple[IsthmusModel, IsthmusProcessor]:
    """The model of `config` with its parts' weights from `folders` ("llm", "<kind>.encoder"), and its processor."""
    if not getattr(config.get_text_config(), "num_attention_heads", None):
        name = config.get_text_config().model_type
        raise BadRecipe(f"{name} has no attention, by which text would look at media. Take another LLM")
    llm, modules = pretrained(family(config.llm_config), folders["llm"], **quantized.options(config.quantize)), {}
    quantized.settle(llm)
    for kind in config.encoders:
        modules[kind] = encoding.module(config, kind).load(_folder(config, kind, folders))
        setattr(config, f"{kind}_config", modules[kind].config)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folders["llm"], **SAFE)
        readers = {kind: _reader(config, kind, _folder(config, kind, folders)) for kind in config.encoders}
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
        tokenizer, readers.pop("image", None), config.placeholders, frame=config.frame, **sizes(model)
    )
    processor.readers = readers
    _check_llm(model, processor)
    return freeze(model), processor


def sizes(model: IsthmusModel) -> dict[str, Any]:
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
        "tiles": config.encoders.get("image", {}).get("tiles", 0),
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
    if config.beside:
        model.put_beside(**config.beside)
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
    not they are frozen again before it is saved. Raises `BadRecipe` for a quantised LLM.
    """
    if where == "llm" and model.config.quantize is not None:
        raise BadRecipe(f"llm: its weights are held in 4 bits ({model.config.quantize}); train an adapter (`add_lora`)")
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


def _folder(config: IsthmusConfig, kind: str, folders: Mapping[str, Path]) -> Any:
    """Where the weights of a kind's encoder are; a list for several."""
    name = config.encoders[kind]["name"]
    own = [folders[where] for where in places(kind, name)]
    return own if isinstance(name, list) else own[0]


def _config(folder: Path) -> Any:
    try:
        config = AutoConfig.from_pretrained(folder, **SAFE)
    except (OSError, ValueError) as error:
        raise PartUnavailable(f"the part in {folder} cannot be loaded: {error}") from error
    return getattr(config, "vision_config", config)  # a whole CLIP or SigLIP: its vision half


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
    images = usual(folder, size)
    if "tiles" in config.encoders[kind] and hasattr(images, "max_image_tiles"):
        raise BadRecipe(
            f"{kind}: tiles: the encoder {config.encoders[kind]['name']} cuts pictures itself; leave it out"
        )
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
