"""What encoders of pictures share: the grid, how to leave out class tokens, and readers made from a part's settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import PIL.Image
from torch import Tensor
from transformers import AutoImageProcessor
from transformers.image_utils import SizeDict

from isthmus.errors import BadRecipe, PartUnavailable
from isthmus.parts.weights import SAFE, pretrained

PLACES = {"image_processor": "preprocessor_config.json", "video_processor": "video_preprocessor_config.json"}
SWITCHES = ("do_resize", "do_center_crop", "do_rescale", "do_normalize")
SETTINGS = (*SWITCHES, "size", "resample", "rescale_factor", "image_mean", "image_std")  # of a picture's preparation
LONGEST = 8  # times its short side, of a picture that is scaled before its middle is cut out


def square(config: Any, size: int) -> tuple[int, ...]:
    """How the features of a square picture of `size` pixels lie: rows, columns of patches.

    Raises `BadRecipe` for a picture smaller than a patch.
    """
    if size < config.patch_size:
        raise BadRecipe(f"size: {size} pixels are less than a patch of {config.patch_size}")
    return (size // config.patch_size,) * 2


def patches(model: Any, pixels_BCHW: Tensor, others: int = 0, **options: Any) -> Tensor:
    """The last hidden state [B, N, D] without its first `others` tokens, which stand for no place in the picture."""
    return model(pixels_BCHW.to(model.dtype), **options).last_hidden_state[:, others:]  # type: ignore[no-any-return]


def without_head(model: Any) -> Any:
    """A SigLIP without the pooling head: nothing is computed, stored or trained for it."""
    if model.use_head:
        del model.head
    model.use_head = model.config.vision_use_head = False
    return model


def one_of(classes: Mapping[str, Any], folder: Path, unused: Sequence[str] = ()) -> Any:
    """The model in `folder`, of the class that its `model_type` names in `classes`.

    Raises `PartUnavailable` as `pretrained` does, and for a model of another type.
    """
    kind = str(settings(folder, "config.json").get("model_type"))
    if kind not in classes:
        raise PartUnavailable(f"the part in {folder} is a {kind}. This encoder takes {' or '.join(classes)}")
    return pretrained(classes[kind], folder, unused=unused)


def settings(folder: Path, *names: str) -> dict[str, Any]:
    """What the first of these JSON files that is in `folder` says. Raises `PartUnavailable` if there is none."""
    for name in names:
        if (file := Path(folder) / name).is_file():
            try:
                return dict(json.loads(file.read_text(encoding="utf-8")))
            except ValueError as error:
                raise PartUnavailable(f"the part in {folder} cannot be loaded: {name}: {error}") from error
    raise PartUnavailable(f"the part in {folder} cannot be loaded: it has no {' or '.join(names)}")


def reader(kind: Any, folder: Path, size: int, of: tuple[str, ...] = ("image_processor",), **own: Any) -> Any:
    """An image processor of the class `kind` with the part's settings, for squares of `size` pixels.

    For parts whose own processor needs torchvision, or does not make squares. The settings are those of the first of
    the processors `of` that the part has, in a file of its own or in the one for all its processors; `own` stands where
    they say nothing. Raises `PartUnavailable` if there are none.
    """
    said = _said(folder, of)
    made = kind(**own | {key: said[key] for key in SETTINGS if said.get(key) is not None})
    resize(made, size)
    return made


def _said(folder: Path, of: tuple[str, ...]) -> dict[str, Any]:
    for one in of:
        if (Path(folder) / PLACES[one]).is_file():
            return settings(folder, PLACES[one])
    whole = settings(folder, "processor_config.json", *(PLACES[one] for one in of))
    for one in of:
        if isinstance(whole.get(one), dict):
            return dict(whole[one])
    raise PartUnavailable(f"the part in {folder} cannot be loaded: its processor_config.json has no {' or '.join(of)}")


def usual(folder: Path, size: int) -> Any:
    """The image processor in `folder`, for squares of `size` pixels. Raises OSError or ValueError if there is none."""
    images = AutoImageProcessor.from_pretrained(folder, **SAFE, backend="pil")
    resize(images, size)
    return images


def own_reader(kind: Any, folder: Path) -> Any:
    """The processor or feature extractor of the class `kind` in `folder`. Raises `PartUnavailable` if there is none."""
    try:
        return kind.from_pretrained(folder, **SAFE)
    except (OSError, ValueError) as error:
        raise PartUnavailable(f"the part in {folder} cannot be loaded: {error}") from error


def resize(images: Any, size: int) -> None:
    """Set the side of the square that an image processor makes, in the way it makes squares."""
    edges = SizeDict(height=size, width=size)  # what every backend's processor reads, also as a dictionary
    if getattr(images, "do_center_crop", False):
        images.crop_size = edges
        images.size = SizeDict(shortest_edge=size) if "shortest_edge" in images.size else edges
    else:
        images.size = edges


def prepared(images: Any, pictures: Sequence[PIL.Image.Image], **options: Any) -> Any:
    """What an image processor makes of pictures, as tensors."""
    boxes = [middle(images, *picture.size) for picture in pictures]
    pairs = zip(pictures, boxes, strict=True)
    return images([p if box is None else p.crop(box) for p, box in pairs], return_tensors="pt", **options)


def middle(images: Any, width: int, height: int) -> tuple[int, int, int, int] | None:
    """The box (left, upper, right, lower) of a very long picture that an image processor is to be given; else None.

    A processor that scales the short side to its size, and only then cuts out the middle, would blow a line of a
    thousand pixels up to fifty million. What it cuts out lies well within this box, and stays what it was up to a
    small part of a pixel.
    """
    short, long = sorted((width, height))
    if long <= LONGEST * short or "shortest_edge" not in images.size or not getattr(images, "do_center_crop", False):
        return None
    edge, rest = images.size["shortest_edge"], (long - LONGEST * short) // 2
    while (edge * (long - 2 * rest) // short - edge * long // short) % 2:  # or the middle would move by half a pixel
        rest -= 1
    return (rest, 0, width - rest, height) if width > height else (0, rest, width, height - rest)


def side(images: Any) -> int:
    """The side of the square that an image processor makes."""
    return int((images.crop_size if getattr(images, "do_center_crop", False) else images.size)["height"])


def exactly(what: str, size: int, only: int) -> None:
    """Raises `BadRecipe` unless `size` is the `only` one that the model has positions for."""
    if size != only:
        raise BadRecipe(f"size: {size}: this part takes {only} {what}, and no other number")
