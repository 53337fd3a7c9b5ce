"""What `compose` and media are given from Python in another type than is wanted: a sentence, and never a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from isthmus.errors import BadMedia, BadRecipe
from isthmus.media import load
from isthmus.media.request import Request
from isthmus.model import compose
from isthmus.model.choice import choose
from isthmus.types import Audio, Image, Points, Series, Video

PAIR = r"a pair \(encoder, connector\) or a mapping"
WHOLE = "a whole number"


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("vit-s", f"image: 'vit-s', {PAIR} .* For example: {{encoder: vit-s, connector: mlp}}"),
        (("vit-s",), PAIR),
        (("vit-s", "mlp", "more"), PAIR),
        (["vit-s", "mlp"], PAIR),
        (3, PAIR),
        ((3, "mlp"), "encoder: 3, a name is needed"),
        ((["vit-s", 3], "mlp"), r"encoder: \['vit-s', 3\], a name is needed"),
        (("vit-s", ["mlp"]), r"connector: \['mlp'\], a name is needed"),
        ({"size": "112"}, f"size: '112', {WHOLE} of at least 1"),
        ({"size": 1.5}, f"size: 1.5, {WHOLE}"),
        ({"size": True}, f"size: True, {WHOLE}"),
        ({"size": 0}, f"size: 0, {WHOLE}"),
        ({"encoder": ["vit-s", "clip"], "size": [112, "336"]}, f"size: '336', {WHOLE}"),
        ({"part": 5}, "part: 5, the name of a part or a folder"),
        ({"part": Path("here")}, "part: .*here.*, as a text"),
        ({"tiles": True}, "tiles: True"),
        ({"join": 3}, "no option 'join'"),
        ({"encoder": ["vit-s", "clip"], "join": 3}, "no join '3'"),
        ({3: 4}, "no option '3'"),
    ],
)
def test_what_is_asked_for_a_kind(how: Any, message: str) -> None:
    asked = {"encoder": "vit-s", "connector": "mlp"} | how if isinstance(how, dict) else how
    with pytest.raises(BadRecipe, match=message):
        choose("image", asked)


@pytest.mark.parametrize("channels", ["6", 1.5, 0, True])
def test_channels(channels: Any) -> None:
    with pytest.raises(BadRecipe, match=f"channels: {channels!r}, {WHOLE} of at least 1"):
        choose("series", {"encoder": "patchtst", "connector": "mlp", "part": "new", "channels": channels})


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"part": "new", "new": 3}, "new: 3, a mapping of sizes"),
        ({"part": "new", "new": {"layer": 3}}, r"new: layer: patchtst: no option 'layer'. Did you mean 'layers'\?"),
        ({"part": "new", "new": {"layers": 0}}, "new: layers: patchtst: Input should be greater than 0"),
        ({"new": {"layers": 2}}, r"the sizes in `new` are those of a new encoder \(part: new\)"),
    ],
)
def test_sizes_of_a_new_encoder(how: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRecipe, match=message):
        choose("series", {"encoder": "patchtst", "connector": "mlp"} | how)


@pytest.mark.parametrize("name", ["point-transformer", "patchtst"])
def test_a_new_encoder_has_the_sizes_that_were_asked_for(name: str) -> None:
    kind = {"point-transformer": "points", "patchtst": "series"}[name]
    asked = {
        "encoder": name,
        "connector": "mlp",
        "part": "new",
        "size": 64,
        "new": {"layers": 2, "width": 48, "heads": 4},
    }
    made = choose(kind, asked).new
    assert made is not None
    model = made()
    assert (model.config.hidden_size, model.config.num_hidden_layers, model.config.num_attention_heads) == (48, 2, 4)
    bad = choose(kind, asked | {"new": {"width": 48, "heads": 5}}).new
    assert bad is not None
    with pytest.raises(BadRecipe, match="a width of 48 cannot be shared by 5 heads"):
        bad()


def test_a_whole_number_of_a_new_encoder_may_be_written_as_another_number() -> None:
    asked = {"encoder": "patchtst", "connector": "mlp", "part": "new", "size": 64, "new": {"layers": 2.0}}
    made = choose("series", asked).new
    assert made is not None
    assert made().config.num_hidden_layers == 2


@pytest.mark.parametrize("how", [{"size": 16}, {"size": 64, "new": {"patch": 64}}])
def test_a_patch_is_shorter_than_the_window(how: dict[str, Any]) -> None:
    made = choose("series", {"encoder": "patchtst", "connector": "mlp", "part": "new"} | how).new
    assert made is not None
    with pytest.raises(BadRecipe, match=r"a patch of .* steps is not shorter than the window of"):
        made()


@pytest.mark.parametrize("given", [{"llm": 3}, {"llm": Path("llm")}, {"llm": None}, {"frame": 3}])
def test_names(given: dict[str, Any]) -> None:
    (key,) = given
    with pytest.raises(BadRecipe, match=f"^{key}: .*, a name is needed"):
        compose(**given)


@pytest.mark.parametrize(
    ("form", "given", "message"),
    [
        (Series, {"rate": "50"}, "rate: '50', a number"),
        (Series, {"time": 0}, "time: 0, the name of a column"),
        (Image, {"bands": 1}, "bands: 1, a tuple of one or three bands"),
        (Image, {"bands": ("a",)}, r"bands: \('a',\), one or three whole numbers"),
        (Image, {"page": "1"}, f"page: '1', {WHOLE}"),
        (Image, {"page": None}, f"page: None, {WHOLE}"),
        (Audio, {"start": "a"}, "start: 'a', a number"),
        (Audio, {"end": [1]}, r"end: \[1\], a number"),
        (Video, {"frames": 1.5}, f"frames: 1.5, {WHOLE}"),
        (Video, {"fps": "2"}, "fps: '2', a number"),
        (Points, {"count": "9"}, f"count: '9', {WHOLE}"),
        (Points, {"seed": None}, f"seed: None, {WHOLE}"),
    ],
)
def test_what_is_asked_of_a_medium(form: Any, given: dict[str, Any], message: str) -> None:
    for decode in (load, Request(1).load):
        with pytest.raises(BadMedia, match=f"(a.file: )?{message}"):
            decode(form("a.file", **given))
