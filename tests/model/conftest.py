"""Tiny random parts, saved once for the session as folders that `compose` takes like any other part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_parts import DECODERS, Built, llm_config, tokenizer
from transformers import BitImageProcessorPil, Dinov2Config, Dinov2Model

from isthmus.model import compose
from isthmus.model.composed import family


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Part folders: LLMs with tokenizers and an image encoder with its preprocessing."""
    root = tmp_path_factory.mktemp("parts")
    torch.manual_seed(0)
    for name in (*DECODERS, "t5"):
        llm = family(config := llm_config(name)).from_config(config)
        for parameter in llm.parameters():  # large enough that generated text varies with the picture
            torch.nn.init.normal_(parameter, std=0.3)
        llm.save_pretrained(root / name)
        tokenizer().save_pretrained(root / name)
    vision = Dinov2Config(hidden_size=24, num_hidden_layers=2, num_attention_heads=4, patch_size=4, image_size=16)
    Dinov2Model(vision).save_pretrained(root / "vision")
    BitImageProcessorPil(size={"height": 16, "width": 16}, do_center_crop=False).save_pretrained(root / "vision")
    return {path.name: str(path) for path in root.iterdir()}


@pytest.fixture(scope="session")
def build(folders: dict[str, str]) -> Callable[..., Built]:
    """Compose a tiny model: `build(llm="gpt2", tokens=4)`."""

    def make(llm: str = "llama", tokens: int | None = 4, connector: str = "mlp", **options: Any) -> Built:
        image = {"encoder": "vit-s", "connector": connector, "part": folders["vision"], "size": 16, "tokens": tokens}
        return compose(folders[llm], image | options)

    return make


@pytest.fixture
def built(build: Callable[..., Built]) -> Built:
    """A tiny Llama that sees, with its processor."""
    return build()
