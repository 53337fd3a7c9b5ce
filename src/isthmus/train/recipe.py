"""Recipes: YAML checked by pydantic. An unknown key is an error that names the nearest known one and the line."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, SerializeAsAny, Tag, ValidationError, WrapValidator
from pydantic import create_model as model_of

from isthmus.connectors._options import options as connector_options
from isthmus.data import frames, sources
from isthmus.encoders._several import Join
from isthmus.errors import BadRecipe
from isthmus.model.choice import BadChoice, choose
from isthmus.options import problems
from isthmus.registry import find, miss, names
from isthmus.types import KINDS

Name = Annotated[str, Field(pattern=r"^\w[\w .-]*$")]  # it becomes a folder's name
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Place = tuple[str | int, ...]  # the keys that lead to a value
CONNECTORS, ENCODERS = "isthmus.connectors", "isthmus.encoders"
Size = Annotated[int, Field(gt=0)]
ONE_OR_EACH = Discriminator(lambda value: "each" if isinstance(value, list) else "one")
Encoders = Annotated[Annotated[str, Tag("one")] | Annotated[list[str], Field(min_length=2), Tag("each")], ONE_OR_EACH]
Weights = Annotated[Annotated[str, Tag("one")] | Annotated[list[str | None], Tag("each")], ONE_OR_EACH]
Sizes = Annotated[Annotated[Size, Tag("one")] | Annotated[list[Size], Tag("each")], ONE_OR_EACH]
BRANCHES, BRANCHING = ("one", "each"), ("encoder", "part", "size")  # pydantic puts the first below the second
OBJECTIVE = ("self", "model", "processor", "samples", "some")  # what every objective takes; the rest are options


class Strict(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")


class Bridge(Strict):
    """How one kind of media reaches the LLM; the connector's own options (`tokens`, ...) stand beside these keys.

    `frames` are those of a clip that an encoder of pictures sees, `tiles` those of a large picture, `channels` those of
    an encoder that begins with nothing (`part: new`) and `new` its sizes, `rate` the steps a second to which every
    series is brought. Several encoders of pictures are a list, `part` and `size` too, and `join` says how.
    """

    encoder: Encoders
    connector: str
    part: Weights | None = None
    size: Sizes | None = None
    frames: Size | None = None
    tiles: Annotated[int, Field(ge=2)] | None = None
    join: Join | None = None
    channels: Size | None = None
    new: dict[str, Any] | None = None
    rate: Positive | None = None

    @property
    def asked(self) -> dict[str, Any]:
        """What is asked of `compose` for this kind."""
        return self.model_dump(exclude_none=True)

    @property
    def encoders(self) -> list[str]:
        """The names of the encoder, or of each of several."""
        return [self.encoder] if isinstance(self.encoder, str) else self.encoder

    @property
    def parts(self) -> list[str | None]:
        """Where their weights come from, given or by default; None where neither says it."""
        given = self.part if isinstance(self.part, list) else [self.part] * len(self.encoders)
        return [own or find(ENCODERS, name).PART for own, name in zip(given, self.encoders, strict=False)]


@functools.cache
def bridge(connector: str) -> type[Bridge]:
    """`Bridge` with the options of a connector, by the types and bounds that its signature declares.

    For a connector that does not exist, every connector's options pass, so that its name is the one mistake named.
    """
    known = names(CONNECTORS)
    if connector in known:
        return model_of("Bridge", __base__=Bridge, **connector_options(connector))  # type: ignore[call-overload,no-any-return]
    passing = {option: (Any, None) for name in known for option in connector_options(name)}
    return model_of("Bridge", __base__=Bridge, **passing)  # type: ignore[call-overload,no-any-return]


def _with_options(value: Any, otherwise: Any) -> Bridge:
    return bridge(str(value.get("connector"))).model_validate(value) if isinstance(value, dict) else otherwise(value)


Sense = Annotated[SerializeAsAny[Bridge], WrapValidator(_with_options)]


class Parts(Strict):
    """What is composed: an LLM, and how each kind of media that it takes reaches it.

    `frame` is how the LLM is spoken to, where neither its tokenizer nor the catalogue says it. `quantize` holds
    its weights in 4 bits (QLoRA: `model.quantize`), in every stage and for the checkpoint.
    """

    llm: str
    frame: str | None = None
    image: Sense | None = None
    audio: Sense | None = None
    video: Sense | None = None
    points: Sense | None = None
    series: Sense | None = None
    quantize: Literal["nf4"] | None = None

    @property
    def senses(self) -> dict[str, Bridge]:
        """Kind of media -> its encoder and connector, for those that the model takes."""
        return {kind: own for kind in KINDS if (own := getattr(self, kind)) is not None}

    @property
    def trainable(self) -> list[str]:
        """What a stage can train."""
        return ["llm", *(f"{kind}.{part}" for kind in self.senses for part in ("connector", "encoder"))]


class Lora(Strict):
    """A LoRA adapter (Hu et al., 2021, arXiv:2106.09685): its rank, its scale alpha / rank, its learning rate.

    With `kinds`, the LLM's works from the first medium of these kinds on, beside any other, which is not trained: what
    the model says of other media and of text alone stays bit for bit what it was (`model.beside`).
    """

    lora: int = Field(gt=0)
    lr: Positive
    scale: Positive = 2.0
    kinds: list[str] | None = Field(default=None, min_length=1)


How = Annotated[
    Annotated[Positive, Tag("rate")] | Annotated[Lora, Tag("adapter")],
    Discriminator(lambda value: "adapter" if isinstance(value, dict | Lora) else "rate"),
]


class Mix(Strict):
    """How much of a data set a stage takes: samples, and turns of each sample that a step shows (0: all).

    `weight` is its share of what the steps show beside the other sets' weights; without any, every sample of every set
    comes once an epoch.
    """

    count: int | None = Field(default=None, gt=0)
    weight: Positive | None = None
    turns: int = Field(default=0, ge=0)
    first: bool = False
    options: dict[str, Any] = Field(default_factory=dict)


class Held(Strict):
    """What a stage is checked on while it trains: every so many steps, the objective's loss on held-out samples.

    The weights that did best are kept beside the last ones; `keep` says which of the two the stage hands on.
    """

    every: int = Field(gt=0)
    data: str
    split: str
    count: int = Field(default=64, gt=0)
    options: dict[str, Any] = Field(default_factory=dict)
    keep: Literal["last", "best"] = "last"


class Stage(Strict):
    """One stage: what is trained at which rate, on what, for how long.

    `train` maps a part to its learning rate, or to a LoRA adapter. `options` are the objective's own. `steps` decides;
    `minutes` is a ceiling. With a `temperature` T, a data set of n samples has the weight n^(1/T): 1 is by size, and
    the higher it is, the more alike are the shares. A step sums the gradients of `accumulate` batches. A batch whose
    loss is `spike` standard deviations above the mean of the last fifty steps is skipped. `activation_checkpointing`,
    `compile` and `liger` say how the model is run, and not what it computes (`train.execution`).
    """

    name: Name
    objective: str = "next-token"
    options: dict[str, Any] = Field(default_factory=dict)
    train: dict[str, How] = Field(min_length=1)
    data: dict[str, Mix] = Field(min_length=1)
    steps: int = Field(gt=0)
    minutes: Positive | None = None
    batch: int = Field(default=4, gt=0)
    temperature: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    accumulate: int = Field(default=1, gt=0)
    warmup: int = Field(default=20, ge=0)
    clip: Positive = 1.0
    spike: Positive = 12.0
    check: Held | None = None
    activation_checkpointing: bool = False
    compile: bool = False
    liger: bool = False


class Check(Strict):
    """One benchmark of the evaluation: a data set's split, and how many of its samples.

    `swapped` samples (all, if not given) are asked a second time with the media of another one.
    """

    data: str
    split: str
    count: int | None = Field(default=None, gt=0)
    kinds: list[str] | None = None
    swapped: int | None = Field(default=None, ge=2)
    options: dict[str, Any] = Field(default_factory=dict)


class Recipe(Strict):
    """A whole run: parts, stages, evaluation, and what each step is logged to beside the run's own log.jsonl.

    `start` is a model (a run's, or `default`) of the same parts: the stages go on with what its connectors and adapters
    learned, and may bring it kinds of media that it did not take.
    """

    name: Name
    model: Parts
    start: str | None = None
    seed: int = 0
    stages: list[Stage] = Field(min_length=1)
    evaluate: dict[str, Check] = Field(default_factory=dict)
    log: list[str] = Field(default_factory=list)

    @property
    def encoders_trained(self) -> set[str]:
        """The kinds of media whose encoder some stage trains."""
        return {kind for kind in KINDS for stage in self.stages if f"{kind}.encoder" in stage.train}


def find_recipe(name: str) -> Path:
    """The file of a recipe: a path, or the name of one that comes with Isthmus (`demo`)."""
    if (path := Path(name)).is_file():
        return path
    if name in shipped():
        return shipped()[name]
    looks_like_path = path.suffix in (".yaml", ".yml") or len(path.parts) > 1
    if looks_like_path and path.stem in shipped():
        raise BadRecipe(f"{name}: no such file. Did you mean {path.stem!r}, the recipe that comes with Isthmus?")
    what = f"{name}: no such file, and with Isthmus comes " if looks_like_path else ""
    raise BadRecipe(what + miss("recipe", path.stem if looks_like_path else name, sorted(shipped())))


def shipped() -> dict[str, Path]:
    """The recipes that come with Isthmus: inside the installed package, or beside `src` in a checkout."""
    here = Path(__file__).parents[1]
    folder = here / "recipes" if (here / "recipes").is_dir() else here.parents[1] / "recipes"
    return {path.stem: path for path in folder.glob("*.yaml")}


def load_recipe(name: str | os.PathLike[str], changes: Sequence[str] | None = None) -> Recipe:
    """Read and check a recipe; `changes` are `key=value` with dotted keys (`stages.1.steps=40`).

    Raises `BadRecipe` with the file, the line and the nearest known key.
    """
    path = find_recipe(os.fspath(name))
    try:
        text = path.read_text(encoding="utf-8")
        node, data = yaml.compose(text), yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise BadRecipe(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise BadRecipe(f"{path}: a recipe is a mapping with the keys {', '.join(Recipe.model_fields)}")
    _refuse_doubled(path, node)
    changed = {_change(data, change): change for change in changes or []}

    def where(place: Place) -> str:
        made = next((changed[place[:n]] for n in range(len(place), 0, -1) if place[:n] in changed), None)
        return f"{made!r}" if made else f"{path}, line {_line(node, place)}"

    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        found = [_explain(item, data) for item in error.errors()]
    else:
        found = list(_problems(recipe))
    if found:
        raise BadRecipe("\n".join(f"{where(place)}: {'.'.join(map(str, place))}: {what}" for place, what in found))
    return recipe


def _problems(recipe: Recipe) -> Iterator[tuple[Place, str]]:
    """What the types cannot say: names that do not exist, and options that a data set does not have."""
    if (frame := recipe.model.frame) is not None and frame not in frames.NAMED:
        yield ("model", "frame"), miss("frame", frame, frames.NAMED)
    for kind, own in recipe.model.senses.items():
        if misfits := list(_misfits(kind, own)):
            yield from misfits
        elif own.part == "new" and recipe.start is None and kind not in recipe.encoders_trained:
            what = f"a new encoder has learned nothing, and no stage trains it. Add {kind}.encoder to a stage's train"
            yield ("model", kind, "part"), what
    for number, name in enumerate(recipe.log):
        if name not in (known := names("isthmus.train.logs")):
            yield ("log", number), miss("log", name, known)
    stages = [stage.name for stage in recipe.stages]
    for number, stage in enumerate(recipe.stages):
        here: Place = ("stages", number)
        if stage.name in stages[:number]:
            yield (*here, "name"), f"another stage is called {stage.name!r}; each keeps its state under its name"
        if stage.objective not in (known := names("isthmus.train.objectives")):
            yield (*here, "objective"), miss("objective", stage.objective, known)
        else:
            module = find("isthmus.train.objectives", stage.objective)
            for key, what in problems(stage.objective, module.Objective.__init__, OBJECTIVE, stage.options):
                yield (*here, "options", key), what
            if hasattr(module, "problems"):
                for where, what in module.problems(stage, recipe.model.senses):
                    yield (*here, "train", where), what
        for where, how in stage.train.items():
            if where not in recipe.model.trainable:
                yield (*here, "train", where), miss("part that can be trained", where, recipe.model.trainable)
            elif where == "llm" and recipe.model.quantize and not isinstance(how, Lora):
                yield (*here, "train", where), "a quantised LLM learns by an adapter: {lora: 16, lr: 1e-4}"
            elif where.endswith("connector") and isinstance(how, Lora):
                yield (*here, "train", where), "a connector is trained whole: give its learning rate"
            elif isinstance(how, Lora) and how.kinds is not None:
                for kind in how.kinds:
                    if kind not in recipe.model.senses:
                        known = list(recipe.model.senses)
                        yield (*here, "train", where, "kinds"), miss("kind of media in this model", kind, known)
                if where != "llm":
                    what = "an encoder sees one kind of media: leave `kinds` out, or give the LLM the adapter"
                    yield (*here, "train", where, "kinds"), what
        given = [name for name, mix in stage.data.items() if mix.weight is not None]
        if given and stage.temperature is not None:
            yield (*here, "temperature"), "data sets have a weight or the stage a temperature, not both"
        elif 0 < len(given) < len(stage.data):
            without = next(name for name in stage.data if name not in given)
            yield (*here, "data", without), f"has no weight, and {given[0]} has one. Give every data set one, or none"
        if (held := stage.check) is not None:
            for place, what in sources.problems(held.data, held.split, held.count, held.options):
                yield (*here, "check", *(place or ("data",))), what
        for name, mix in stage.data.items():
            for place, what in sources.problems(name, "train", mix.count, mix.options):
                yield (*here, "data", name, *place), what
    wrong = False
    for title, check in recipe.evaluate.items():
        for place, what in sources.problems(check.data, check.split, check.count, check.options):
            wrong = True
            yield ("evaluate", title, *(place or ("data",))), what
    if not wrong:
        yield from leaks(all_stages(recipe), recipe.evaluate)


def _misfits(kind: str, own: Bridge) -> Iterator[tuple[Place, str]]:
    """What is wrong with a kind's encoder and connector, as far as it is known without their weights."""
    unknown = False
    for key, name in (*(("encoder", name) for name in own.encoders), ("connector", own.connector)):
        if name not in (known := names(f"isthmus.{key}s")):
            unknown = True
            yield ("model", kind, key), miss(key, name, known)
    if not unknown:
        try:
            choose(kind, own.asked)
        except BadChoice as error:
            yield ("model", kind, error.key), error.what


def all_stages(recipe: Recipe, known: frozenset[Path] = frozenset()) -> list[Stage]:
    """The stages of a recipe after those of the model that it starts from, as far as the recipe beside that tells.

    Raises `BadRecipe` for a recipe there that cannot be read.
    """
    if recipe.start is None:
        return recipe.stages
    if recipe.start == "default":
        return [*of_default().stages, *recipe.stages]
    path = (Path(recipe.start).expanduser().parent / "recipe.json").resolve()
    if path in known or not path.is_file():
        return recipe.stages
    try:
        before = _read(path)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadRecipe(f"start: {path}, by which {recipe.start} was trained, cannot be read as a recipe") from error
    return [*all_stages(before, known | {path}), *recipe.stages]


def of_default() -> Recipe:
    """The recipe of the model that comes with Isthmus, with the stages of the one that it goes on from as its own."""
    first, then = _read(shipped()["default-pictures"]), _read(shipped()["default"])
    return then.model_copy(update={"start": None, "stages": [*first.stages, *then.stages]})


def _read(path: Path) -> Recipe:
    return Recipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def leaks(stages: Sequence[Stage], checks: Mapping[str, Check]) -> Iterator[tuple[Place, str]]:
    """Benchmarks that would ask about what a stage is trained on, as (place, what).

    A data set's `HELD_OUT` says which of its options names what a split holds out; training must hold out the same.
    """
    for title, check in checks.items():
        if (key := sources.held_out(check.data, check.split)) is None:
            continue
        unseen = sources.option(check.data, check.options, key)
        for stage in stages:
            for name, mix in stage.data.items():
                if (other := sources.option(name, mix.options, key)) not in (None, unseen):
                    what = f"{unseen} is to be unseen, but stage {stage.name} trains on it: its {name} hold out {other}"
                    if not isinstance(unseen, str):  # how much is drawn from, and not the name of what is held out
                        what = f"of {key}: {unseen} other things are held out than of {name}'s {other} in {stage.name}"
                    yield ("evaluate", title, "options", key), what


def _change(data: Any, change: str) -> Place:
    """Make one change; the place of it is returned. Aliases (`*data`) are parted from what they repeat."""
    dotted, sign, text = change.partition("=")
    if not sign or not dotted:
        raise BadRecipe(f"{change!r}: changes to a recipe are written key=value, such as stages.0.steps=40")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadRecipe(f"{change!r}: {text!r} is not a YAML value") from error
    *path, last = dotted.split(".")
    place: Place = ()
    whole = data
    for part in path:
        if isinstance(data, dict) and part not in data:
            if part not in (fields := _fields(place, whole)):
                raise BadRecipe(f"{change!r}: {miss('key', part, dict.fromkeys([*map(str, data), *fields]))}")
            data[part] = {}  # such as `options`, which may stand there and did not
        key = _key(data, part, change)
        data[key] = copy.copy(data[key])
        data = data[key]
        place = (*place, key)
    key = _key(data, last, change)
    data[key] = value
    return (*place, key)


def _fields(place: Place, data: Any) -> list[str]:
    """The keys that the schema has at `place`; none where it takes any."""
    try:
        return _known(place, data)
    except AttributeError:  # a mapping by names that the recipe chooses
        return []


def _key(data: Any, part: str, change: str) -> str | int:
    """The key or index that `part` means; stages can be called by name (`stages.instruct.steps=40`)."""
    if isinstance(data, dict):
        return part
    if not isinstance(data, list):
        raise BadRecipe(f"{change!r}: there is nothing in which to set {part!r}, but the value {data!r}")
    titles = [str(item.get("name")) if isinstance(item, dict) else "" for item in data]
    if part in titles:
        return titles.index(part)
    if not part.isdecimal() or int(part) >= len(data):
        raise BadRecipe(f"{change!r}: {miss('entry', part, titles)}, or 0 to {len(data) - 1}")
    return int(part)


def _explain(item: Any, data: Any) -> tuple[Place, str]:
    """Where pydantic found something, and what."""
    loc = item["loc"]  # below `train` it names the branch of the union
    loc = tuple(part for i, part in enumerate(loc) if not (part in BRANCHES and loc[i - 1] in BRANCHING))
    place = tuple(part for i, part in enumerate(loc) if part != "[key]" and (i < 2 or loc[i - 2] != "train"))
    if item["type"] == "extra_forbidden":
        return place, miss("key", str(place[-1]), _known(place[:-1], data))
    given = f", not {item['input']!r}" if isinstance(item["input"], str | int | float | None) else ""
    return place, item["msg"] + given


def _known(place: Place, data: Any) -> list[str]:
    """The keys of the mapping at `place` of the recipe `data`."""
    kind: Any = Recipe
    for part in place:
        kind = _model(kind.model_fields[part].annotation if hasattr(kind, "model_fields") else get_args(kind)[-1])
        data = data[part]
    return list((bridge(str(data.get("connector"))) if kind is Bridge else kind).model_fields)


def _model(kind: Any) -> Any:
    """The model in a union or annotation; a list or a dictionary stays as it is."""
    if get_origin(kind) in (list, dict) or not get_args(kind):
        return kind
    return next((m for m in map(_model, get_args(kind)) if hasattr(m, "model_fields")), kind)


def _children(node: Any) -> list[tuple[str | int, Any, Any]]:
    """Of a YAML node: key or index, the node that stands for it, the node of the value."""
    if isinstance(node, yaml.MappingNode):
        return [(str(key.value), key, value) for key, value in node.value]
    if isinstance(node, yaml.SequenceNode):
        return [(index, value, value) for index, value in enumerate(node.value)]
    return []


def _line(node: Any, place: Place) -> int:
    """The line of the deepest key of `place` that the file has."""
    line = node.start_mark.line
    for part in place:
        inner = next((child for child in _children(node) if child[0] == part), None)
        if inner is None:
            break
        line, node = inner[1].start_mark.line, inner[2]
    return int(line) + 1


def _refuse_doubled(path: Path, node: Any) -> None:
    """YAML takes the last of two equal keys without a word."""
    seen: set[str | int] = set()
    for key, mark, value in _children(node):
        if key in seen and key != "<<":
            raise BadRecipe(f"{path}, line {mark.start_mark.line + 1}: {key!r} stands twice in the same mapping")
        seen.add(key)
        _refuse_doubled(path, value)
