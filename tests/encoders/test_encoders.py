"""The contract that every encoder in the folder keeps, on tiny random weights of its own kind."""

from __future__ import annotations

import inspect
import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t
from safetensors.torch import load_file, save_file
from tiny_encoders import TINY, Tiny

from isthmus import parts
from isthmus.encoders.point_transformer import PointTransformerConfig
from isthmus.errors import BadRecipe, PartUnavailable
from isthmus.model.composed import encoder as built
from isthmus.model.configuration import IsthmusConfig
from isthmus.registry import constants, find, names

NAMES = names("isthmus.encoders")
KINDS = ("image", "audio", "video", "points", "series")
CASES = [(name, make) for name in NAMES for make in TINY[name].makes]  # a new encoder needs its place in TINY
SPARING = [case for case in CASES if hasattr(find("isthmus.encoders", case[0]), "UNUSED")]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1].__name__}")
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Tiny, Any, Path]:
    """An encoder's module, what it is held to, the model whose weights were saved, and the folder they are in."""
    name, make = request.param
    torch.manual_seed(0)
    model = make().eval()
    with torch.no_grad():
        for weight in model.parameters():  # or some begin as zeros, and what they do is not seen
            weight.add_(torch.randn_like(weight) * 0.1)
    return find("isthmus.encoders", name), TINY[name], model, TINY[name].save(model, tmp_path / "part")


def width(module: Any, config: Any) -> int:
    """How many numbers a feature has."""
    return module.width(config) if hasattr(module, "width") else config.hidden_size  # type: ignore[no-any-return]


def first_layer(tensors: dict[str, torch.Tensor]) -> str:
    """The name of a matrix in one of the layers that every encoder here keeps."""
    heads = ("text_model", "decoder", "head", "auxiliary")
    layers = [name for name, tensor in tensors.items() if "layers." in name or "layer." in name or "blocks." in name]
    return next(n for n in layers if tensors[n].dim() == 2 and ".0." in n and not any(head in n for head in heads))


@pytest.mark.parametrize("name", NAMES)
def test_its_file_gives_what_callers_read(name: str) -> None:
    module = find("isthmus.encoders", name)
    assert module.KIND in KINDS
    assert module.ABOUT
    assert module.SIZE > 0
    assert module.PART in parts.known() if module.PART else module.FEATURES
    said = {key: getattr(module, key) for key in ("ABOUT", "KIND", "PART", "SIZE", "FEATURES", "LEAST")}
    assert constants("isthmus.encoders", name).items() >= said.items(), "listings read them without importing the file"
    assert list(inspect.signature(module.encode).parameters)[2] == "valid"
    assert inspect.signature(module.encode).parameters["valid"].default is None
    assert list(inspect.signature(module.grid).parameters) == ["config", "size"]
    if module.KIND != "image":
        assert list(inspect.signature(module.reader).parameters)[:2] == ["folder", "size"]
        assert len(inspect.signature(module.prepare).parameters) == 2
    if module.KIND in ("audio", "points", "series"):
        assert list(inspect.signature(module.kept).parameters) == ["config", "size", "valid"]
    if module.KIND == "audio":
        assert module.RATE == 16_000
        assert module.UNIT in ("frames", "samples")
        assert callable(module.windows)
    if module.KIND == "video":
        assert callable(module.frames)


def test_the_number_of_features_is_known_before_it_runs(case: tuple[Any, Tiny, Any, Path]) -> None:
    module, tiny, model, folder = case
    encoder = module.load(folder).eval()
    for size in (*tiny.sizes, tiny.sizes[0]):  # and one size leaves nothing behind for the next
        several = tiny.media(3, size)
        with torch.no_grad():
            together = module.encode(encoder, several)
            alone = torch.cat([module.encode(encoder, one[None]) for one in several])
            wanted = tiny.wanted(deepcopy(model), several)
        assert together.shape == (3, math.prod(module.grid(encoder.config, size)), width(module, encoder.config))
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(together, wanted, atol=1e-5, rtol=1e-5)


def test_it_is_the_same_without_its_folder(case: tuple[Any, Tiny, Any, Path], tmp_path: Path) -> None:
    """A whole checkpoint has the encoder's configuration and weights, and nothing of its part's folder; the encoder
    alone, saved as a folder, is a part again."""
    module, tiny, _, folder = case
    loaded = module.load(folder).eval()
    name = module.__name__.rsplit(".", 1)[1]
    own = type(loaded.config).from_dict(loaded.config.to_dict())
    config = IsthmusConfig(image_config=own, encoders={"image": {"name": name}})
    again = built(config, "image").eval()
    again.load_state_dict(loaded.state_dict())
    some = tiny.media(2, tiny.sizes[0])
    with torch.no_grad():
        wanted = module.encode(loaded, some)
        torch.testing.assert_close(module.encode(again, some), wanted)
        if module.__name__.endswith(".clip"):  # which leaves out the last layer of what it is given
            return
        loaded.save_pretrained(tmp_path / "again")
        torch.testing.assert_close(module.encode(module.load(tmp_path / "again").eval(), some), wanted)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_near(case: tuple[Any, Tiny, Any, Path], dtype: torch.dtype) -> None:
    module, tiny, _, folder = case
    encoder = module.load(folder).eval()
    rounded = deepcopy(encoder).to(dtype)
    for size in tiny.sizes[: 1 if module.__name__.endswith("videoprism") else None]:
        some = tiny.media(2, size)
        with torch.no_grad():
            exact, half = module.encode(encoder, some), module.encode(rounded, some)
        assert half.dtype == dtype
        assert (half.float() - exact).norm() < (0.02 if dtype == torch.bfloat16 else 0.003) * exact.norm()


def test_frozen_it_learns_nothing_and_trained_every_weight_it_uses(case: tuple[Any, Tiny, Any, Path]) -> None:
    module, tiny, _, folder = case
    encoder = module.load(folder).eval()
    some = tiny.media(2, tiny.sizes[0])
    weight = torch.randn(width(module, encoder.config))
    encoder.requires_grad_(False)
    assert not module.encode(encoder, some).requires_grad
    encoder.requires_grad_(True)
    (module.encode(encoder, some) * weight).square().sum().backward()
    unused = {name for name, tensor in encoder.named_parameters() if tensor.grad is None}
    assert unused <= set(tiny.unused)
    assert unused <= set(getattr(module, "UNUSED", ()))
    for name, tensor in encoder.named_parameters():
        assert name in unused or tensor.grad.isfinite().all(), name
        assert name in unused or tensor.grad.any(), name


def test_a_missing_weight_is_an_error_and_not_a_random_number(case: tuple[Any, Tiny, Any, Path]) -> None:
    module, _, _, folder = case
    tensors = load_file(folder / "model.safetensors")
    gone = first_layer(tensors)
    save_file({name: tensor for name, tensor in tensors.items() if name != gone}, folder / "model.safetensors")
    with pytest.raises(PartUnavailable, match="1 of its weights are missing"):
        module.load(folder)


@pytest.mark.parametrize("case", SPARING, indirect=True, ids=lambda case: f"{case[0]}-{case[1].__name__}")
def test_a_weight_that_features_do_not_use_may_be_missing(case: tuple[Any, Tiny, Any, Path]) -> None:
    """As in the released Wav2Vec2, which has nothing to mask spans with; it is zeros then, and nothing else is."""
    module, tiny, model, folder = case
    whole, file = module.load(folder).state_dict(), folder / "model.safetensors"
    tensors = load_file(file)
    save_file({name: tensor for name, tensor in tensors.items() if not name.endswith(module.UNUSED)}, file)
    encoder = module.load(folder).eval()
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, torch.zeros_like(tensor) if name in module.UNUSED else whole[name]), name
    some = tiny.media(2, tiny.sizes[0])
    with torch.no_grad():
        torch.testing.assert_close(module.encode(encoder, some), tiny.wanted(model, some), atol=1e-5, rtol=1e-5)


def test_a_cut_or_ill_fitting_file_is_named(case: tuple[Any, Tiny, Any, Path]) -> None:
    module, _, _, folder = case
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PartUnavailable, match=r"part cannot be loaded"):
        module.load(folder)
    file.write_bytes(whole)
    tensors = load_file(file)
    save_file(tensors | {first_layer(tensors): torch.zeros(3, 3)}, file)
    with pytest.raises(PartUnavailable):
        module.load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(PartUnavailable, match=r"part cannot be loaded"):
        module.load(folder)


PUBLISHED: dict[str, tuple[Any, tuple[int, ...]]] = {
    "vit": (t.ViTConfig(), (14, 14)),
    "swin": (t.SwinConfig(), (7, 7)),
    "clip": (t.CLIPVisionConfig(patch_size=14, image_size=336), (24, 24)),
    "clip-whole": (t.CLIPVisionConfig(patch_size=14), (257,)),
    "siglip": (t.SiglipVisionConfig(), (14, 14)),
    "siglip2": (t.Siglip2VisionConfig(), (16, 16)),
    "dinov2": (t.Dinov2Config(patch_size=14, image_size=518), (16, 16)),
    "dinov3": (t.DINOv3ViTConfig(num_register_tokens=4), (14, 14)),
    "vit-s": (t.Dinov2Config(patch_size=14, image_size=112), (8, 8)),
    "blip2": (t.Blip2VisionConfig(hidden_size=88, num_attention_heads=4), (257,)),
    "whisper": (t.WhisperConfig(), (1500,)),
    "qwen2-audio": (t.Qwen2AudioEncoderConfig(num_mel_bins=80), (750,)),
    "wav2vec2": (t.Wav2Vec2Config(), (999,)),
    "audio-spectrogram-transformer": (t.ASTConfig(), (101, 12)),
    "timesformer": (t.TimesformerConfig(), (8, 14, 14)),
    "videomae": (t.VideoMAEConfig(hidden_size=48, num_attention_heads=4), (8, 14, 14)),
    "videoprism": (t.VideoPrismVisionConfig(), (16, 16, 16)),
    "point-transformer": (PointTransformerConfig(), (64,)),
    "patchtst": (t.PatchTSTConfig(context_length=512, patch_length=16, patch_stride=8, num_input_channels=3), (63, 3)),
}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "mllama"])  # which takes tiles
def test_the_grids_of_published_sizes(name: str) -> None:
    """At its default size, on a device that computes shapes only."""
    module, (config, wanted) = find("isthmus.encoders", name), PUBLISHED[name]
    for key in ("num_hidden_layers", "encoder_layers", "num_spatial_layers", "num_temporal_layers"):
        if name != "swin" and hasattr(config, key):  # one layer does not change the shape
            setattr(config, key, 1)
    assert module.grid(config, module.SIZE) == wanted
    listed(module, config)
    shapes = {
        "image": (3, module.SIZE, module.SIZE),
        "video": (getattr(config, "num_frames", 0), 3, module.SIZE, module.SIZE),
        "audio": (80, module.SIZE),
        "points": (module.SIZE, 3),
        "series": (3, module.SIZE),
    }
    own = {"wav2vec2": (module.SIZE,), "audio-spectrogram-transformer": (module.SIZE, 128)}
    with torch.device("meta"):
        model = built(IsthmusConfig(image_config=config, encoders={"image": {"name": name}}), "image").eval()
    with torch.no_grad():
        features = module.encode(model, torch.empty(1, *own.get(name, shapes[module.KIND]), device="meta"))
    assert features.shape == (1, math.prod(wanted), config.hidden_size)


def listed(module: Any, config: Any) -> None:
    """What listings say of an encoder is so, by its `grid`."""
    if isinstance(wanted := module.FEATURES, str):
        own = {"patch": config.patch_length, "stride": config.patch_stride, "channels": config.num_input_channels}
        wanted = tuple(eval(one, {"steps": module.SIZE} | own) for one in wanted.split(" x "))
    assert module.grid(config, module.SIZE) == wanted
    if module.LEAST is None:
        with pytest.raises(BadRecipe):
            module.grid(config, module.SIZE + 1)
        return
    assert math.prod(module.grid(config, module.SIZE + 1)) >= math.prod(wanted)
    assert math.prod(module.grid(config, module.LEAST)) > 0
    if module.LEAST > 1:
        with pytest.raises(BadRecipe):
            module.grid(config, module.LEAST - 1)


def test_what_is_listed_of_tiles() -> None:
    listed(find("isthmus.encoders", "mllama"), t.MllamaVisionConfig(image_size=560))


@pytest.mark.parametrize("name", ["siglip2", "dinov2"])
def test_a_model_of_another_type_is_named(name: str, tmp_path: Path) -> None:
    folder = TINY["vit"].save(TINY["vit"].makes[0](), tmp_path / "part")
    with pytest.raises(PartUnavailable, match=f"is a vit. This encoder takes {name}"):
        find("isthmus.encoders", name).load(folder)


@pytest.mark.parametrize(
    ("name", "size", "says"),
    [
        ("vit", 3, "less than a patch of 4"),
        ("swin", 12, "Take 16 or more"),
        ("whisper", 34, "takes 32 frames"),
        ("audio-spectrogram-transformer", 30, "takes 22 frames"),
        ("wav2vec2", 29, "less than one feature hears: 30"),
        ("timesformer", 24, "takes 16 pixels"),
        ("videomae", 24, "takes 16 pixels"),
        ("videoprism", 3, "less than a patch of 4"),
        ("patchtst", 32, "takes 22 steps"),
    ],
)
def test_a_size_that_a_model_cannot_have_is_refused(name: str, size: int, says: str) -> None:
    with pytest.raises(BadRecipe, match=says):
        find("isthmus.encoders", name).grid(TINY[name].makes[0]().config, size)
