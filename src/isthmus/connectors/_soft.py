"""What token-level connectors share: features are standardised, soft tokens live where the LLM's own embeddings do."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from isthmus.errors import BadRecipe, MergeError

Count = Annotated[int, Field(gt=0)]
Pool = Literal["shuffle", "average"]
Text = tuple[Tensor, Tensor] | None  # an instruction's ids and mask, each [B, L]
Grid = tuple[int, ...]  # how the features lie, row-major: (time,), (height, width) or (frames, height, width)


class SoftTokens(nn.Module):
    """Features [B, N, D_enc] -> soft tokens [B, M, D_llm] by a subclass's `project`.

    Features are standardised by `mean` and `std`, and what `project` makes of them is scaled by `gain` and moved by
    `offset` (Buffers measured on data by the objective `contrast`; until then 0, 1, 1 and 0, which change nothing).

    Args:
        grid: how the features lie; N is the product.
        width: D_enc.
        llm_width: D_llm.
        time: whether each frame of a video has a learned position in time (see `moments`).
    """

    mean: Tensor
    std: Tensor
    offset: Tensor
    num_tokens: int
    reads = False  # whether it reads the instruction's text too

    def __init__(self, grid: Grid, width: int, llm_width: int, time: bool = False) -> None:
        super().__init__()
        self.grid = grid
        self.time = moments(grid, width) if time else None
        self.gain = nn.Parameter(torch.ones(1))  # one number; FSDP shards no scalars
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))
        self.register_buffer("offset", torch.zeros(llm_width))

    @property
    def soft(self) -> SoftTokens:
        """What makes the soft tokens: itself. Connectors of other kinds may have a part that does."""
        return self

    def standard(self, features_BND: Tensor, mask_BN: Tensor | None = None) -> Tensor:
        """The features in units of their own deviation, at their time; those that `mask_BN` leaves out are 0."""
        x = timed((features_BND.to(self.mean.dtype) - self.mean) / self.std, self.time)
        return x if mask_BN is None else x.masked_fill(~mask_BN.unsqueeze(-1), 0)

    def project(self, features_BND: Tensor, text: Text = None, mask_BN: Tensor | None = None) -> Tensor:
        """The soft tokens before they are moved to the LLM's scale, [B, M, D_llm].

        Args:
            features_BND: as the encoder gives them.
            text: for a connector that `reads`: the instruction's ids and mask, each [B, L].
            mask_BN: true for the features that hold something; the first ones of a medium. None: all do.
        """
        raise NotImplementedError

    def forward(self, features_BND: Tensor, text: Text = None, mask_BN: Tensor | None = None) -> Tensor:
        """Soft tokens [B, M, D_llm]; of those, `keep` says which stand in the text."""
        return self.project(features_BND, text, mask_BN) * self.gain + self.offset

    def keep(self, kept_B: Tensor) -> Tensor:
        """Which soft tokens hold something, [B, M], of media whose first `kept_B` features do: all of them."""
        return torch.ones(len(kept_B), self.num_tokens, dtype=torch.bool, device=kept_B.device)

    def join(self, llm: nn.Module, sight: Any, kind: str) -> None:
        """A token-level connector has nothing inside the LLM."""

    def look(self, features_BND: Tensor, slots_BT: Tensor, text: Text = None, mask_BN: Tensor | None = None) -> Any:
        """What its layers inside the LLM would look at: nothing."""
        return None


def moments(grid: Grid, width: int) -> nn.Parameter | None:
    """Positions in time [F, 1, D] for each of F frames, zero at the start (as TimeSformer's: Bertasius et al., 2021,
    arXiv:2102.05095), so that they change nothing until they are trained; None for features that have no frames."""
    return nn.Parameter(torch.zeros(grid[0], 1, width)) if len(grid) == 3 and grid[0] > 1 else None


def timed(x_BND: Tensor, time_F1D: Tensor | None) -> Tensor:
    """The features of a clip, frame by frame, with the position in time added to all features of a frame.

    >>> timed(torch.zeros(1, 4, 1), torch.tensor([[[1.0]], [[2.0]]])).flatten().tolist()
    [1.0, 1.0, 2.0, 2.0]
    """
    if time_F1D is None:
        return x_BND
    B, N, D = x_BND.shape
    return (x_BND.reshape(B, len(time_F1D), N // len(time_F1D), D) + time_F1D).view(B, N, D)


class Fewer(nn.Module):
    """Fewer tokens than features: each r x r square (over time: each r in a row) becomes one.

    `shuffle` puts the neighbours beside each other into one wide token, which loses nothing (Shi et al., 2016,
    arXiv:1609.05158, reversed); `average` takes their mean, which keeps the width. Of a video, the same square in
    `span` frames that follow each other is joined as well, so that one token sees what moves there (the tubelets of
    ViViT: Arnab et al., 2021, arXiv:2103.15691, section 3.2); frames are not joined otherwise.

    >>> Fewer((4, 4), 4, "shuffle").widen, Fewer((4, 4), 4, "average").widen, Fewer((6,), 3, "shuffle").widen
    (4, 1, 2)
    >>> Fewer((4, 8, 8), 32, "shuffle", span=2).widen  # 2 x 2 x 2
    8

    Raises:
        BadRecipe: when `tokens` or `span` does not fit; it names what does.
    """

    def __init__(self, grid: Grid, tokens: int | None, pool: Pool, span: int = 1) -> None:
        super().__init__()
        self.features = N = math.prod(grid)
        still, plane = grid[:-2], grid[-2:]
        frames = math.prod(still)
        if span < 1 or frames % span:
            known = ", ".join(str(one) for one in range(1, frames + 1) if frames % one == 0)
            raise BadRecipe(f"span: {span} does not divide {frames} frames. Possible: {known}")
        ratios = [r for r in range(1, max(plane) + 1) if all(side % r == 0 for side in plane)]
        fits = {N // span // r ** len(plane): r for r in ratios}
        self.num_tokens = N // span if tokens is None else tokens
        if self.num_tokens not in fits:
            known = ", ".join(map(str, fits))
            raise BadRecipe(f"tokens: {tokens} does not divide {N // span} features. Possible: {known}")
        self.frames, self.plane, self.span = frames, plane, span
        self.ratio, self.average = fits[self.num_tokens], pool == "average"
        self.widen = 1 if self.average else span * self.ratio ** len(plane)

    def keep(self, kept_B: Tensor) -> Tensor:
        """Which tokens hold something, [B, M], where the first `kept_B` features do."""
        places = torch.arange(self.num_tokens, device=kept_B.device)
        if self.span > 1:  # one frame fills all tokens that it is joined into
            together = self.features // self.frames * self.span
            kept_B = (kept_B + together - 1) // together * together
        return places * (self.features // self.num_tokens) < kept_B.unsqueeze(1)

    def forward(self, x_BND: Tensor) -> Tensor:
        """[B, N, D] -> [B, M, D * widen]. Raises `MergeError` for another N than the grid has."""
        if x_BND.shape[1] != self.features:
            raise MergeError(
                f"a medium with {x_BND.shape[1]} features, and this connector was made for {self.features}."
                " Was it prepared in another size?"
            )
        if self.ratio == self.span == 1:
            return x_BND
        B, _, D = x_BND.shape
        r, plane = self.ratio, [part for side in self.plane for part in (side // self.ratio, self.ratio)]
        x = x_BND.reshape(B * self.frames, *plane, D)
        x = x.transpose(2, 3) if len(self.plane) == 2 else x  # the r x r neighbours side by side
        groups, square = self.frames // self.span, r ** len(self.plane)
        x = x.reshape(B * groups, self.span, self.num_tokens // groups, square, D).transpose(1, 2)
        x = x.reshape(B, self.num_tokens, self.span * square, D)
        return x.mean(2) if self.average else x.flatten(2)


def split(x_BTD: Tensor, heads: int) -> Tensor:
    """[B, T, H d] -> [B, H, T, d].

    >>> split(torch.zeros(2, 5, 12), 3).shape
    torch.Size([2, 3, 5, 4])
    """
    B, T, D = x_BTD.shape
    return x_BTD.view(B, T, heads, D // heads).transpose(1, 2)
