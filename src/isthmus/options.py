"""Options: what a connector, data set or objective takes beside what all of its kind take, as its signature says."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from isthmus.registry import miss


def declared(build: Callable[..., Any], common: Collection[str]) -> dict[str, tuple[Any, Any]]:
    """Option -> (type, default); `...` where one is needed. `common` are the parameters that are no options.

    >>> def draw(seed: int, side: int, size: int = 8): ...
    >>> declared(draw, ["seed"])
    {'side': (<class 'int'>, Ellipsis), 'size': (<class 'int'>, 8)}
    """
    hints = get_type_hints(build, include_extras=True)
    return {
        key: (hints.get(key, Any), ... if known.default is known.empty else known.default)
        for key, known in inspect.signature(build).parameters.items()
        if key not in common and known.kind not in (known.VAR_POSITIONAL, known.VAR_KEYWORD)
    }


def problems(
    name: str, build: Callable[..., Any], common: Collection[str], options: dict[str, Any]
) -> Iterator[tuple[str, str]]:
    """What is wrong with the `options` of `build`, as (option, what).

    >>> def draw(seed: int, size: int = 8): ...
    >>> list(problems("dots", draw, ["seed"], {"sise": 3}))
    [('sise', "dots: no option 'sise'. Did you mean 'size'? Known options: size")]
    """
    model = _model(build, common)
    try:
        model.model_validate(options)
    except ValidationError as error:
        for item in error.errors():
            key = str(item["loc"][0])
            unknown = item["type"] == "extra_forbidden"
            what = _no_option(key, list(model.model_fields)) if unknown else f"{item['msg']}, not {item['input']!r}"
            yield key, f"{name}: {what}"


def checked(build: Callable[..., Any], common: Collection[str], options: dict[str, Any]) -> dict[str, Any]:
    """The options that `problems` finds nothing wrong with, as the types that are declared.

    >>> def draw(seed: int, size: float = 8): ...
    >>> checked(draw, ["seed"], {"size": "5e-2"})  # what YAML takes for a text
    {'size': 0.05}
    """
    return _model(build, common).model_validate(options).model_dump(exclude_unset=True)


def _no_option(key: str, known: list[str]) -> str:
    return miss("option", key, known).replace("Known:", "Known options:") + ("" if known else "none")


def _model(build: Callable[..., Any], common: Collection[str]) -> type[BaseModel]:
    fields: dict[str, Any] = declared(build, common)
    return create_model("Options", __config__=ConfigDict(extra="forbid"), **fields)
