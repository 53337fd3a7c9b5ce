"""The picture of a model in text: parts, widths, soft tokens, parameters, and what is trainable."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from isthmus.model import encoding
from isthmus.model.composed import IsthmusModel
from isthmus.model.quantize import numel


def describe(model: IsthmusModel) -> str:
    """The path from media to text with its sizes, a line for each part and arrow."""
    config, lines = model.config, []
    for kind, encoder in config.encoders.items():
        grid, width = encoding.grid(config, kind), encoding.width(config, kind)
        connector = model.connectors[kind]
        name = config.connectors[kind]["name"]
        tiles = f", a thumbnail and up to {encoder['tiles']} tiles" if "tiles" in encoder else ""
        lines += [
            f"{kind} {_size(kind, encoder)}{tiles}",
            *_encoders(model, kind),
            f"  |  {math.prod(grid)} features, D={width}",
            _line(f"connector  {name}", connector, ""),
            f"  |  {connector.num_tokens} soft tokens, D={config.get_text_config().hidden_size}",
        ]
    text = config.get_text_config()
    lines.append(_line(f"LLM        {text.model_type}", model.llm, _source(model, "llm")))
    if model.beside is not None:
        own = config.beside
        works = f", LoRA r={own['r']} alpha={own['alpha']:g}, from the first of {', '.join(own['kinds'])} on"
        lines.append(_line("beside it", model.beside, works))
    lines.append(f"  |  D={text.hidden_size}, V={text.vocab_size:,}")
    total, trainable = _count(model)
    return "\n".join([*lines, "text", "", f"{total:,} parameters, {trainable:,} trainable"])


def _size(kind: str, encoder: Mapping[str, Any]) -> str:
    """How large one piece is, as its encoder counts; of several encoders, for each.

    >>> _size("image", {"size": 112}), _size("video", {"size": 224, "frames": 8}), _size("points", {"size": 1024})
    ('112 x 112', '8 x 224 x 224', '1024')
    """
    each = encoder["size"] if isinstance(encoder["size"], list) else [encoder["size"]]
    sides = [f"{side} x {side}" if kind in ("image", "video") else str(side) for side in each]
    return " x ".join([*([str(encoder["frames"])] if "frames" in encoder else []), " and ".join(sides)])


def _encoders(model: IsthmusModel, kind: str) -> list[str]:
    modules: Any = model.encoders[kind]
    name, where = model.config.encoders[kind]["name"], f"{kind}.encoder"
    if not isinstance(name, list):
        return [_line(f"encoder    {name}", modules, _source(model, where))]
    adapter = _source(model, where)  # one for all of them
    return [
        _line(f"encoder    {own}", module, f"{adapter}{_source(model, f'{where}.{k}')}")
        for k, (own, module) in enumerate(zip(name, modules, strict=True))
    ]


def _line(title: str, module: nn.Module, source: str) -> str:
    total, trainable = _count(module)
    state = "all trainable" if trainable == total else "frozen" if trainable == 0 else f"{trainable:,} trainable"
    return f"  {title:<22}{total:>13,} parameters, {state}{source}"


def _source(model: IsthmusModel, where: str) -> str:
    config = model.config
    source = f" (from {config.parts[where]['name']})" if where in config.parts else ""
    adapter = config.adapters.get(where)
    lora = f", LoRA r={adapter['r']} alpha={adapter['alpha']:g}" if adapter else ""
    return lora + source


def _count(module: nn.Module) -> tuple[int, int]:
    sizes = [(numel(p), p.requires_grad) for p in module.parameters()]
    return sum(n for n, _ in sizes), sum(n for n, train in sizes if train)
