"""Encoders of pictures over the frames of a clip, which connectors tell apart by their time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_parts import Built

from isthmus.media.forms import Clip
from isthmus.model import compose, load, save_full, save_trained
from isthmus.registry import names
from isthmus.types import Message, Video


def clip(seed: int, count: int = 4) -> Video:
    frames = np.random.default_rng(seed).integers(0, 255, (count, 20, 24, 3), np.uint8)
    return Video(Clip(frames, np.arange(count) / 4))


@pytest.fixture
def watching(folders: dict[str, str]) -> Callable[..., Built]:
    """A tiny model that sees four frames, with large random weights in its connector."""

    def make(connector: str, **options: Any) -> Built:
        video = {"encoder": "vit-s", "connector": connector, "part": folders["vision"], "size": 16, "frames": 4}
        built = compose(folders["llama"], image=None, video=video | {"tokens": 4} | options)
        torch.manual_seed(1)
        for weight in built[0].connectors.parameters():
            weight.data += 0.3 * torch.randn_like(weight)
        return built

    return make


def times(model: Any) -> list[str]:
    return [name for name in model.connectors.state_dict() if name.endswith("time")]


@pytest.mark.parametrize("connector", names("isthmus.connectors"))
def test_the_order_of_frames_matters_and_is_kept(
    watching: Callable[..., Built], connector: str, tmp_path: Path
) -> None:
    model, processor = watching(connector, tokens=16 if connector in ("linear", "mlp") else 4)
    assert len(times(model)) == 1
    talks = [[Message("user", "is it ?", (clip(0),))], [Message("user", "what is left ?", (clip(1), clip(2)))]]
    batch = processor.encode(talks)
    assert batch["media"]["video"].shape == (3, 4, 3, 16, 16)
    logits = model(**batch).logits[:, -1]
    alone = torch.cat([model(**processor.encode([talk])).logits[:, -1] for talk in talks])
    torch.testing.assert_close(logits, alone, atol=1e-3, rtol=1e-3)
    video = processor.encode(talks[:1])["media"]["video"]
    one = model.connectors["video"].soft(model.encode("video", video))
    back = model.connectors["video"].soft(model.encode("video", video.flip(1)))
    for other in (back, back.unflatten(1, (4, -1)).flip(1).flatten(1, 2)):  # nor are they the same in another order
        assert not torch.allclose(one, other, atol=1e-3)
    save_trained(model, tmp_path / "light")
    save_full(model, processor, tmp_path / "full")
    for form in ("light", "full"):
        again, prepares = load(tmp_path / form)
        assert torch.equal(again(**prepares.encode(talks)).logits[:, -1], logits)


def test_features_themselves_have_a_time(watching: Callable[..., Built]) -> None:
    model, processor = watching("gated_cross_attention", tokens=None, memory="features")
    for block in model.connectors["video"].blocks:
        torch.nn.init.ones_(block.gate_attention)
    batch = processor("is it ?", media=clip(0))
    back = batch | {"media": {"video": batch["media"]["video"].flip(1)}}
    assert not torch.allclose(model(**batch).logits[:, -1], model(**back).logits[:, -1], atol=1e-3)
    model.connectors["video"].time.data.zero_()
    torch.testing.assert_close(model(**batch).logits[:, -1], model(**back).logits[:, -1], atol=1e-3, rtol=1e-3)


def test_a_model_from_before_has_none(watching: Callable[..., Built], tmp_path: Path) -> None:
    model, processor = watching("qformer", time=False)
    assert not times(model)
    del model.config.connectors["video"]["time"]  # as it was written then
    save_trained(model, tmp_path)
    again, prepares = load(tmp_path)
    assert not times(again)
    batch = processor("is it ?", media=clip(0))
    assert torch.equal(again(**prepares("is it ?", media=clip(0))).logits, model(**batch).logits)
    back = batch | {"media": {"video": batch["media"]["video"].flip(1)}}
    torch.testing.assert_close(model(**back).logits[:, -1], model(**batch).logits[:, -1], atol=1e-3, rtol=1e-3)
