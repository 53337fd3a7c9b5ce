"""`visual_expert`: media tokens have weights of their own in every layer (Wang et al., 2023, arXiv:2311.03079,
section 2.2, equations 1 to 3).

Soft tokens from a token-level connector stand in the text, between a learned token that begins a medium and one
that ends it. In every layer each linear map (queries, keys, values, output, feed-forward) has a twin that starts as
its copy:

    X' = [ twin(x) for a medium's tokens, W x for the text's ]

Attention itself runs over all of them. Each token passes through one of the two only. The token that ends a medium
counts as text, as in CogVLM. Unlike in CogVLM's released models, a medium's tokens have positions of their own, as all
tokens of the LLM have, and do not share one.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from isthmus.connectors._sight import Sight, layers
from isthmus.connectors._soft import Count, Grid, SoftTokens, Text
from isthmus.connectors.gated_cross_attention import inner
from isthmus.errors import BadRecipe, IsthmusError

ABOUT = "media tokens have their own QKV, output and feed-forward weights in every layer of the LLM"


@dataclass
class Seen:
    """Where the tokens of one kind of media stand among all tokens of a batch, and where the others do: [S], [R].

    A row of the batch has `length` tokens.
    """

    media: Tensor
    rest: Tensor
    length: int

    def after(self, past: int, length: int) -> Seen | None:
        """For `length` tokens behind the first `past`; those behind the whole text are text."""
        if past >= self.length:
            return None
        media, rest = (at[at % self.length >= past] for at in (self.media, self.rest))
        if not len(media):
            return None
        media, rest = (at // self.length * length + at % self.length - past for at in (media, rest))
        return Seen(media, rest, length)


class Connector(nn.Module):
    """Features [B, N, D_enc] -> soft tokens [B, M + 2, D_llm], and twins of the LLM's linear layers for them.

    Args:
        grid: how the features lie; N is the product.
        width: D_enc.
        llm_width: D_llm.
        memory: the token-level connector that makes the soft tokens.
        tokens: M; None takes that connector's own default.
        inside: that connector's other options.
        ends: whether learned tokens begin and end a medium; without them there are M, all of them the medium's.
        time: whether the memory's connector has a learned position in time for each frame of a video.

    Raises:
        BadRecipe: for a `memory` that does not exist or is inside the LLM itself, or `tokens` that do not fit.
    """

    def __init__(
        self,
        grid: Grid,
        width: int,
        llm_width: int,
        memory: str = "mlp",
        tokens: Count | None = None,
        inside: dict[str, Any] | None = None,
        ends: bool = True,
        time: bool = False,
    ) -> None:
        super().__init__()
        self.memory: SoftTokens = inner(memory, grid, width, llm_width, tokens, time, **(inside or {}))
        self.ends = nn.Parameter(torch.randn(2, llm_width) * 0.02) if ends else None
        self.num_tokens = self.memory.num_tokens + (2 if ends else 0)
        self.twins = nn.ModuleList()

    @property
    def soft(self) -> SoftTokens:
        """What makes the soft tokens."""
        return self.memory

    @property
    def reads(self) -> bool:
        """Whether that reads the instruction."""
        return self.memory.reads

    def join(self, llm: Any, sight: Sight, kind: str) -> None:
        """Give each linear layer of the LLM's layers a twin.

        Raises `BadRecipe` for an LLM without any, or with matrices that are no linear layer's (experts of a mixture).
        """
        if any(weight.dtype == torch.uint8 for weight in llm.parameters()):
            raise BadRecipe("visual_expert: it trains copies of the LLM's weights, and those are held in 4 bits")
        for layer in layers(llm):
            own = {name: m for name, m in layer.named_modules() if isinstance(m, nn.Linear | Conv1D)}
            if not own:
                raise BadRecipe(f"visual_expert: the layers of {llm.config.model_type} hold no linear map to be copied")
            fine = {f"{name}.weight" for name, m in layer.named_modules() if name in own or isinstance(m, nn.Embedding)}
            if rest := [name for name, w in layer.named_parameters() if w.dim() > 1 and name not in fine]:
                raise BadRecipe(
                    f"visual_expert: the layers of {llm.config.model_type} hold matrices that are no linear layer's,"
                    f" such as {rest[0]}, and media tokens would have none of their own. Take another connector"
                )
            self.twins.append(nn.ModuleDict({name.replace(".", "/"): twin(linear) for name, linear in own.items()}))
            for linear, copied in zip(own.values(), self.twins[-1].values(), strict=True):  # type: ignore[operator]
                routed = linear.__dict__.setdefault("forward", Routed(linear, sight))
                routed.twins[kind] = copied
            layer.register_forward_pre_hook(Whole(list(own), sight, kind))
        with torch.no_grad():
            if self.ends is not None and not self.ends.is_meta:  # ordinary tokens' size
                self.ends.mul_(llm.get_input_embeddings().weight.std() / 0.02)

    def keep(self, kept_B: Tensor) -> Tensor:
        """The memory's own tokens that hold something, and those that begin and end the medium, [B, M + 2]."""
        own = self.memory.keep(kept_B)
        return own if self.ends is None else nn.functional.pad(own, (1, 1), value=True)

    def forward(self, features_BND: Tensor, text: Text = None, mask_BN: Tensor | None = None) -> Tensor:
        """Soft tokens between those that begin and end a medium, [B, M + 2, D_llm]."""
        soft: Tensor = self.memory(features_BND, text, mask_BN)
        if self.ends is None:
            return soft
        begin, end = self.ends[:, None, None].expand(-1, len(soft), -1, -1)
        return torch.cat([begin, soft, end], 1)

    def look(
        self, features_BND: Tensor, slots_BT: Tensor, text: Text = None, mask_BN: Tensor | None = None
    ) -> Seen | None:
        """Which tokens are a medium's. `slots_BT` is true in its slots, which lie side by side."""
        if not len(features_BND):
            return None
        flat = slots_BT.flatten()
        if self.ends is not None:  # the last slot of each medium is not its own
            flat, lengths = flat.clone(), torch.full((len(features_BND),), self.num_tokens, device=flat.device)
            if mask_BN is not None:
                lengths = self.keep(mask_BN.sum(1)).sum(1)
            flat[slots_BT.flatten().nonzero()[lengths.cumsum(0) - 1, 0]] = False
        return Seen(flat.nonzero()[:, 0], (~flat).nonzero()[:, 0], slots_BT.shape[1])


def twin(linear: nn.Module) -> nn.Module:
    """A trainable copy of a linear layer, without the forward that another kind's experts gave it."""
    plain = copy.copy(linear)
    plain.__dict__ = {key: value for key, value in linear.__dict__.items() if key != "forward"}
    return copy.deepcopy(plain).requires_grad_(True)


class Whole:
    """A pre-hook on a layer of the LLM: none of its linear layers has lost its twins since the model was composed."""

    def __init__(self, linears: list[str], sight: Sight, kind: str) -> None:
        self.linears, self.sight, self.kind = linears, sight, kind

    def __call__(self, layer: nn.Module, args: tuple[Any, ...]) -> None:
        if self.sight.now.get(self.kind) is None or torch.compiler.is_compiling():
            return
        for name in self.linears:
            linear = layer.get_submodule(name)
            linear = getattr(linear, "base_layer", linear)  # PEFT keeps it there
            if not isinstance(linear.__dict__.get("forward"), Routed):
                raise IsthmusError(
                    f"visual_expert: {name} was replaced after the model was composed (quantised, perhaps), so media"
                    " tokens would go without weights of their own. Do that to the LLM before it is composed"
                )


class Routed:
    """A linear layer's forward: each kind's tokens go to its twin, the others through the layer's own weights."""

    def __init__(self, linear: nn.Module, sight: Sight) -> None:
        self.linear, self.sight = linear, sight
        self.twins: dict[str, Any] = {}

    def __call__(self, x: Tensor) -> Tensor:
        own = type(self.linear).forward
        now = [(twin, seen) for kind, twin in self.twins.items() if (seen := self.sight.now.get(kind)) is not None]
        if not now:
            return own(self.linear, x)  # type: ignore[no-any-return]
        y: Tensor
        flat = x.flatten(0, -2)
        rest = now[0][1].rest
        if len(flat) != len(rest) + len(now[0][1].media):
            raise IsthmusError(
                f"visual_expert: a linear layer is given {len(flat)} rows of {len(rest) + len(now[0][1].media)} tokens,"
                " so this LLM's layers do not see each token once. Take another connector"
            )
        if len(now) > 1:
            text = torch.ones(len(flat), dtype=torch.bool, device=x.device)
            for _, seen in now:
                text[seen.media] = False
            rest = text.nonzero()[:, 0]
        some = own(self.linear, flat[rest])
        y = some.new_empty(len(flat), some.shape[-1]).index_copy(0, rest, some)
        for twin, seen in now:
            y = y.index_copy(0, seen.media, twin(flat[seen.media].to(twin.weight.dtype)).to(y.dtype))
        return y.view(*x.shape[:-1], y.shape[-1])
