"""Which of COCO's objects are in a picture: from the annotations of masks and captions, or from a list of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from isthmus.errors import BadData
from isthmus.evaluate.files import by_id

IDS = ("image_id", "image", "id")
OBJECTS = ("objects", "truth", "mscoco_gt_words", "gt_objects", "labels")
KINDS = ("instances_*.json", "captions_*.json")


def objects_by_image(path: Path, wanted: Iterable[str], read: Callable[[str], list[str]]) -> dict[str, set[str]]:
    """The kinds of object in each of the wanted pictures; a picture that the file does not name is not in it.

    Args:
        path: a folder of COCO's annotations, one file of them, or objects by picture.
        wanted: the pictures' numbers; COCO's files name 123,287.
        read: the kinds that a caption mentions.

    Raises:
        BadData: for a folder without both of COCO's files, and for a file that is neither.
    """
    images = set(wanted)
    if path.suffix.lower() in (".pkl", ".pickle"):
        raise BadData(
            f"{path}: a pickle is not read, since reading one can run what is in it. Give the folder of COCO's"
            " annotations (instances_*.json, captions_*.json), or {picture: [objects]} as JSON"
        )
    if not path.is_dir():
        first = next(_items(path, "annotations.item"), None)
        return _listed(path) if first is None else _annotated([path], images, read)
    return _annotated(annotation_files(path), images, read)


def annotation_files(path: Path) -> list[Path]:
    """COCO's files of masks and captions in a folder or its `annotations`. Raises `BadData` where one is missing."""
    place = path if any(path.glob(KINDS[0])) or not (path / "annotations").is_dir() else path / "annotations"
    files = {kind: sorted(place.glob(kind)) for kind in KINDS}
    if missing := [kind for kind, some in files.items() if not some]:
        raise BadData(
            f"{place}: no file {' and no file '.join(missing)} in this folder; a picture's objects are those of its"
            " masks and those of its reference captions"
        )
    return [file for some in files.values() for file in some]


def _annotated(files: list[Path], images: set[str], read: Callable[[str], list[str]]) -> dict[str, set[str]]:
    """The objects of COCO's own files; what a file is, is told by its annotations."""
    found: dict[str, set[str]] = {}
    for file in files:
        kinds = {row["id"]: row["name"] for row in _items(file, "categories.item")}
        for number, row in enumerate(_items(file, "annotations.item"), 1):
            try:
                image = str(row["image_id"])
                if image in images:
                    told = read(row["caption"]) if "caption" in row else [kinds[row["category_id"]]]
                    found.setdefault(image, set()).update(told)
            except (KeyError, TypeError, AttributeError) as error:
                raise BadData(
                    f"{file}, annotation {number}: not one of COCO's masks (image_id, category_id) or captions"
                    f" (image_id, caption): {error}"
                ) from error
    return found


def _items(file: Path, where: str) -> Iterator[Mapping[str, Any]]:
    """The items of a list in a JSON file, one after the other: COCO's masks fill 450 MB."""
    import ijson

    try:
        with file.open("rb") as stream:
            yield from ijson.items(stream, where, use_float=True)
    except (ijson.JSONError, UnicodeDecodeError) as error:
        if not any(words in str(error) for words in ("trailing garbage", "Additional data")):  # JSON lines: see `by_id`
            raise BadData(f"{file}: not JSON: {str(error).splitlines()[0]}") from error


def _listed(path: Path) -> dict[str, set[str]]:
    """The objects of `{picture: [objects]}`, or of rows."""
    found = {}
    for name, told in by_id(path, ids=IDS, texts=OBJECTS).items():
        if not isinstance(told, list | tuple):
            raise BadData(f"{path}, {name}: the objects of a picture are a list of names, and these are {told!r}")
        found[re.sub(r"^0+(?=\d+$)", "", name)] = {str(one) for one in told}
    return found
