"""A medium as text: what experts tell of it, and captions by a model that sees; `isthmus describe` prints it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image
from rich.console import Console
from rich.text import Text

from isthmus.data.folder import KIND_OF
from isthmus.errors import BadData
from isthmus.experts import PACKAGE, Caption, Experts, Told, resolve
from isthmus.experts._frames import look
from isthmus.media import caps, load
from isthmus.registry import names
from isthmus.types import KINDS, Audio, Image, Medium, Video

QUESTION = "Describe the picture."  # that asks for a caption; the default model was taught it
LONGEST = 32  # tokens of a caption
COLOURS = {"speech": "cyan", "text": "yellow", "caption": "green"}


@dataclass(frozen=True)
class Description:
    """What is told of a medium. Sizes in pixels and seconds, None where it has none; `sound`: whether there is any."""

    kind: str
    told: list[Told]
    name: str = ""
    seconds: float | None = None
    width: int | None = None
    height: int | None = None
    sound: bool | None = None

    def __str__(self) -> str:
        """A header, and a line for each thing told.

        >>> print(Description("audio", [Told("speech", "press one", 0.5, 2.0)], "a.wav", seconds=2.25))
        a.wav: audio, 2.2 s
        0.5-2.0 s speech: press one
        """
        return "\n".join([self.header, *map(str, self.told)])

    @property
    def header(self) -> str:
        size = [f"{self.seconds:.1f} s"] if self.seconds is not None else []
        size += [f"{self.width} x {self.height} pixels"] if self.width else []
        size += ["with sound" if self.sound else "without sound"] if self.sound is not None else []
        return ", ".join([f"{self.name}: {self.kind}" if self.name else self.kind, *size])


def chosen(given: str | None) -> list[str] | None:
    """The experts named in a text with commas, in full; None for none given. Raises `UnknownName`.

    >>> chosen("speech, ocr"), chosen(None)
    (['speech-to-text', 'ocr'], None)
    """
    return None if given is None else [resolve(name.strip()) for name in given.split(",") if name.strip()]


def captions(model: Any, processor: Any) -> Caption | None:
    """What says of a picture what it shows, by a model that takes pictures; None for one that does not."""
    if "image" not in processor.placeholders:
        return None
    from accelerate.utils import send_to_device

    def caption(picture: PIL.Image.Image) -> str:
        inputs = send_to_device(processor(QUESTION, Image(lambda: picture)), model.device)
        ids = model.generate(**inputs, max_new_tokens=LONGEST, do_sample=False)
        own = ids if model.config.is_encoder_decoder else ids[:, inputs["input_ids"].shape[1] :]
        return str(processor.decode(own[0]))

    return caption


def describe(medium: str | Path | Medium, experts: Iterable[str] | None = None, model: Any = "default") -> Description:
    """What experts tell of a medium, and what a model says that it shows.

    Args:
        medium: a path tells by its ending what it is.
        experts: names, full or short; by default all that take the medium. Captions come with `video`.
        model: a name or folder, (model, processor), or None for no captions. It is loaded where it is needed.

    Raises:
        UnknownName: for an expert or a model that does not exist.
        BadData: for a kind of medium that none of the experts takes.
        BadMedia: for one that cannot be decoded.
        PartUnavailable: for an extra that is not installed, or a part that cannot be fetched.
    """
    if isinstance(medium, str | Path):
        medium = KINDS[KIND_OF.get(Path(medium).suffix.lower(), "image")](Path(medium).expanduser())
    wanted = names(PACKAGE) if experts is None else [resolve(name) for name in experts]
    asked = Experts(wanted)
    shows = "video-to-text" in wanted and isinstance(medium, Image | Video)
    if not asked.about(medium.kind) and not shows:
        takes = "; ".join(f"{name}: {', '.join(module.KINDS)}" for name, module in asked.modules.items())
        raise BadData(f"none of these experts takes {medium.kind}. {takes or 'None is named'}")
    facts = _facts(medium)  # a bad file is an error before anything is loaded
    if shows:
        asked.given["caption"] = see = _eyes(model)
    told = asked(medium)
    if shows and isinstance(medium, Image) and see is not None and (said := " ".join(see(load(medium)).split())):
        told.insert(0, Told("caption", said))
    name = str(medium.source) if isinstance(medium.source, str | Path) else ""
    return Description(medium.kind, told, name, **facts)


def run(file: Path, as_json: bool, experts: Sequence[str] | None, model: str, console: Console) -> None:
    """Describe a file and print it: for people, or one JSON object."""
    found = describe(file, experts, model)
    if as_json:
        facts = {key: value for key, value in vars(found).items() if key != "told"}
        facts["told"] = [one.to_dict() for one in found.told]  # the long one last
        print(json.dumps(facts))
        return
    console.print(found.header, style="bold", markup=False, highlight=False, soft_wrap=True)
    if not found.told:
        console.print("nothing is said or written in it", style="dim")
    times = ["" if one.start is None else f"{one.start:6.1f} - {one.end:.1f} s" for one in found.told]
    wide = max(map(len, times), default=0)
    for when, one in zip(times, found.told, strict=True):
        shown = "".join(char for char in one.text if char.isprintable())  # no escape sequences
        line = Text.assemble(f"{when:<{wide}}  ", (f"{one.what:<7}", COLOURS.get(one.what, "")), f"  {shown}")
        console.print(line, soft_wrap=True)


def _eyes(model: Any) -> Caption | None:
    if model is None:
        return None
    if isinstance(model, str | Path):
        import isthmus

        model = isthmus.load_with_processor(model)
    return captions(*model)


def _facts(medium: Medium) -> dict[str, Any]:
    if isinstance(medium, Video):
        seen = look(medium)
        alone = dataclasses.replace(medium, frames=1, sampling="uniform", fps=None, sound=True)
        if seen.seconds > caps.MAX_SECONDS:  # a part tells whether there is sound; experts for text hear none of it
            alone = dataclasses.replace(alone, end=(medium.start or 0.0) + caps.MAX_SECONDS)
        sizes = {"seconds": round(seen.seconds, 3), "width": seen.width, "height": seen.height}
        return sizes | {"sound": load(alone).sound is not None}
    if isinstance(medium, Audio):
        return {"seconds": round(load(medium).seconds, 3)}
    if isinstance(medium, Image):
        picture = load(medium)
        return {"width": picture.width, "height": picture.height}
    return {}
