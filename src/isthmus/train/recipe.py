"""Recipes: YAML checked by pydantic. An unknown key is an error that names the nearest known one and the line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from isthmus.errors import BadRecipe
from isthmus.registry import miss


class Strict(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")


class Bridge(Strict):
    """How one kind of media reaches the LLM."""

    encoder: str
    connector: str
    part: str | None = None
    size: int | None = None
    tokens: int | None = None
    hidden: int | None = None


class Parts(Strict):
    """What is composed."""

    llm: str
    image: Bridge


class Lora(Strict):
    """A LoRA adapter (Hu et al., 2021, arXiv:2106.09685): its rank, its scale alpha / rank, its learning rate."""

    lora: int = Field(gt=0)
    lr: float = Field(gt=0)
    scale: float = 2.0


class Mix(Strict):
    """How much of a data set a stage takes: samples, and turns of each sample that a step shows (0: all)."""

    count: int | None = Field(default=None, gt=0)
    turns: int = Field(default=0, ge=0)
    first: bool = False
    options: dict[str, Any] = Field(default_factory=dict)


class Stage(Strict):
    """One stage: what is trained at which rate, on what, for how long.

    `train` maps a part to its learning rate, or to a LoRA adapter. `steps` decides; `minutes` is a ceiling.
    """

    name: str
    objective: str = "next-token"
    train: dict[str, float | Lora]
    data: dict[str, Mix]
    steps: int = Field(gt=0)
    minutes: float | None = Field(default=None, gt=0)
    batch: int = Field(default=4, gt=0)
    warmup: int = Field(default=20, ge=0)
    clip: float = Field(default=1.0, gt=0)


class Check(Strict):
    """One benchmark of the evaluation: a data set's split, and how many of its samples."""

    data: str
    split: str
    count: int | None = Field(default=None, gt=0)
    kinds: list[str] | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class Recipe(Strict):
    """A whole run: parts, stages, evaluation."""

    name: str
    model: Parts
    seed: int = 0
    stages: list[Stage] = Field(min_length=1)
    evaluate: dict[str, Check] = Field(default_factory=dict)


def find_recipe(name: str) -> Path:
    """The file of a recipe: a path, or the name of one that comes with Isthmus (`demo`)."""
    if (path := Path(name)).suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise BadRecipe(f"{name}: no such recipe. With Isthmus come: {', '.join(sorted(shipped()))}")
        return path
    if name not in shipped():
        raise BadRecipe(miss("recipe", name, sorted(shipped())))
    return shipped()[name]


def shipped() -> dict[str, Path]:
    """The recipes that come with Isthmus: inside the installed package, or beside `src` in a checkout."""
    here = Path(__file__).parents[1]
    folder = here / "recipes" if (here / "recipes").is_dir() else here.parents[1] / "recipes"
    return {path.stem: path for path in folder.glob("*.yaml")}


def load_recipe(name: str | os.PathLike[str], changes: list[str] | None = None) -> Recipe:
    """Read and check a recipe; `changes` are `key=value` with dotted keys (`stages.1.steps=40`).

    Raises `BadRecipe` with the file, the line and the nearest known key.
    """
    path = find_recipe(os.fspath(name))
    try:
        node = yaml.compose(text := path.read_text(encoding="utf-8"))
        data = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadRecipe(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise BadRecipe(f"{path}: a recipe is a mapping with the keys {', '.join(Recipe.model_fields)}")
    for change in changes or []:
        _change(data, change)
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise BadRecipe("\n".join(_explain(path, node, item) for item in error.errors())) from None


def _change(data: Any, change: str) -> None:
    keys, sign, value = change.partition("=")
    if not sign:
        raise BadRecipe(f"{change!r}: changes to a recipe are written key=value, such as stages.0.steps=40")
    *path, last = keys.split(".")
    for part in path:
        data = _step(data, part, change)
    if isinstance(data, list):
        data[_index(data, last, change)] = yaml.safe_load(value)
    elif isinstance(data, dict):
        data[last] = yaml.safe_load(value)
    else:
        raise BadRecipe(f"{change!r}: there is nothing below {'.'.join(path)!r} to change")


def _step(data: Any, part: str, change: str) -> Any:
    if isinstance(data, list):
        return data[_index(data, part, change)]
    if not isinstance(data, dict) or part not in data:
        raise BadRecipe(f"{change!r}: {miss('key', part, list(data) if isinstance(data, dict) else [])}")
    return data[part]


def _index(data: list[Any], part: str, change: str) -> int:
    names = [item.get("name") for item in data if isinstance(item, dict)]
    if part in names:  # stages can be called by name: stages.instruct.steps=40
        return names.index(part)
    if not part.isdigit() or int(part) >= len(data):
        raise BadRecipe(f"{change!r}: {part!r} is none of 0 to {len(data) - 1} or {', '.join(map(str, names))}")
    return int(part)


def _explain(path: Path, node: Any, item: Any) -> str:
    place = [part for part in item["loc"] if part not in ("float", "Lora")]  # pydantic names the union's branches
    where = f"{path}, line {_line(node, place)}: {'.'.join(map(str, place))}"
    if item["type"] != "extra_forbidden":
        return f"{where}: {item['msg']}"
    return f"{where}: {miss('key', str(place[-1]), _known(place[:-1]))}"


def _known(place: list[Any]) -> list[str]:
    model: Any = Recipe
    for part in place:
        if not isinstance(part, str) or not hasattr(model, "model_fields") or part not in model.model_fields:
            continue
        annotation = str(model.model_fields[part].annotation)
        model = next((m for m in (Stage, Check, Bridge, Parts) if f".{m.__name__}" in annotation), model)
    if place and place[-1] not in Recipe.model_fields and "data" in place:
        model = Mix
    if "train" in place:
        model = Lora
    return list(model.model_fields)


def _line(node: Any, place: list[Any]) -> int:
    """The line of the deepest key of `place` that the file has."""
    line = node.start_mark.line
    for part in place:
        children: Any = ()
        if isinstance(node, yaml.MappingNode):
            children = [(key.value, key, value) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            children = [(index, value, value) for index, value in enumerate(node.value)]
        for name, key, value in children:
            if name == part:
                line, node = key.start_mark.line, value
    return int(line) + 1
