"""`linear`: H = W Z + b (Liu et al., 2023, arXiv:2304.08485, equation 1)."""

from __future__ import annotations

from torch import Tensor, nn

from isthmus.connectors._soft import Count, Fewer, Grid, Pool, SoftTokens, Text

ABOUT = "one linear layer, on each feature or on features joined into fewer tokens"


class Connector(SoftTokens):
    """Features [B, N, D_enc] -> soft tokens [B, M, D_llm].

    Args:
        grid: how the features lie; N is the product.
        width: D_enc.
        llm_width: D_llm.
        tokens: M; None keeps N.
        pool: how neighbours become one token (see `_soft.Fewer`).
        time: whether each frame of a video has a learned position in time.
        span: how many frames of a video that follow each other are joined, square by square.

    Raises:
        BadRecipe: when `tokens` or `span` does not fit (it names the numbers that do).
    """

    def __init__(
        self,
        grid: Grid,
        width: int,
        llm_width: int,
        tokens: Count | None = None,
        pool: Pool = "shuffle",
        time: bool = False,
        span: Count = 1,
    ) -> None:
        super().__init__(grid, width, llm_width, time)
        self.fewer = Fewer(grid, tokens, pool, span)
        self.num_tokens = self.fewer.num_tokens
        self.linear = nn.Linear(width * self.fewer.widen, llm_width)

    def project(self, features_BND: Tensor, text: Text = None, mask_BN: Tensor | None = None) -> Tensor:
        """W Z + b, [B, M, D_llm]."""
        return self.linear(self.fewer(self.standard(features_BND, mask_BN)))  # type: ignore[no-any-return]

    def keep(self, kept_B: Tensor) -> Tensor:
        """As many soft tokens as the features that hold something fill, [B, M]."""
        return self.fewer.keep(kept_B)
