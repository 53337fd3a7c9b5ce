"""Options: what a data set or an objective takes beside what all of them take, as its signature declares it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from isthmus.registry import miss


def problems(
    name: str, build: Callable[..., Any], common: Collection[str], options: dict[str, Any]
) -> Iterator[tuple[str, str]]:
    """What is wrong with the `options` of `build`, as (option, what); `common` are the parameters that are none.

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
    """A model of the options, by the types and defaults that the signature declares."""
    hints = get_type_hints(build, include_extras=True)
    parameters = inspect.signature(build).parameters
    fields: dict[str, Any] = {name: (hints[name], p.default) for name, p in parameters.items() if name not in common}
    return create_model("Options", __config__=ConfigDict(extra="forbid"), **fields)
