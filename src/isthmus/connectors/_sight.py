"""How layers inside an LLM come to see media, whatever the LLM, without a change to its code or its state-dict keys.

During one forward pass a `Sight` holds, kind by kind, what there is to look at. Objects hung on the LLM's modules hold
the same `Sight`: a pre-hook on a decoder layer (`gated_cross_attention`), a forward of its own on a linear layer
(`visual_expert`). They are objects, not closures, so that copying or pickling the model copies them with it; the
`Sight` is thread-local, so that two threads may run one model.

Gradient checkpointing runs a layer's forward again in the backward pass, when other passes may have come between;
`Pinned` shows that run what the first one saw.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from torch import nn

from isthmus.errors import BadRecipe


class Sight(threading.local):
    """What the media layers of one model see in the pass under way: kind -> what the connector's `look` gave."""

    now: dict[str, Any]

    def __init__(self) -> None:
        self.now = {}

    def __reduce__(self) -> tuple[type[Sight], tuple[()]]:
        """A copy starts empty; within one model that is copied or pickled, it stays one object."""
        return Sight, ()

    def show(self, now: dict[str, Any]) -> Shown:
        """`with sight.show({...}):` for one pass."""
        return Shown(self, now)


class Shown:
    """A context in which a sight holds something, and what it held before afterwards."""

    def __init__(self, sight: Sight, now: dict[str, Any]) -> None:
        self.sight, self.now = sight, now

    def __enter__(self) -> None:
        self.before, self.sight.now = self.sight.now, self.now

    def __exit__(self, *_: object) -> None:
        self.sight.now = self.before


class Pinned:
    """A checkpointing function whose second run of a layer sees what the first one saw."""

    def __init__(self, checkpoint: Callable[..., Any], sight: Sight) -> None:
        self.checkpoint, self.sight = checkpoint, sight

    def __call__(self, run: Callable[..., Any], *args: Any) -> Any:
        """As the function itself."""
        now = self.sight.now

        def again(*args: Any) -> Any:
            with self.sight.show(now):
                return run(*args)

        return self.checkpoint(again, *args)


def layers(llm: nn.Module) -> nn.ModuleList:
    """The layers through which an LLM reads: its decoder's, or the encoder's where it has both.

    Raises `BadRecipe` for an LLM in which not exactly one list of as many layers as its configuration says is found.
    """
    config: Any = llm.config
    reader = llm.get_encoder() if config.is_encoder_decoder else llm.get_decoder()  # type: ignore[operator]
    found = [m for m in reader.modules() if isinstance(m, nn.ModuleList) and len(m) == config.num_hidden_layers]
    outermost = [m for m in found if not any(m is not other and m in set(other.modules()) for other in found)]
    if len(outermost) != 1:
        raise BadRecipe(
            f"{config.model_type} has {len(outermost) or 'no'} lists of {config.num_hidden_layers} layers, so it is not"
            " known where media layers would go. Take a connector that makes soft tokens alone, such as mlp"
        )
    return outermost[0]
