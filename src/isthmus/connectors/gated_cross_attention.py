"""`gated_cross_attention`: layers inside the frozen LLM through which text looks at media (Alayrac et al., 2022,
arXiv:2204.14198, section 3.2 and figure 4).

Before every k-th decoder layer:

    y = y + tanh(a) * CrossAttention(q = norm(y), kv = media);  y = y + tanh(b) * FFN(norm(y))

With a = b = 0 at the start, the LLM answers exactly as before. A token attends to the last medium before it, or to the
last several that stand side by side; one that has none before it is left as it is. In the text a medium is one marker
token, learned too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from isthmus.connectors._options import SIZES
from isthmus.connectors._sight import Sight, layers
from isthmus.connectors._soft import Count, Grid, SoftTokens, Text, moments, split, timed
from isthmus.errors import BadRecipe
from isthmus.options import problems
from isthmus.registry import find

ABOUT = "gated cross-attention blocks before every k-th layer of a frozen LLM"
Style = Literal["idefics", "flamingo"]


@dataclass
class Seen:
    """What the blocks look at in one pass: for each block keys and values [B, H_kv, n M, d] of a row's n media; which
    of them a token may see [B, 1, T, n M] (None: no row has media); and which tokens see any [B, T]."""

    keys: list[Tensor]
    values: list[Tensor]
    mask: Tensor | None
    sees: Tensor

    def after(self, past: int, length: int) -> Seen:
        """For `length` tokens behind the first `past`; those behind the whole text see what its last one saw."""
        at = torch.arange(past, past + length, device=self.sees.device).clamp(max=self.sees.shape[1] - 1)
        return Seen(self.keys, self.values, None if self.mask is None else self.mask[:, :, at], self.sees[:, at])

    def rows(self, index: Tensor) -> Seen:
        """For these rows of the batch, in this order, repeated ones too."""
        mask = None if self.mask is None else self.mask[index]
        return Seen([own[index] for own in self.keys], [own[index] for own in self.values], mask, self.sees[index])


class Connector(nn.Module):
    """Blocks in the LLM, and for each medium one marker token [B, 1, D_llm].

    Args:
        grid: how the features lie; N is the product.
        width: D_enc.
        llm_width: D_llm.
        memory: what makes the keys' and values' inputs of the features: a token-level connector's name, or `features`
            for the features themselves.
        tokens: the memory's number of tokens; None takes that connector's own default.
        inside: that connector's other options.
        every: k; a block stands before layers `first`, `first` + k, ...
        first: the first layer with a block.
        style: `idefics` normalises by RMS and has SwiGLU (Laurençon et al., 2023, arXiv:2306.16527), `flamingo`
            normalises by LayerNorm and has GELU.
        heads: of the cross-attention; None takes the LLM's.
        kv_heads: of the keys and values, each shared by heads / kv_heads heads; None takes `heads`.
        head_dim: width of a head; None divides D_llm by `heads`.
        gates: numbers in a gate: one, or one for each of D_llm.
        qk_norm: whether queries and keys are normalised, head by head.
        everywhere: whether the feed-forward part also acts on tokens that have no medium before them, as that of
            IDEFICS does. Text alone is then not the LLM's own any more.
        together: whether media whose markers stand side by side are seen together by what follows.
        partial: whether the last number of a feature says if it is one (above 0) or only fills the grid up and is not
            to be seen, as those of the encoder `mllama` do.
        time: whether each frame of a video has a learned position in time, in the memory.

    Raises:
        BadRecipe: for a memory that does not exist or is inside the LLM itself, or options that do not fit.
    """

    num_tokens = 1

    def __init__(
        self,
        grid: Grid,
        width: int,
        llm_width: int,
        memory: str = "mlp",
        tokens: Count | None = None,
        inside: dict[str, Any] | None = None,
        every: Count = 4,
        first: Annotated[int, Field(ge=0)] = 0,
        style: Style = "idefics",
        heads: Count | None = None,
        kv_heads: Count | None = None,
        head_dim: Count | None = None,
        gates: Literal["one", "vector"] = "one",
        qk_norm: bool = False,
        everywhere: bool = False,
        together: bool = False,
        partial: bool = False,
        time: bool = False,
    ) -> None:
        super().__init__()
        if memory == "features" and (tokens is not None or inside):
            raise BadRecipe("memory: features are looked at as they are, so there are no `tokens` and nothing `inside`")
        part: Any = (
            nn.Identity()
            if memory == "features"
            else inner(memory, grid, width, llm_width, tokens, time, **(inside or {}))
        )
        self.time = moments(grid, width) if time and memory == "features" else None
        if partial and memory != "features" and getattr(getattr(part, "fewer", None), "ratio", None) != 1:
            raise BadRecipe("partial: the memory has to keep a token for each feature, as features, linear and mlp can")
        self.memory, self.memory_width = part, width if memory == "features" else len(part.offset)
        self.marker = nn.Parameter(torch.randn(1, 1, llm_width) * 0.02)
        self.every, self.first, self.everywhere = every, first, everywhere
        self.together, self.partial = together, partial
        self.shape: dict[str, Any] = {
            "style": style, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim, "gates": gates,
            "qk_norm": qk_norm,
        }  # fmt: skip
        self.blocks = nn.ModuleList()

    @property
    def soft(self) -> SoftTokens | None:
        """What makes the memory, unless the features are it."""
        return self.memory if isinstance(self.memory, SoftTokens) else None

    @property
    def reads(self) -> bool:
        """Whether the memory's connector reads the instruction."""
        return self.soft is not None and self.soft.reads

    def join(self, llm: Any, sight: Sight, kind: str) -> None:
        """Put fresh blocks before the LLM's layers. Raises `BadRecipe` where no layer would get one."""
        own = layers(llm)[self.first :: self.every]
        if not len(own):
            raise BadRecipe(f"first: {self.first}, and the LLM has {len(layers(llm))} layers")
        self.blocks = nn.ModuleList(Block(llm.config, self.memory_width, self.everywhere, **self.shape) for _ in own)
        with torch.no_grad():
            if not self.marker.is_meta:  # an ordinary token's size
                self.marker.mul_(llm.get_input_embeddings().weight.std() / 0.02)
        for number, layer in enumerate(own):
            layer.register_forward_pre_hook(Insert(self.blocks[number], sight, kind, number), with_kwargs=True)

    def keep(self, kept_B: Tensor) -> Tensor:
        """The marker always stands in the text, [B, 1]."""
        return torch.ones(len(kept_B), 1, dtype=torch.bool, device=kept_B.device)

    def forward(self, features_BND: Tensor, text: Text = None, mask_BN: Tensor | None = None) -> Tensor:
        """The marker for each medium, [B, 1, D_llm]."""
        return self.marker.expand(len(features_BND), -1, -1)

    def look(
        self, features_BND: Tensor, slots_BT: Tensor, text: Text = None, mask_BN: Tensor | None = None
    ) -> Seen | None:
        """Keys and values of all media, in the order of their rows. `slots_BT` is true where a marker stands."""
        if not len(features_BND) and not self.everywhere:
            return None
        counts_B = slots_BT.sum(1)
        most = int(counts_B.max())
        last_BT = slots_BT.cumsum(1) - 1  # of the media before a token; -1 where there is none
        if not most:
            return Seen([], [], None, last_BT >= 0)
        m = (
            self.soft(features_BND, text, mask_BN)
            if self.soft
            else timed(features_BND.to(self.marker.dtype), self.time)
        )
        n = torch.arange(most, device=slots_BT.device)
        place_Bn = (counts_B.cumsum(0) - counts_B).unsqueeze(1) + n  # of a row's media among all of them
        place_Bn = place_Bn.where(n < counts_B.unsqueeze(1), 0)
        rows = m[place_Bn].flatten(1, 2)
        blocks: Any = self.blocks
        keys, values = zip(*(block.remember(rows) for block in blocks), strict=True)
        opens_BT = slots_BT & ~nn.functional.pad(slots_BT, (1, -1)) if self.together else slots_BT
        first_BT = last_BT.where(opens_BT, -1).cummax(1).values
        mask = ((first_BT.unsqueeze(-1) <= n) & (n <= last_BT.unsqueeze(-1))).repeat_interleave(m.shape[1], -1)
        if mask_BN is not None:
            hold = self.soft.keep(mask_BN.sum(1)) if self.soft else mask_BN
            mask = mask & hold[place_Bn].flatten(1).unsqueeze(1)
        if self.partial:
            mask &= (features_BND[..., -1] > 0)[place_Bn].flatten(1).unsqueeze(1)
        return Seen(list(keys), list(values), mask.unsqueeze(1), last_BT >= 0)


def inner(name: str, grid: Grid, width: int, llm_width: int, tokens: int | None, time: bool, **options: Any) -> Any:
    """A token-level connector as a part of another one. Raises `BadRecipe` for another kind, or unknown options."""
    options |= {"time": True} if time else {}
    build = find("isthmus.connectors", name).Connector
    if not issubclass(build, SoftTokens):
        raise BadRecipe(f"{name} is inside the LLM itself; a token-level connector is needed here, such as mlp")
    if wrong := next(problems(name, build.__init__, SIZES, options), None):
        raise BadRecipe(f"inside: {wrong[1]}")
    return build(grid, width, llm_width, **({} if tokens is None else {"tokens": tokens}), **options)


class Block(nn.Module):
    """One gated block: cross-attention and feed-forward, each behind a tanh gate that starts at zero."""

    def __init__(
        self,
        config: Any,
        memory_width: int,
        everywhere: bool,
        style: Style,
        heads: int | None,
        kv_heads: int | None,
        head_dim: int | None,
        gates: str,
        qk_norm: bool,
    ) -> None:
        super().__init__()
        width, self.everywhere = config.hidden_size, everywhere
        if heads is None and head_dim is None:  # the LLM's own, which need not fill its width (Flan-T5, Qwen 3)
            head_dim = getattr(config, "head_dim", None) or getattr(config, "d_kv", None)
        self.heads = heads = config.num_attention_heads if heads is None else heads
        if head_dim is None and width % heads:
            raise BadRecipe(f"heads: {heads} do not divide the LLM's width of {width}. Choose `heads` or `head_dim`")
        self.kv_heads = kv_heads = heads if kv_heads is None else kv_heads
        if heads % kv_heads:
            raise BadRecipe(f"kv_heads: {kv_heads} do not divide {heads} heads")
        head_dim = width // heads if head_dim is None else head_dim
        eps = getattr(config, "rms_norm_eps", 1e-6)
        norm = (lambda size: nn.RMSNorm(size, eps)) if style == "idefics" else nn.LayerNorm
        self.q, self.o = nn.Linear(width, heads * head_dim, bias=False), nn.Linear(heads * head_dim, width, bias=False)
        self.k, self.v = (nn.Linear(memory_width, kv_heads * head_dim, bias=False) for _ in "kv")
        self.norm_q, self.norm_k = (norm(head_dim) if qk_norm else nn.Identity() for _ in "qk")
        self.norm_attention, self.norm_ffn = norm(width), norm(width)
        self.ffn: nn.Module = SwiGLU(width, getattr(config, "intermediate_size", None) or 4 * width)
        if style == "flamingo":
            up, down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)
            self.ffn = nn.Sequential(up, nn.GELU(), down)
        self.gate_attention, self.gate_ffn = (nn.Parameter(torch.zeros(1 if gates == "one" else width)) for _ in "ab")

    def remember(self, memory_BND: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, H_kv, N, d]."""
        memory_BND = memory_BND.to(self.k.weight.dtype)
        return self.norm_k(split(self.k(memory_BND), self.kv_heads)), split(self.v(memory_BND), self.kv_heads)

    def forward(self, y_BTD: Tensor, keys: Tensor | None, values: Tensor | None, mask: Any, sees_BT: Tensor) -> Tensor:
        """The hidden states [B, T, D] after they looked."""
        y, sees = y_BTD.to(self.q.weight.dtype), sees_BT.unsqueeze(-1)
        if keys is not None and values is not None:
            q = self.norm_q(split(self.q(self.norm_attention(y)), self.heads))
            # A row of the mask without a key would be NaN; such tokens see all and keep nothing of it.
            mask, shared = mask | ~sees.unsqueeze(1), self.kv_heads != self.heads
            seen = nn.functional.scaled_dot_product_attention(q, keys, values, attn_mask=mask, enable_gqa=shared)
            y = y + torch.tanh(self.gate_attention) * self.o(seen.transpose(1, 2).flatten(2)).masked_fill(~sees, 0)
        more = torch.tanh(self.gate_ffn) * self.ffn(self.norm_ffn(y))
        y = y + (more if self.everywhere else more.masked_fill(~sees, 0))
        return y.to(y_BTD.dtype)  # type: ignore[no-any-return]


class SwiGLU(nn.Module):
    """W3 (silu(W1 x) * W2 x), as in LLaMA's layers (Shazeer, 2020, arXiv:2002.05202)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(width, inner, bias=False), nn.Linear(width, inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] to [..., D]."""
        return self.down(nn.functional.silu(self.gate(x)) * self.up(x))  # type: ignore[no-any-return]


class Insert:
    """A pre-hook on a layer of the LLM: what comes in passes through the block first."""

    def __init__(self, block: nn.Module, sight: Sight, kind: str, number: int) -> None:
        self.block, self.sight, self.kind, self.number = block, sight, kind, number

    def __call__(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        seen: Seen | None = self.sight.now.get(self.kind)
        if seen is None:
            return None
        y = args[0] if args else kwargs["hidden_states"]
        keys, values = (pile[self.number] if pile else None for pile in (seen.keys, seen.values))
        y = self.block(y, keys, values, seen.mask, seen.sees)
        return ((y, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": y})
