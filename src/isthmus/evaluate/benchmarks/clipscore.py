"""CLIPScore of captions: how well each fits its picture, and with references how well it fits these too."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from isthmus.errors import BadData
from isthmus.evaluate.benchmarks.coco_captions import INSIDE_TRUE, captions, of_pictures
from isthmus.evaluate.scored import Scored, mean
from isthmus.media import load
from isthmus.types import Image

ABOUT = "captions without references: how well does each fit its picture? By a CLIP in a folder (--part)"
SOURCE = "Hessel et al., 2021, arXiv:2104.08718; github.com/jmhessel/clipscore (its figures are of ViT-B/32)"
PREDICTIONS = {
    "captions by picture, or rows, as of coco-captions": '{"dog.jpg": "a dog runs"}',
    "with people's captions inside, for RefCLIPScore": (
        '{"image_id": 404464, "caption": "a dog runs", "references": ["a dog running"]}'
    ),
}
REFERENCES = {"the folder of pictures, called by the ids or by COCO's names": "COCO_val2014_000000404464.jpg"}
PART = "a CLIP of transformers"
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")


def score(predictions: Path, references: Path | None, mode: str, part: str | None = None) -> Scored:
    """clipscore, and where rows hold references ref_clipscore, as means; both modes are the same.

    Raises `PartUnavailable` for a folder without a CLIP.
    """
    from isthmus.evaluate.metrics.clip_score import Embedder, clip_score, ref_clip_score

    assert references is not None
    if not references.is_dir():
        raise BadData(f"{references}: the folder of the pictures is needed")
    found = Scored()
    said, files = captions(predictions), _files(references)
    found.unscored |= {name: "the caption is no text" for name, text in said.items() if text is None}
    found.unscored |= {name: "no picture of this name" for name in said if _file(name, files) is None}
    names = [name for name in said if name not in found.unscored]
    if not names:
        raise BadData(f"{references}: no picture in it is called as one of {predictions}, such as {next(iter(said))}")
    clip = Embedder(str(part))
    texts = clip.captions([str(said[name]) for name in names])
    images = clip.images([load(Image(files[str(_file(name, files))])) for name in names])
    fits = clip_score(texts, images)
    found.marks = {name: float(min(fit / 2.5, 1.0)) for name, fit in zip(names, fits, strict=True)}
    found.add({"clipscore": mean(fits.tolist())})
    try:
        truths = of_pictures(predictions, INSIDE_TRUE)
    except BadData:  # rows hold captions alone
        truths = {}
    if all(truths.get(name) for name in names):
        told = [clip.captions(truths[name]) for name in names]
        found.add({"ref_clipscore": mean(np.asarray(ref_clip_score(texts, images, told)).tolist())})
    found.notes.append(f"by {part}; captions follow the words 'A photo depicts'")
    return found


def _files(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by their names, by these without ending, and by the number at the end of these."""
    found: dict[str, Path] = {}
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS):
        number = re.search(r"(\d+)$", path.stem)
        for name in (path.name, path.stem, *([str(int(number[1]))] if number else [])):
            found.setdefault(name, path)
    return found


def _file(name: str, files: dict[str, Path]) -> str | None:
    return next((own for own in (name, Path(name).name, Path(name).stem) if own in files), None)
