"""Models of furniture as points, with their names and categories (`sweethome3d-furniture`)."""

from __future__ import annotations

import functools
import math
import random
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from isthmus import media, parts
from isthmus.data.choosing import Number, held_out, ranked, some, yes_no
from isthmus.data.scenes import article
from isthmus.media.forms import Cloud, Floats
from isthmus.types import Points, Sample, Turn

ABOUT = "one model of a thing in or around a house: what is it, is it a ..., what category it is of"
SPLITS = ("train", "concepts", "models")
PARTS = ("sweethome3d-furniture",)
HOLD_OUT_EVERY = 8  # of the names
MODEL_EVERY = 3  # of the models that share a name: from the third on, which leaves two to learn from
CATALOGUE = "PluginFurnitureCatalog.properties"
ENTRY = re.compile(r"^(name|category|tags|model)#(\d+)=(.*)$", re.MULTILINE)
Amount = Annotated[int, Field(ge=0)]
OTHER = "miscellaneous"  # the category that says nothing
STRETCH = 0.15  # of a view, along each axis: from 0.86 to 1.16 times as long


@dataclass(frozen=True)
class Model:
    """An OBJ in an archive of models, with its name, category and tags, all in lower case; call it for its points."""

    archive: str
    member: str
    name: str
    category: str
    tags: str
    folder: Path = field(repr=False, compare=False)

    def __call__(self) -> Cloud:
        """Points on its surface. Raises `BadMedia` where it cannot be decoded."""
        return _cloud(self.folder / self.archive, self.member)

    @functools.cached_property
    def words(self) -> set[str]:
        """The words of its name and tags, but for a maker's name among them."""
        return set(re.findall(r"\w+", f"{self.name} {self.tags.replace('blend swap', '')}"))


@dataclass(frozen=True)
class View:
    """A model turned about the vertical axis by up to `turn` degrees, in half of the views mirrored, and a little
    longer or shorter along each axis, which leaves its name and category as they are; call it for its points."""

    model: Model
    seed: int
    turn: int = 180

    def __call__(self) -> Cloud:
        """Points on its surface, in centimetres, y upwards. Raises `BadMedia` where it cannot be decoded."""
        rng, whole = random.Random(self.seed), self.model()
        turn, side = math.radians(rng.uniform(-self.turn, self.turn)), rng.choice((-1, 1))
        cos, sin = math.cos(turn), math.sin(turn)
        about = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
        lengths = np.exp([rng.uniform(-STRETCH, STRETCH) for _ in range(3)]) * (side, 1, 1)

        def seen(vectors: Floats) -> Floats:
            turned: Floats = (vectors * lengths @ about).astype(np.float32)
            return turned

        if whole.normals is None:
            return Cloud(seen(whole.xyz), whole.colours)
        normals = whole.normals / lengths**2  # normals go with the inverse of what places go with
        length = np.linalg.norm(normals * lengths, axis=1, keepdims=True).clip(1e-9)
        return Cloud(seen(whole.xyz), whole.colours, seen(normals / length))


@functools.lru_cache(maxsize=1024)  # 0.2 MB each: a stage that trains the encoder asks for them in every step
def _cloud(path: Path, member: str) -> Cloud:
    with zipfile.ZipFile(path) as archive:
        return media.load(Points(archive.read(member)))


def load(
    split: str,
    count: int | None = None,
    seed: int = 0,
    points: Number = 1024,
    views: Amount = 0,
    turn: Annotated[int, Field(ge=0, le=180)] = 180,
) -> list[Sample]:
    """The models of a split, `points` points each; `count` takes a seeded sample of them.

    With `views`, each model of `train` is there as it is and in so many `View`s, of other points each, turned by up to
    `turn` degrees: all models face the same way, so what is asked about others like these is easier with few.

    `concepts` has the names that training does not have; `models` other models of names that it has.
    """
    pool = halves()[split]
    samples = []
    for model in some(pool, count, f"{seed}/furniture/{split}"):
        name = f"furniture/{split}/{seed}/{model.archive.partition('.')[0]}/{Path(model.member).stem}"
        rng = random.Random(name)
        turns = [Turn("What is this?", model.name, "name")]
        if model.category != OTHER:
            turns.append(Turn("What category of furniture is this?", model.category, "category"))
        turns += yes_no("Is this {}?", article(model.name), article(unlike(model, pool, rng).name))
        samples.append(Sample(name, (Points(model, points, rng.randrange(2**31)),), tuple(turns)))
        for number in range(1, views + 1 if split == "train" else 1):
            view = View(model, rng.randrange(2**31), turn)
            medium = Points(view, points, rng.randrange(2**31))
            samples.append(Sample(f"{name}/{number}", (medium,), tuple(turns)))
    return samples


def unlike(model: Model, pool: Sequence[Model], rng: random.Random) -> Model:
    """A model of the pool that is certainly something else: of another category, and no word of its name is shared."""
    far = [other for other in pool if other.category not in (model.category, OTHER) and not other.words & model.words]
    return rng.choice(far)


def halves() -> dict[str, list[Model]]:
    """Every split's models."""
    every = models()
    held = held_out((model.name for model in every), HOLD_OUT_EVERY)
    again: set[str] = set()
    for name in {model.name for model in every} - held:
        again |= set(ranked(f"{one.archive}/{one.member}" for one in every if one.name == name)[2::MODEL_EVERY])
    split = {model: "models" if f"{model.archive}/{model.member}" in again else "train" for model in every}
    split |= {model: "concepts" for model in every if model.name in held}
    return {name: [model for model in every if split[model] == name] for name in SPLITS}


def models() -> list[Model]:
    """Every model that has a name without a comma or a number, in the order of archives and catalogues."""
    found = []
    for path in sorted(parts.get("sweethome3d-furniture").glob("**/*.sh3f")):
        with zipfile.ZipFile(path) as archive:
            listed = archive.read(CATALOGUE).decode("latin-1")  # as Java reads properties
        entries: dict[str, dict[str, str]] = {}
        for key, number, value in ENTRY.findall(listed):
            entries.setdefault(number, {})[key] = value.strip()
        for entry in entries.values():
            name, category, tags = (entry[key].lower() for key in ("name", "category", "tags"))
            if not re.search(r"[,\d\\]", name):
                found.append(Model(path.name, entry["model"].lstrip("/"), name, category, tags, path.parent))
    return found
