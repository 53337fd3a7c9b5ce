"""A tiny composed model, saved as an ordinary folder: what the command line and the chat are tested with."""

from __future__ import annotations

from pathlib import Path

import PIL.Image
import torch
from tiny_parts import Built, llm_config, tokenizer
from transformers import BitImageProcessorPil, Dinov2Config, Dinov2Model

from isthmus.model import compose, load, save_full
from isthmus.model.composed import family

COLOURS = ("red", "green", "blue", "yellow", "black", "white", "gray", "purple", "orange", "teal", "pink", "brown")


def pictures(folder: Path) -> Path:
    """Make `folder` and write twelve images into it, each of one colour and with its name beside it as a caption."""
    folder.mkdir()
    for colour in COLOURS:
        PIL.Image.new("RGB", (20, 16), colour).save(folder / f"{colour}.png")
        (folder / f"{colour}.txt").write_text(colour)
    return folder


def parts(folder: Path, family_name: str = "llama", wide: bool = False) -> tuple[Path, Path]:
    """An LLM with its tokenizer and an image encoder with its preprocessing, random, as part folders."""
    torch.manual_seed(0)
    llm = family(config := llm_config(family_name, wide)).from_config(config)
    for parameter in llm.parameters():  # large enough that text varies with the picture
        torch.nn.init.normal_(parameter, std=0.3)
    llm.save_pretrained(folder / "llm")
    tokenizer().save_pretrained(folder / "llm")
    vision = Dinov2Config(hidden_size=24, num_hidden_layers=2, num_attention_heads=4, patch_size=4, image_size=16)
    Dinov2Model(vision).save_pretrained(folder / "vision")
    BitImageProcessorPil(size={"height": 16, "width": 16}, do_center_crop=False).save_pretrained(folder / "vision")
    return folder / "llm", folder / "vision"


def save(folder: Path) -> Path:
    """Compose these parts and save the whole model as `folder`/model."""
    llm, vision = parts(folder)
    image = {"encoder": "vit-s", "connector": "mlp", "part": str(vision), "size": 16, "tokens": 4}
    save_full(*compose(str(llm), image), folder / "model")
    return folder / "model"


def chatty(folder: Path) -> Built:
    """The model of `folder`, which never ends an answer early: its random weights would do so at once or never."""
    model, processor = load(folder)
    model.generation_config.eos_token_id = None
    return model, processor
