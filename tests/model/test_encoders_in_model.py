"""Every encoder of pictures in the folder can be composed, and a whole checkpoint with it is the same model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_encoders import SQUARE, TINY
from tiny_parts import picture

from isthmus.model import compose, load
from isthmus.model.checkpoint import save_full
from isthmus.registry import find, names

PICTURES = [name for name in names("isthmus.encoders") if find("isthmus.encoders", name).KIND == "image"]
OWN = {  # siglip2's and dinov3's are replaced by files here; mllama's cuts pictures into tiles
    "siglip2": "Siglip2ImageProcessor", "dinov3": "DINOv3ViTImageProcessorFast", "mllama": "MllamaImageProcessor"
}  # fmt: skip
CASES = [(name, make) for name in PICTURES for make in TINY[name].makes]


@pytest.mark.parametrize(("name", "make"), CASES, ids=lambda it: it if isinstance(it, str) else it.__name__)
def test_it_is_composed_and_kept(name: str, make: object, folders: dict[str, str], tmp_path: Path) -> None:
    torch.manual_seed(0)
    size = TINY[name].sizes[0]
    tiny = replace(TINY[name], prepared=SQUARE | {"image_processor_type": OWN.get(name, "ViTImageProcessor")})
    part = tiny.save(make(), tmp_path / "part")  # type: ignore[operator]
    image = {"encoder": name, "connector": "linear", "part": str(part), "size": size}
    model, processor = compose(folders["llama"], image)
    inputs = processor("what is this ?", picture("red"))
    tiles = 4 * size + 1 if name == "mllama" else size
    assert inputs["media"]["image"].shape[-2:] == (tiles, size)
    save_full(model, processor, tmp_path / "whole")
    again, prepares = load(tmp_path / "whole")
    with torch.no_grad():
        torch.testing.assert_close(again(**prepares("what is this ?", picture("red"))).logits, model(**inputs).logits)
