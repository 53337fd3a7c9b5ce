"""The contract that every encoder in the folder keeps, on tiny random weights of its own kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModel, Dinov2Config, Dinov2Model

from isthmus.errors import PartUnavailable
from isthmus.registry import find, names

NAMES = names("isthmus.encoders")
SIZES = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "patch_size": 4, "image_size": 16}


def dinov2() -> Any:
    return Dinov2Model(Dinov2Config(**SIZES))


def clip_vision() -> Any:
    return CLIPVisionModel(CLIPVisionConfig(**SIZES, intermediate_size=32))


def clip() -> Any:
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return CLIPModel(CLIPConfig(text_config=text | {"vocab_size": 50}, vision_config=SIZES | {"intermediate_size": 32}))


MADE: dict[str, list[Callable[[], Any]]] = {"vit-s": [dinov2], "clip": [clip_vision, clip]}
CASES = [(name, make) for name in NAMES for make in MADE[name]]  # a new encoder needs its place in MADE


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1].__name__}")
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Any, Path]:
    """An encoder's module, the model whose weights were saved, and the folder they are in."""
    name, make = request.param
    torch.manual_seed(0)
    model = make().eval()
    model.save_pretrained(tmp_path / "part")
    return find("isthmus.encoders", name), model, tmp_path / "part"


def of_vision(name: str) -> bool:
    """Whether a tensor is one of the layers that every encoder here keeps."""
    return ("layer.0." in name or "layers.0." in name) and "text_model" not in name


@pytest.mark.parametrize("size", [16, 24])
def test_the_number_of_features_is_known_before_it_runs(case: tuple[Any, Any, Path], size: int) -> None:
    module, _, folder = case
    encoder = module.load(folder).eval()
    pixels = torch.randn(3, 3, size, size)
    with torch.no_grad():
        together = module.encode(encoder, pixels)
        alone = torch.cat([module.encode(encoder, pixel[None]) for pixel in pixels])
    assert together.shape == (3, module.num_features(encoder.config, size), SIZES["hidden_size"])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_features_are_those_of_the_model_it_takes(case: tuple[Any, Any, Path]) -> None:
    module, model, folder = case
    pixels = torch.randn(2, 3, 16, 16)
    whole = getattr(model, "vision_model", model)
    with torch.no_grad():
        states = whole(pixels, output_hidden_states=True)
        wanted = states.last_hidden_state if isinstance(model, Dinov2Model) else states.hidden_states[-2]
        torch.testing.assert_close(module.encode(module.load(folder).eval(), pixels), wanted[:, 1:])


def test_a_missing_weight_is_an_error_and_not_a_random_number(case: tuple[Any, Any, Path]) -> None:
    module, _, folder = case
    tensors = load_file(folder / "model.safetensors")
    gone = next(filter(of_vision, tensors))
    save_file({name: tensor for name, tensor in tensors.items() if name != gone}, folder / "model.safetensors")
    with pytest.raises(PartUnavailable, match="1 of its weights are missing"):
        module.load(folder)


def test_a_cut_or_ill_fitting_file_is_named(case: tuple[Any, Any, Path]) -> None:
    module, _, folder = case
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PartUnavailable, match=r"part cannot be loaded"):
        module.load(folder)
    file.write_bytes(whole)
    tensors = load_file(file)
    name = next(name for name, tensor in tensors.items() if of_vision(name) and tensor.dim() == 2)
    save_file(tensors | {name: torch.zeros(3, 3)}, file)
    with pytest.raises(PartUnavailable):
        module.load(folder)
