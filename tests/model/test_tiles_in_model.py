"""Pictures in a thumbnail and tiles, through every connector to an answer."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from tiny_encoders import SQUARE, TINY
from tiny_parts import Built, noise

from isthmus.chat import Chat, _command
from isthmus.encoders._tiles import best, cut
from isthmus.errors import BadRecipe
from isthmus.media import load as decoded
from isthmus.model import compose, describe, load, save_full, save_trained
from isthmus.registry import find, names
from isthmus.types import Message

PICTURES = [name for name in names("isthmus.encoders") if find("isthmus.encoders", name).KIND == "image"]
SMALL, SQUARISH, WIDE, TALL = (16, 12), (60, 50), (90, 20), (20, 40)  # 1, 1 + 4, 1 + 4 and 1 + 2 pieces
TALKS = [
    [Message("user", "is it ?", (noise("a", WIDE),))],
    [
        Message("user", "one or two ?", (noise("b", SMALL), noise("c", TALL))),
        Message("assistant", "two"),
        Message("user", "red ?", (noise("d", SQUARISH),)),
    ],
    [Message("user", "yes or no ?")],
    [Message("user", "what colour ?", (noise("e", SMALL),))],
]


@pytest.fixture
def tiled(build: Callable[..., Built]) -> Callable[..., Built]:
    """A tiny model of large random weights that sees pictures in up to four tiles."""

    def make(connector: str = "mlp", llm: str = "llama", **options: Any) -> Built:
        built = build(llm, connector=connector, tiles=4, **options)
        torch.manual_seed(1)
        for weight in built[0].connectors.parameters():
            weight.data += 0.3 * torch.randn_like(weight)
        return built

    return make


def answers(built: Built, talks: Any, **options: Any) -> list[list[int]]:
    model, processor = built
    batch = processor.encode(talks)
    out = model.generate(**batch, max_new_tokens=6, min_new_tokens=6, do_sample=False, **options)
    length = 1 if model.config.is_encoder_decoder else batch["input_ids"].shape[1]
    return [row[length:].tolist() for row in out]


def test_slots_are_known_from_the_size(tiled: Callable[..., Built]) -> None:
    _, processor = tiled()
    for size, pieces in ((SMALL, 1), (SQUARISH, 5), (WIDE, 5), (TALL, 3)):
        rows, columns = best(*size, 16, 4)
        assert pieces == (1 if rows * columns == 1 else 1 + rows * columns)
        media, slots = processor.prepare([noise("a", size)])
        assert slots == [[("image", 4)] * pieces]
        assert media["media"]["image"].shape == (pieces, 3, 16, 16)
    assert len(processor.preprocess([noise("a", SMALL), noise("a", TALL)])) == 4


def test_it_equals_its_pieces_as_pictures_of_their_own(
    tiled: Callable[..., Built], build: Callable[..., Built]
) -> None:
    model, processor = tiled()
    plain, prepares = build()
    plain.load_state_dict(model.state_dict())
    picture = noise("a", TALL)
    pieces = cut(decoded(picture), 16, 4, processor.image_processor.resample)
    assert len(pieces) == 3
    ours, theirs = processor("is it red ?", picture), prepares("is it red ?", pieces)
    assert torch.equal(ours["input_ids"], theirs["input_ids"])
    assert torch.equal(model(**ours).logits, plain(**theirs).logits)


@pytest.mark.parametrize("connector", names("isthmus.connectors"))
def test_every_connector_in_batches_with_beams_and_saved(
    tiled: Callable[..., Built], connector: str, tmp_path: Path
) -> None:
    built = tiled(connector)
    together = answers(built, TALKS)
    assert [answers(built, [talk])[0] for talk in TALKS] == together
    assert answers(built, TALKS, use_cache=False) == together
    beams = answers(built, TALKS, num_beams=3)
    assert [answers(built, [talk], num_beams=3)[0] for talk in TALKS] == beams
    save_trained(built[0], tmp_path / "light")
    save_full(*built, tmp_path / "full")
    for form in ("light", "full"):
        assert answers(load(tmp_path / form), TALKS) == together


@pytest.mark.parametrize("connector", names("isthmus.connectors"))
def test_every_tile_is_seen(tiled: Callable[..., Built], connector: str) -> None:
    model, processor = tiled(connector)
    batch = processor("is it red ?", noise("a", TALL))
    before = model(**batch).logits[:, -1]
    for piece in range(3):
        pixels = batch["media"]["image"].clone()
        pixels[piece] = -pixels[piece]
        after = model(**batch | {"media": {"image": pixels}}).logits[:, -1]
        assert not torch.allclose(before, after, atol=1e-3), f"piece {piece}"


@pytest.mark.parametrize("name", [name for name in PICTURES if name != "mllama"])  # which cuts pictures itself
def test_every_encoder_sees_tiles(name: str, folders: dict[str, str], tmp_path: Path) -> None:
    torch.manual_seed(0)
    size = TINY[name].sizes[0]
    tiny = replace(TINY[name], prepared=SQUARE | {"image_processor_type": "ViTImageProcessor"})
    part = tiny.save(TINY[name].makes[0](), tmp_path / "part")
    image = {"encoder": name, "connector": "linear", "part": str(part), "size": size}
    (model, processor), (plain, prepares) = (compose(folders["llama"], image | own) for own in ({"tiles": 2}, {}))
    wide = noise("a", (4 * size, 2 * size))
    pieces = cut(decoded(wide), size, 2, processor.image_processor.resample)
    assert len(pieces) == 3
    with torch.no_grad():
        wanted = plain(**prepares("what is this ?", pieces)).logits
        torch.testing.assert_close(model(**processor("what is this ?", wide)).logits, wanted)


def test_an_encoder_decoder_and_a_connector_that_reads(tiled: Callable[..., Built]) -> None:
    for options in ({"llm": "t5"}, {"connector": "qformer", "instruction": True}):
        built = tiled(**options)
        assert [answers(built, [talk])[0] for talk in TALKS] == answers(built, TALKS)


def test_a_chat(tiled: Callable[..., Built], tmp_path: Path) -> None:
    chat = Chat(*tiled())
    decoded(noise("a", WIDE)).save(tmp_path / "a.png")
    assert _command(chat, f"/image {tmp_path / 'a.png'}", Console(file=io.StringIO()))
    _, tokens = chat.ask("is it ?")
    assert tokens > 0
    assert "a thumbnail and up to 4 tiles" in describe(chat.model)


def test_text_alone_is_the_llms_own(tiled: Callable[..., Built]) -> None:
    model, processor = tiled()
    batch = processor("is it ?")
    assert torch.equal(model(**batch).logits, model.llm(**batch).logits)


@pytest.mark.parametrize("tiles", [1, 0, "four", 2.5, True])
def test_a_number_that_cannot_be(build: Callable[..., Built], tiles: Any) -> None:
    with pytest.raises(BadRecipe, match=r"image: tiles: .*at least 2"):
        build(tiles=tiles)


def test_tiles_belong_to_pictures(folders: dict[str, str], tmp_path: Path) -> None:
    video = {"encoder": "vit-s", "connector": "mlp", "part": folders["vision"], "size": 16, "tiles": 4}
    with pytest.raises(BadRecipe, match="video: no option 'tiles'"):
        compose(folders["llama"], image=None, video=video)
    own = SQUARE | {"image_processor_type": "MllamaImageProcessor", "max_image_tiles": 4}
    part = TINY["mllama"].save(TINY["mllama"].makes[0](), tmp_path / "part")
    (part / "preprocessor_config.json").write_text(json.dumps(own))
    image = {"encoder": "mllama", "connector": "linear", "part": str(part), "size": 16, "tiles": 4}
    with pytest.raises(BadRecipe, match="the encoder mllama cuts pictures itself"):
        compose(folders["llama"], image)
