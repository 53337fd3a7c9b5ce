"""A user's own folder of captioned media: images, sounds, videos, points, series, together or apart.

Captions come from `metadata.jsonl` or `metadata.csv` (columns `file_name` and `text`, as Hugging Face's imagefolder),
or from a text file beside each medium (`cat.png`, `cat.txt`). A medium may have several captions. Every tenth one, in
the order of a hash of its name, is held out. What kind of medium a file is, its ending says.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path

from isthmus import media
from isthmus.errors import BadData, BadMedia
from isthmus.types import KINDS, Medium, Sample, Turn

ENDINGS: dict[str, tuple[str, ...]] = {
    "image": (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".pdf"),
    "audio": (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a"),
    "video": (".mp4", ".mov", ".mkv", ".webm", ".avi"),
    "points": (".ply", ".obj", ".las", ".laz"),
    "series": (".csv", ".parquet"),
}
KIND_OF = {ending: kind for kind, endings in ENDINGS.items() for ending in endings}
METADATA = ("metadata.jsonl", "metadata.csv")
QUESTION = "What is this?"
FEWEST = 10  # media
HOLD_OUT_EVERY = 10


def load(folder: Path, split: str, count: int | None = None, seed: int = 0) -> list[Sample]:
    """The folder's `train` media, or the held-out ones for any other split; `count` takes a seeded sample.

    Of a held-out medium only the first caption is asked for: one answer can equal but one of several.
    Every medium is decoded once here, so that a damaged one is an error before hours of training, not in them.

    Raises:
        BadData: no captions, a caption without its file, a path that leaves the folder, fewer than 10 media.
        BadMedia: a medium that cannot be decoded.
    """
    captions = read_captions(folder)
    if len(captions) < FEWEST:
        raise BadData(f"{folder}: {len(captions)} captioned media; {FEWEST} at least, to train and to hold some out")
    ranked = sorted(captions, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    held = set(ranked[::HOLD_OUT_EVERY])
    chosen = [name for name in sorted(captions) if (name in held) == (split != "train")]
    if count is not None and count < len(chosen):
        chosen = sorted(random.Random(f"{seed}/{split}").sample(chosen, count))
    return [
        Sample(
            f"{folder.name}/{name}",
            (_medium(inside(folder, name)),),
            tuple(Turn(QUESTION, caption, "name") for caption in captions[name][: None if split == "train" else 1]),
        )
        for name in chosen
    ]


def read_captions(folder: Path) -> dict[str, list[str]]:
    """Path of each medium below the folder -> its captions; raises what `load` does."""
    metadata = next((name for name in METADATA if (folder / name).is_file()), None)
    rows = _beside(folder) if metadata is None else _listed(folder, metadata)
    captions: dict[str, list[str]] = {}
    for where, row in rows:
        name, text = row.get("file_name"), " ".join(str(row.get("text") or "").split())
        if not isinstance(name, str) or not text:
            raise BadData(f"{where}: needs file_name and a text that is not empty, has {str(row)[:200]}")
        path = inside(folder, name)
        key = path.relative_to(folder.resolve()).as_posix()  # one medium, however its name is written
        if text not in captions.setdefault(key, []):
            captions[key].append(text)
        facts = path.stat()
        _decodes(path, facts.st_mtime_ns, facts.st_size)
    if not captions:
        raise BadData(f"{folder}: no captions. Write {' or '.join(METADATA)} with file_name and text, or NAME.txt")
    return captions


def inside(folder: Path, name: str) -> Path:
    """The path of `name`, which must lie in the folder after every link is followed."""
    try:
        path = (folder / name).resolve()
        there = path.is_file()
    except (OSError, ValueError) as error:  # a name that no file can have
        raise BadData(f"{folder}: {name[:200]!r} is not the name of a file") from error
    if not path.is_relative_to(folder.resolve()):
        raise BadData(f"{folder}: {name!r} points outside the folder; only files inside it are read")
    if not there:
        raise BadMedia(f"{path}: no such file, though {folder} has a caption for it")
    return path


def _listed(folder: Path, metadata: str) -> Iterator[tuple[str, dict[str, object]]]:
    """The rows of a metadata file, each with where it stands."""
    path = folder / metadata
    text = _text(folder, metadata)
    if path.suffix == ".csv":
        try:  # a quoted caption may have several lines
            for number, row in enumerate(csv.DictReader(io.StringIO(text, newline=""), strict=True), 1):
                yield f"{path}, entry {number}", {str(key): value for key, value in row.items()}
        except csv.Error as error:
            raise BadData(f"{path}: not CSV ({error})") from error
        return
    for number, line in enumerate(text.split("\n"), 1):  # JSON may hold U+2028, at which splitlines would cut it
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadData(f"{path}, line {number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise BadData(f"{path}, line {number}: needs an object with file_name and text")
        yield f"{path}, line {number}", row


def _beside(folder: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """Media with a text file beside them."""
    for file in sorted(folder.rglob("*")):
        caption = file.with_suffix(".txt")
        if file.suffix.lower() in KIND_OF and caption.is_file():
            text = _text(folder, str(caption.relative_to(folder)))
            yield str(caption), {"file_name": str(file.relative_to(folder)), "text": text}


def _text(folder: Path, name: str) -> str:
    try:
        return inside(folder, name).read_bytes().decode("utf-8-sig")  # line ends as they are
    except UnicodeDecodeError as error:
        raise BadData(f"{folder / name}: not UTF-8 (byte {error.start}). Save it as UTF-8") from error


def _medium(path: Path) -> Medium:
    """The medium in a file: of the kind that its ending says, otherwise an image."""
    return KINDS[KIND_OF.get(path.suffix.lower(), "image")](path)


@functools.lru_cache(maxsize=100_000)
def _decodes(path: Path, changed: int, size: int) -> None:
    """Raises `BadMedia` unless the medium decodes; asked once for each state of the file."""
    media.load(_medium(path))
