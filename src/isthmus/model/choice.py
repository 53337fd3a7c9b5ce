"""What `compose` is asked for one kind of media, checked: encoders, a connector, and their options."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from isthmus.connectors._options import SIZES
from isthmus.connectors._options import options as connector_options
from isthmus.encoders._several import JOINS
from isthmus.errors import BadRecipe
from isthmus.media import caps
from isthmus.model import encoding
from isthmus.options import checked, problems
from isthmus.registry import find, miss, names

EXAMPLES = {
    "image": "vit-s", "audio": "whisper", "video": "videomae", "points": "point-transformer", "series": "patchtst"
}  # fmt: skip
NEW = "new"  # in place of a part: an encoder with random weights, to be trained from nothing
Sense = tuple[str | Sequence[str], str] | Mapping[str, Any]  # (encoder, connector), or a mapping with these and more


class BadChoice(BadRecipe):
    """What is wrong with one key of what is asked for a kind of media."""

    def __init__(self, kind: str, key: str, what: str) -> None:
        super().__init__(f"{kind}: {what}")
        self.key, self.what = key, what.removeprefix(f"{key}: ")


@dataclasses.dataclass(frozen=True)
class Chosen:
    """What is chosen for one kind of media: where the encoder's weights are, and what the configuration says of it.

    `parts` are by their place in a recipe: `image.encoder`, or `image.encoder.0`, ... of several. Where it is `NEW`,
    `new` makes the encoder.
    """

    parts: dict[str, str]
    encoder: dict[str, Any]
    connector: dict[str, Any]
    new: Callable[[], Any] | None = None


def choose(kind: str, how: Sense) -> Chosen:
    """What `compose` was asked for one kind of media, checked; nothing is fetched.

    Raises `UnknownName` for an encoder or connector that does not exist, `BadChoice` for what does not fit.
    """
    given = _asked(kind, how)
    own_channels: dict[str, Any] = {"channels": given.pop("channels")} if "channels" in given else {}
    for value in own_channels.values():
        if not _whole(value) or value < 1:
            raise BadChoice(kind, "channels", f"channels: {value!r}, a whole number of at least 1 is needed")
    own_sizes = given.pop(NEW, {})
    parts, encoder, framed = _encoder(kind, given)
    new = None
    if NEW in parts.values():
        new = functools.partial(_fresh(kind, encoder["name"], own_sizes), encoder["size"], **own_channels)
    elif own_channels or own_sizes:
        key, what = ("channels", "channels are") if own_channels else (NEW, f"the sizes in `{NEW}` are")
        raise BadChoice(kind, key, f"{what} those of a new encoder (part: {NEW}); this part has its own")
    if framed:
        encoder["frames"] = frames = given.pop("frames", encoding.FRAMES)
        if not _whole(frames) or not 1 <= frames <= caps.MAX_FRAMES:
            raise BadChoice(kind, "frames", f"frames: {frames!r}, a number from 1 to {caps.MAX_FRAMES} is needed")
    if "rate" in given and kind == "series":
        encoder["rate"] = rate = given.pop("rate")
        if not isinstance(rate, int | float) or isinstance(rate, bool) or not 0 < rate < math.inf:
            raise BadChoice(kind, "rate", f"rate: {rate!r}, steps a second are wanted: a number above 0")
    if "tiles" in given and kind == "image":
        encoder["tiles"] = tiles = given.pop("tiles")
        if not _whole(tiles) or tiles < 2:
            raise BadChoice(kind, "tiles", f"tiles: {tiles!r}, a number of at least 2 is needed; leave it out for none")
    options = {key: value for key, value in given.items() if key != "connector"}
    known, own = list(connector_options(given["connector"])), ["part", "size"]
    own += ["frames"] if framed else {"image": ["tiles"], "series": ["rate"]}.get(kind, [])
    own += ["join"] if "join" in encoder else []
    for key in options:
        if key not in known:
            raise BadChoice(kind, key, miss("option", key, [*own, *known]))
    if framed and "time" in known:
        options.setdefault("time", True)  # the encoder sees each frame as a picture of its own
    if ("tiles" in encoder or kind in ("audio", "video", "series")) and "together" in known:
        options.setdefault("together", True)  # or text would see the last tile, window or part of a clip only
    build = find("isthmus.connectors", given["connector"]).Connector.__init__
    for key, what in problems(given["connector"], build, SIZES, options):
        raise BadChoice(kind, key, what)
    return Chosen(parts, encoder, {"name": given["connector"], **options}, new)


def _fresh(kind: str, name: str, sizes: Any) -> Callable[..., Any]:
    """What makes a new encoder of these sizes, which its `fresh` declares."""
    make = find("isthmus.encoders", name).fresh
    if not isinstance(sizes, Mapping):
        raise BadChoice(kind, NEW, f"{NEW}: {sizes!r}, a mapping of sizes is needed, such as {{layers: 6}}")
    others = ("size", "channels")
    for key, what in problems(name, make, others, dict(sizes)):
        raise BadChoice(kind, NEW, f"{NEW}: {key}: {what}")
    return functools.partial(make, **checked(make, others, dict(sizes)))


def _asked(kind: str, how: Any) -> dict[str, Any]:
    """What is asked, by key, of which an encoder and a connector are named; None is as good as nothing."""
    example = f"For example: {{encoder: {EXAMPLES[kind]}, connector: mlp}}"
    if isinstance(how, tuple) and len(how) == 2:
        how = dict(zip(("encoder", "connector"), how, strict=True))
    if not isinstance(how, Mapping):
        what = f"{how!r}, a pair (encoder, connector) or a mapping with these is needed. {example}"
        raise BadChoice(kind, "encoder", what)
    given = {str(key): value for key, value in how.items() if value is not None}
    for key in ("encoder", "connector"):
        if key not in given:
            raise BadChoice(kind, key, f"no {key} is named. {example}")
        several = key == "encoder" and isinstance(given[key], list | tuple)
        if not all(isinstance(name, str) for name in (given[key] if several else [given[key]])):
            raise BadChoice(kind, key, f"{key}: {given[key]!r}, a name is needed. {example}")
    return given


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _encoder(kind: str, given: dict[str, Any]) -> tuple[dict[str, str], dict[str, Any], bool]:
    """The parts, and what the configuration says, of the encoder or encoders that `given` names, taken out of it; and
    whether an encoder of pictures sees the frames of clips."""
    name = given.pop("encoder")
    several = isinstance(name, list | tuple)
    each = list(name) if several else [name]
    files = [find("isthmus.encoders", one) for one in each]
    for one, file in zip(each, files, strict=True):
        if kind != file.KIND and (kind, file.KIND) != ("video", "image"):
            fit = [other for other in names("isthmus.encoders") if kind == find("isthmus.encoders", other).KIND]
            what = f"the encoder {one} is for {file.KIND}. Those for {kind}: {', '.join(fit)}"
            raise BadChoice(kind, "encoder", what)
    if several and (len(each) < 2 or any(file.KIND != "image" for file in files)):
        what = f"encoder: a list is of two or more encoders of pictures, not {', '.join(each)}"
        raise BadChoice(kind, "encoder", what)

    def of_each(key: str, default: str) -> list[Any]:
        value = given.pop(key, None)
        if not several and isinstance(value, list | tuple):
            raise BadChoice(kind, key, f"{key}: {value} is for several encoders, and {name} is one")
        values = list(value) if isinstance(value, list | tuple) else [value] * len(each)
        if len(values) != len(each):
            raise BadChoice(kind, key, f"{key}: {len(values)} for {len(each)} encoders")
        return [getattr(file, default) if v is None else v for file, v in zip(files, values, strict=True)]

    parts, sizes = of_each("part", "PART"), of_each("size", "SIZE")
    for one, file, part, size in zip(each, files, parts, sizes, strict=True):
        if part is None:
            hint = f", or `part: {NEW}` to train one from nothing" if hasattr(file, "fresh") else ""
            what = f"the encoder {one} has no default weights. Name a folder or hub part with `part`{hint}"
            raise BadChoice(kind, "part", what)
        if part == NEW and not hasattr(file, "fresh"):
            what = f"the encoder {one} is not trained from nothing here. Name a folder or hub part"
            raise BadChoice(kind, "part", what)
        if not isinstance(part, str):
            raise BadChoice(kind, "part", f"part: {part!r}, the name of a part or a folder is needed, as a text")
        if not _whole(size) or size < 1:
            raise BadChoice(kind, "size", f"size: {size!r}, a whole number of at least 1 is needed")
    encoder: dict[str, Any] = {"name": each if several else name, "size": sizes if several else sizes[0]}
    if several:
        encoder["join"] = given.pop("join", JOINS[0])
        if encoder["join"] not in JOINS:
            raise BadChoice(kind, "join", miss("join", str(encoder["join"]), JOINS))
    return dict(zip(places(kind, encoder["name"]), parts, strict=True)), encoder, kind != files[0].KIND


def places(kind: str, name: str | list[str]) -> list[str]:
    """What the parts of a kind's encoder are called: one name, or one for each of several."""
    return [f"{kind}.encoder.{k}" for k in range(len(name))] if isinstance(name, list) else [f"{kind}.encoder"]
