"""A user's own folder of captioned images.

Captions come from `metadata.jsonl` or `metadata.csv` (columns `file_name` and `text`, as in Hugging Face's imagefolder),
or from a text file beside each image (`cat.png`, `cat.txt`). Every tenth image, by a hash of its name, is held out.
"""

from __future__ import annotations

import csv
import hashlib
import json
import random
from pathlib import Path

from isthmus.errors import BadData, BadMedia
from isthmus.media import load_image
from isthmus.types import Image, Sample, Turn

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")
QUESTION = "What is this?"


def load(folder: Path, split: str, count: int | None = None, seed: int = 0) -> list[Sample]:
    """The folder's `train` images, or the held-out ones for any other split; `count` takes a seeded sample.

    Every image is decoded once here, so that a damaged one is an error before hours of training, not in them.

    Raises:
        BadData: no captions, a caption without its image, a path that leaves the folder, fewer than 10 images.
        BadMedia: an image that cannot be decoded.
    """
    captions = read_captions(folder)
    if len(captions) < 10:
        raise BadData(f"{folder}: {len(captions)} captioned images; at least 10 are needed to train and hold some out")
    ranked = sorted(captions, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    held = set(ranked[::10])
    chosen = [name for name in sorted(captions) if (name in held) == (split != "train")]
    if count is not None and count < len(chosen):
        chosen = sorted(random.Random(f"{seed}/{split}").sample(chosen, count))
    return [
        Sample(f"{folder.name}/{name}", (Image(inside(folder, name)),), (Turn(QUESTION, captions[name], "name"),))
        for name in chosen
    ]


def read_captions(folder: Path) -> dict[str, str]:
    """File name -> caption."""
    if (path := folder / "metadata.jsonl").is_file():
        rows = [_json(path, number, line) for number, line in enumerate(path.read_text("utf-8").splitlines(), 1) if line]
    elif (path := folder / "metadata.csv").is_file():
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    else:
        beside = [image for image in sorted(folder.rglob("*")) if image.suffix.lower() in ENDINGS]
        rows = [
            {"file_name": str(image.relative_to(folder)), "text": image.with_suffix(".txt").read_text("utf-8")}
            for image in beside
            if image.with_suffix(".txt").is_file()
        ]
        path = folder
    if not rows:
        raise BadData(f"{folder}: no captions. Write metadata.jsonl or metadata.csv with file_name and text, or NAME.txt")
    captions = {}
    for number, row in enumerate(rows, 1):
        if not isinstance(row.get("file_name"), str) or not str(row.get("text") or "").strip():
            raise BadData(f"{path}, entry {number}: needs file_name and a text that is not empty, has {row}")
        captions[str(row["file_name"])] = " ".join(str(row["text"]).split())
    for name in captions:
        load_image(inside(folder, name))
    return captions


def inside(folder: Path, name: str) -> Path:
    """The path of `name`, which must lie in the folder after every link is followed."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise BadData(f"{folder}: {name!r} points outside the folder; only files inside it are read")
    if not path.is_file():
        raise BadMedia(f"{path}: no such file, though {folder} has a caption for it")
    return path


def _json(path: Path, number: int, line: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadData(f"{path}, line {number}: not JSON ({error})") from error
    if not isinstance(row, dict):
        raise BadData(f"{path}, line {number}: needs an object with file_name and text")
    return row
