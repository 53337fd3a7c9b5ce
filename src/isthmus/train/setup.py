"""What a stage starts from: the composed model, what of it is trained, and the objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from isthmus import model_folder
from isthmus.data.seen import Seen
from isthmus.errors import BadRecipe
from isthmus.model import add_lora, begin, compose, part, unfreeze
from isthmus.options import checked
from isthmus.registry import find
from isthmus.train.mixture import kinds
from isthmus.train.recipe import OBJECTIVE, Lora, Recipe, Stage
from isthmus.train.state import Progressed
from isthmus.types import KINDS, Sample


@dataclass
class Run:
    """A model with its processor, how each stage went, and what stands for the parts that it was made of."""

    model: Any
    processor: Any
    stages: dict[str, Progressed] = field(default_factory=dict)
    parts: tuple[str, ...] = ()

    @property
    def minutes(self) -> float:
        """How long the stages took, over all the sittings of a run that was resumed."""
        return sum(stage.seconds for stage in self.stages.values()) / 60


def composed(recipe: Recipe) -> Run:
    """The recipe's parts put together, untrained, or with what the checkpoint learned that the recipe starts from."""
    senses = {kind: own.asked for kind, own in recipe.model.senses.items()}
    own = recipe.model
    how: dict[str, Any] = {"image": None, "llm": own.llm, "frame": own.frame, "quantize": own.quantize} | senses
    model, processor = compose(**how, seed=recipe.seed)
    parts = [facts["sha256"] for _, facts in sorted(model.config.parts.items())]
    if recipe.start is not None:
        digest, known = begin(model, model_folder(recipe.start))
        parts.append(digest)
        for kind, its in own.senses.items():
            if its.part == "new" and kind not in known | recipe.encoders_trained:
                what = f"a new encoder has learned nothing, neither in {recipe.start} nor in a stage"
                raise BadRecipe(f"model.{kind}.part: {what}. Add {kind}.encoder to a stage's train")
    return Run(model, processor, parts=tuple(parts))


def trained(run: Run, stage: Stage) -> list[dict[str, Any]]:
    """AdamW's parameter groups of the parts that a stage trains; nothing else of the model learns."""
    run.model.requires_grad_(False)
    return [group(run.model, where, how) for where, how in stage.train.items()]


def group(model: Any, where: str, how: float | Lora) -> dict[str, Any]:
    """AdamW's parameter group of one trained part: all its weights, with its buffers beside them, or its adapter's.

    Raises `BadRecipe` for a part that does not exist, or an adapter of another size than the one that an earlier stage
    put there.
    """
    module = part(model, where)
    if isinstance(how, Lora):
        return {"name": where, "params": _adapter(model, where, how), "lr": how.lr}
    stored = module.state_dict().keys()
    buffers = [buffer for name, buffer in module.named_buffers() if name in stored]
    return {"name": where, "params": unfreeze(model, where), "lr": how, "buffers": buffers}


def _adapter(model: Any, where: str, how: Lora) -> list[Any]:
    """The weights of a part's adapter, which is put there where an earlier stage did not, to be trained."""
    wanted: dict[str, Any] = {"r": how.lora, "alpha": how.lora * how.scale}
    if how.kinds is not None:
        wanted["kinds"] = [kind for kind in KINDS if kind in how.kinds]
        if model.config.beside is None:
            model.put_beside(**wanted)
        there, own = model.config.beside, list(model.beside.parameters())
    else:
        if where not in model.config.adapters:
            add_lora(model, where, **wanted)
        there = model.config.adapters[where]
        own = [weight for name, weight in part(model, where).named_parameters() if ".lora_" in name]
    if there != wanted:
        raise BadRecipe(f"train: {where} has the adapter {there} of an earlier stage, not {wanted}; keep one")
    return [weight.requires_grad_(True) for weight in own]


def helpers(goal: Any, groups: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """AdamW's groups of what an objective trains beside parts, at their rates, and throws away at the stage's end."""
    own = getattr(goal, "own", {})
    return [
        {"name": f"what helps {one['name']}", "params": own[one["name"]], "lr": one["lr"]}
        for one in groups
        if one["name"] in own
    ]


def objective(run: Run, stage: Stage, samples: Sequence[Sample], some: Callable[[int], Seen]) -> Any:
    """The stage's objective for these samples; `some` gives what so many of them show."""
    for where, how in stage.train.items():
        if isinstance(how, Lora) and how.kinds is not None and kinds(samples).isdisjoint(how.kinds):
            shown = ", ".join(sorted(kinds(samples))) or "no media"
            what = f"its data show {shown}, and none of {', '.join(how.kinds)}, so it would not be trained"
            raise BadRecipe(f"stage {stage.name}: {where}: {what}")
    build = find("isthmus.train.objectives", stage.objective).Objective
    return build(run.model, run.processor, samples, some, **checked(build.__init__, OBJECTIVE, stage.options))


def raw(stage: Stage) -> bool:
    """Whether a stage's objective takes media as they are prepared, in place of features."""
    return getattr(find("isthmus.train.objectives", stage.objective), "RAW", False)


def learning(stage: Stage) -> set[str]:
    """The kinds of media whose encoder a stage trains, so that no features can be kept."""
    return {where.removesuffix(".encoder") for where in stage.train if where.endswith(".encoder")}
