"""The contract that every encoder in the folder keeps, on tiny random weights of its own kind."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    Blip2VisionConfig,
    Blip2VisionModel,
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    MllamaVisionConfig,
    MllamaVisionModel,
    Qwen2AudioEncoder,
    Qwen2AudioEncoderConfig,
)

from isthmus.errors import BadRecipe, PartUnavailable
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


def blip2() -> Any:
    return Blip2VisionModel(Blip2VisionConfig(**SIZES, intermediate_size=32))


def qwen2_audio() -> Any:
    sizes = {"d_model": 24, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 32}
    return Qwen2AudioEncoder(Qwen2AudioEncoderConfig(**sizes, num_mel_bins=8, max_source_positions=16))


def mllama() -> Any:
    sizes = {"attention_heads" if key == "num_attention_heads" else key: value for key, value in SIZES.items()}
    config = MllamaVisionConfig(
        **sizes, intermediate_size=32, num_global_layers=1, vision_output_dim=72, intermediate_layers_indices=[0, 2]
    )
    model = MllamaVisionModel(config)
    for weight in model.parameters():  # the gates, zeros when new, among them
        torch.nn.init.normal_(weight, std=0.2)
    return model


MADE: dict[str, list[Callable[[], Any]]] = {
    "vit-s": [dinov2],
    "clip": [clip_vision, clip],
    "clip-whole": [clip_vision, clip],
    "blip2": [blip2],
    "mllama": [mllama],
    "qwen2-audio": [qwen2_audio],
}
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


def media(module: Any, count: int, size: int) -> torch.Tensor:
    """Pictures of `size` pixels, or sounds of `size` frames; of sounds and of tiles there is one size only."""
    if hasattr(module, "pack"):
        return module.pack(torch.randn(count, 4, 3, 16, 16), torch.tensor([2, 6, 1])[:count])  # type: ignore[no-any-return]
    return torch.randn(count, 3, size, size) if module.KIND == "image" else torch.randn(count, 8, 32)


@pytest.mark.parametrize("size", [16, 24])
def test_the_number_of_features_is_known_before_it_runs(case: tuple[Any, Any, Path], size: int) -> None:
    module, _, folder = case
    encoder = module.load(folder).eval()
    several = media(module, 3, size)
    with torch.no_grad():
        together = module.encode(encoder, several)
        alone = torch.cat([module.encode(encoder, one[None]) for one in several])
    grid = module.grid(encoder.config, several.shape[-1])
    width = module.width(encoder.config) if hasattr(module, "width") else SIZES["hidden_size"]
    assert together.shape == (3, math.prod(grid), width)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_tiles_that_a_picture_does_not_have_are_told() -> None:
    module, model = find("isthmus.encoders", "mllama"), mllama().eval()
    tiles, ratios = torch.randn(2, 4, 3, 16, 16), torch.tensor([2, 6])  # one row of two tiles, two rows of two
    here = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
    with torch.no_grad():
        features = module.encode(model, module.pack(tiles, ratios))
        wanted = model(tiles[:, None], ratios[:, None], here[:, None]).last_hidden_state
    torch.testing.assert_close(features[..., :-1], wanted.flatten(1, 3))
    assert features[..., -1].tolist() == here.repeat_interleave(17, 1).tolist()
    with pytest.raises(BadRecipe, match="size: 24, but this encoder takes tiles of 16 pixels only"):
        module.grid(model.config, 24)


def test_features_are_those_of_the_model_it_takes(case: tuple[Any, Any, Path]) -> None:
    module, model, folder = case
    if hasattr(module, "pack"):
        return  # the test above
    some = media(module, 2, 16)
    whole = getattr(model, "vision_model", model)
    with torch.no_grad():
        states = whole(some, output_hidden_states=True)
        wanted = states.hidden_states[-2] if module.__name__.endswith(".clip") else states.last_hidden_state
        if module.__name__.endswith((".clip", ".vit_s")):  # without the class token
            wanted = wanted[:, 1:]
        torch.testing.assert_close(module.encode(module.load(folder).eval(), some), wanted)


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
