"""Several encoders of pictures at once: their features joined by channel and by token, in whole models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as t
from tiny_parts import Built, noise

from isthmus.encoders._several import Several, SeveralConfig
from isthmus.errors import BadRecipe, IsthmusError, PartUnavailable, UnknownName
from isthmus.media.forms import Clip
from isthmus.model import IsthmusModel, add_lora, compose, describe, exporters, load, save_full, save_trained
from isthmus.model.build import unfreeze
from isthmus.model.encoding import grid, width
from isthmus.model.lora import merge_lora
from isthmus.registry import names
from isthmus.train.features import fingerprint
from isthmus.train.setup import Run
from isthmus.types import Message, Video

WIDTHS = [24, 40]
TALKS = [
    [Message("user", "is it ?", (noise("a"),))],
    [Message("user", "one or two ?", (noise("b"), noise("c"))), Message("assistant", "two"), Message("user", "red ?")],
    [Message("user", "yes or no ?")],
]


@pytest.fixture(scope="module")
def two(folders: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A DINOv2 and a SigLIP of other widths, patches and colours."""
    part = tmp_path_factory.mktemp("siglip")
    torch.manual_seed(3)
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32, "patch_size": 8}
    model = t.SiglipVisionModel(t.SiglipVisionConfig(**sizes, hidden_size=WIDTHS[1], image_size=32))
    for weight in model.parameters():
        weight.data += 0.2 * torch.randn_like(weight)
    model.save_pretrained(part)
    own = {"size": {"height": 32, "width": 32}, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.7, 0.8, 0.9]}
    t.SiglipImageProcessorPil(**own).save_pretrained(part)
    return [folders["vision"], str(part)]


@pytest.fixture
def several(folders: dict[str, str], two: list[str]) -> Callable[..., Built]:
    """A tiny model that sees through both, with large random weights in its connector."""

    def make(connector: str = "mlp", kind: str = "image", llm: str = "llama", **options: Any) -> Built:
        own = {"encoder": ["dinov2", "siglip"], "part": two, "size": [16, 32], "connector": connector}
        built = compose(folders[llm], **{"image": None} | {kind: own | options})
        torch.manual_seed(1)
        for weight in built[0].connectors.parameters():
            weight.data += 0.3 * torch.randn_like(weight)
        return built

    return make


def answers(built: Built, talks: Any = TALKS, **options: Any) -> list[list[int]]:
    model, processor = built
    batch = processor.encode(talks)
    out = model.generate(**batch, max_new_tokens=6, min_new_tokens=6, do_sample=False, **options)
    length = 1 if model.config.is_encoder_decoder else batch["input_ids"].shape[1]
    return [row[length:].tolist() for row in out]


def alone(folders: dict[str, str], two: list[str], picture: Any) -> list[torch.Tensor]:
    """Each encoder's own features of a picture, in a model of its own."""
    found = []
    for name, part, size in zip(("dinov2", "siglip"), two, (16, 32), strict=True):
        image = {"encoder": name, "part": part, "size": size, "connector": "linear"}
        model, processor = compose(folders["llama"], image)
        found.append(model.encode("image", processor.preprocess([picture])))
    return found


@torch.no_grad()
def test_features_are_each_encoders_own(several: Callable[..., Built], folders: dict[str, str], two: list[str]) -> None:
    first, second = alone(folders, two, noise("a"))
    model, processor = several()
    pixels = processor.preprocess([noise("a"), noise("b")])
    assert pixels.shape == (2, 6, 32, 32)
    joined = model.encode("image", pixels)
    assert grid(model.config, "image") == (4, 4)
    assert width(model.config, "image") == sum(WIDTHS) == joined.shape[-1]
    torch.testing.assert_close(joined[:1], torch.cat([first, second], -1))
    torch.testing.assert_close(joined[1:], model.encode("image", pixels[1:]))
    model, processor = several(join="token")
    woven = model.encode("image", pixels)
    assert grid(model.config, "image") == (4, 8)
    assert woven.shape == (2, 32, sum(WIDTHS))
    torch.testing.assert_close(woven[:1, 0::2, :24], first)
    torch.testing.assert_close(woven[:1, 1::2, 24:], second)
    assert not woven[:, 0::2, 24:].any()
    assert not woven[:, 1::2, :24].any()


@torch.no_grad()
def test_by_token_each_encoder_has_a_projection_of_its_own(
    several: Callable[..., Built], folders: dict[str, str], two: list[str]
) -> None:
    model, processor = several("linear", join="token")
    connector: Any = model.connectors["image"]
    soft = connector(model.encode("image", processor.preprocess([noise("a")])))
    weights = connector.linear.weight.split(WIDTHS, 1)
    for k, (features, weight) in enumerate(zip(alone(folders, two, noise("a")), weights, strict=True)):
        own = (features @ weight.T + connector.linear.bias) * connector.gain
        torch.testing.assert_close(soft[:, k::2], own, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("join", ["channel", "token"])
@pytest.mark.parametrize("connector", names("isthmus.connectors"))
def test_every_connector_in_batches_with_beams_and_saved(
    several: Callable[..., Built], connector: str, join: str, tmp_path: Path
) -> None:
    built = several(
        connector, join=join, tokens=None if connector in ("linear", "mlp") else 8 if join == "token" else 4
    )
    together = answers(built)
    assert [answers(built, [talk])[0] for talk in TALKS] == together
    beams = answers(built, num_beams=3)
    assert [answers(built, [talk], num_beams=3)[0] for talk in TALKS] == beams
    save_trained(built[0], tmp_path / "light")
    save_full(*built, tmp_path / "full")
    for form in ("light", "full"):
        again = load(tmp_path / form)
        assert answers(again) == together
        assert torch.equal(again[1].preprocess([noise("a")]), built[1].preprocess([noise("a")]))
    text = (tmp_path / "full" / "config.json").read_text() + (tmp_path / "full" / "processor_config.json").read_text()
    assert "_name_or_path" not in text or str(tmp_path) not in text


@torch.no_grad()
def test_either_encoder_matters(several: Callable[..., Built]) -> None:
    model, processor = several()
    batch = processor("is it red ?", noise("a"))
    before = model(**batch).logits[:, -1]
    for channels in (slice(0, 3), slice(3, 6)):
        pixels = batch["media"]["image"].clone()
        pixels[:, channels] = -pixels[:, channels]
        assert not torch.allclose(model(**batch | {"media": {"image": pixels}}).logits[:, -1], before, atol=1e-3)


@torch.no_grad()
def test_tiles(several: Callable[..., Built]) -> None:
    _, processor = built = several(tiles=4)
    media, slots = processor.prepare([noise("a", (60, 120)), noise("b", (20, 20))])
    assert [len(pieces) for pieces in slots] == [3, 1]
    assert media["media"]["image"].shape == (4, 6, 32, 32)
    talks = [[Message("user", "is it ?", (noise("a", (60, 120)),))], [Message("user", "red ?", (noise("b"),))]]
    assert [answers(built, [talk])[0] for talk in talks] == answers(built, talks)


@pytest.mark.parametrize("join", ["channel", "token"])
def test_frames_of_a_clip(several: Callable[..., Built], join: str, tmp_path: Path) -> None:
    model, processor = built = several("qformer", kind="video", join=join, frames=3, tokens=4)
    frames = np.random.default_rng(0).integers(0, 255, (3, 20, 24, 3), np.uint8)
    talks = [[Message("user", "is it ?", (Video(Clip(frames, np.arange(3) / 4)),))]]
    batch = processor.encode(talks)
    assert batch["media"]["video"].shape == (1, 3, 6, 32, 32)
    assert grid(model.config, "video") == (3, 4, 4 if join == "channel" else 8)
    with torch.no_grad():
        features = model.encode("video", clips := batch["media"]["video"])
        each = [model.encode("video", clips[:, f : f + 1]) for f in range(3)]
    torch.testing.assert_close(features, torch.cat(each, 1))
    save_full(*built, tmp_path / "full")
    assert answers(load(tmp_path / "full"), talks) == answers(built, talks)


def test_an_encoder_decoder(several: Callable[..., Built]) -> None:
    built = several(llm="t5")
    assert [answers(built, [talk])[0] for talk in TALKS] == answers(built)


def test_trained_and_adapted_they_are_one_part(several: Callable[..., Built], tmp_path: Path) -> None:
    model, _ = built = several()
    add_lora(model, "image.encoder", 2, 4)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    expected = answers(built)
    save_trained(model, tmp_path / "adapted")
    assert answers(load(tmp_path / "adapted")) == expected
    merge_lora(model)
    weights = unfreeze(model, "image.encoder")
    assert len(weights) == len(list(model.encoders["image"].parameters()))
    for weight in weights:
        weight.data += 0.1
    expected = answers(built)
    save_trained(model, tmp_path / "trained")
    assert answers(load(tmp_path / "trained")) == expected


def test_a_checkpoint_knows_each_part(several: Callable[..., Built], two: list[str]) -> None:
    model, _ = several()
    assert [model.config.parts[f"image.encoder.{k}"]["name"] for k in range(2)] == two
    shown = describe(model)
    for k, name in enumerate(("dinov2", "siglip")):
        assert f"encoder    {name}" in shown
        assert two[k] in shown


def test_the_feature_cache_tells_them_apart(several: Callable[..., Built], tmp_path: Path) -> None:
    model, processor = several()
    key = fingerprint(Run(model, processor), "image")
    save_full(model, processor, tmp_path / "full")
    assert fingerprint(Run(*load(tmp_path / "full")), "image") == key
    assert fingerprint(Run(*several(join="token")), "image") != key
    next(model.encoders["image"][1].parameters()).data += 1
    assert fingerprint(Run(model, processor), "image") != key


def test_in_half_precision(several: Callable[..., Built], tmp_path: Path) -> None:
    model, processor = several()
    model.save_pretrained(tmp_path)
    half = IsthmusModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {weight.dtype for weight in half.parameters()} == {torch.bfloat16}
    pixels = processor.preprocess([noise("a")])
    assert half.encode("image", pixels).dtype == torch.bfloat16


@pytest.mark.parametrize("to", ["llava-hf", "gguf"])
def test_llava_has_one_encoder(several: Callable[..., Built], tmp_path: Path, to: str) -> None:
    with pytest.raises(IsthmusError, match="it sees through dinov2 and siglip, and LLaVA has one encoder"):
        exporters.write(*several(), to, tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 16}, r"dinov2 4 x 4 of 16 pixels, siglip 2 x 2 of 16 pixels\. For example size: \[16, 32\]"),
        ({"size": [16]}, "image: size: 1 for 2 encoders"),
        ({"size": [16, 0]}, "image: size: 0, a whole number of at least 1"),
        ({"part": ["a", "b", "c"]}, "image: part: 3 for 2 encoders"),
        (
            {"encoder": "dinov2", "join": None, "size": [16, 16], "part": None},
            "image: part|image: size: .* is for several",
        ),
        ({"join": "chanel"}, "image: no join 'chanel'. Did you mean 'channel'"),
        ({"encoder": ["dinov2"]}, "a list is of two or more encoders of pictures"),
        ({"encoder": ["dinov2", "whisper"]}, "image: the encoder whisper is for audio"),
        ({"pool": "token", "jion": "token"}, "no option 'jion'. Did you mean 'join'"),
    ],
)
def test_what_cannot_be_joined(several: Callable[..., Built], options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRecipe, match=message):
        several(**options)


def test_other_mistakes(several: Callable[..., Built], folders: dict[str, str], two: list[str]) -> None:
    with pytest.raises(UnknownName, match="no encoder 'sigplip'"):
        several(encoder=["dinov2", "sigplip"])
    with pytest.raises(PartUnavailable):
        several(part=[two[0], folders["llama"]])
    sounds = {"encoder": ["whisper", "wav2vec2"], "connector": "mlp", "part": "nowhere"}
    with pytest.raises(BadRecipe, match="audio: encoder: a list is of two or more encoders of pictures"):
        compose("nowhere", image=None, audio=sounds)
    one = {"encoder": "dinov2", "part": two[0], "size": 16, "connector": "mlp", "join": "token"}
    with pytest.raises(BadRecipe, match="no option 'join'"):
        compose(folders["llama"], one)


def test_sizes_that_agree_are_found() -> None:
    """As DINOv2's patches of 14 pixels and a SigLIP's of 16 need; Swin halves its grid in every stage."""
    configs = [
        t.Dinov2Config(patch_size=14),
        t.SiglipVisionConfig(patch_size=16),
        t.SwinConfig(window_size=7, patch_size=4),
    ]
    config = SeveralConfig(each=[own.to_dict() for own in configs])
    encoders = Several(["dinov2", "siglip", "swin"], [224, 224, 224], "channel")
    with pytest.raises(BadRecipe, match=r"For example size: \[(\d+), (\d+), (\d+)\]") as caught:
        encoders.grid(config, encoders.sizes)
    sizes = [int(size) for size in str(caught.value).rpartition("[")[2].rstrip("]").split(", ")]
    assert encoders.grid(config, sizes) == encoders.files[0].grid(configs[0], sizes[0])
