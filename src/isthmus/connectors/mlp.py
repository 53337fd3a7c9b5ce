"""`mlp`: H = W2 GELU(W1 Z + b1) + b2 (Liu et al., 2023, arXiv:2310.03744, section 3.2)."""

from __future__ import annotations

from torch import Tensor, nn

from isthmus.connectors._soft import Count, Fewer, Grid, Pool, SoftTokens, Text
from isthmus.errors import BadRecipe

ABOUT = "two linear layers with GELU, on each feature or on features joined into fewer tokens"


class Connector(SoftTokens):
    """Features [B, N, D_enc] -> soft tokens [B, M, D_llm].

    Args:
        grid: how the features lie; N is the product.
        width: D_enc.
        llm_width: D_llm.
        tokens: M; None keeps N.
        hidden: width of the hidden layer; None takes D_llm.
        pool: how neighbours become one token (see `_soft.Fewer`).
        time: whether each frame of a video has a learned position in time.
        span: how many frames of a video that follow each other are joined, square by square.

    Raises:
        BadRecipe: when `tokens` or `span` does not fit (it names the numbers that do), or `hidden` is no width.
    """

    def __init__(
        self,
        grid: Grid,
        width: int,
        llm_width: int,
        tokens: Count | None = None,
        hidden: Count | None = None,
        pool: Pool = "shuffle",
        time: bool = False,
        span: Count = 1,
    ) -> None:
        super().__init__(grid, width, llm_width, time)
        hidden = llm_width if hidden is None else hidden
        if hidden < 1:
            raise BadRecipe(f"hidden: {hidden} is no width; at least 1 is needed")
        self.fewer = Fewer(grid, tokens, pool, span)
        self.num_tokens = self.fewer.num_tokens
        self.linear_1 = nn.Linear(width * self.fewer.widen, hidden)
        self.linear_2 = nn.Linear(hidden, llm_width)

    def project(self, features_BND: Tensor, text: Text = None, mask_BN: Tensor | None = None) -> Tensor:
        """W2 GELU(W1 Z + b1) + b2, [B, M, D_llm]."""
        x = self.fewer(self.standard(features_BND, mask_BN))
        return self.linear_2(nn.functional.gelu(self.linear_1(x)))  # type: ignore[no-any-return]

    def keep(self, kept_B: Tensor) -> Tensor:
        """As many soft tokens as the features that hold something fill, [B, M]."""
        return self.fewer.keep(kept_B)
