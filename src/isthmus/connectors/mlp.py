"""`mlp`: H = W2 GELU(W1 Z + b1) + b2 on pixel-shuffled features (Liu et al., 2023, arXiv:2310.03744)."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from isthmus.errors import BadRecipe

Count = Annotated[int, Field(gt=0)]
ABOUT = "two linear layers with GELU, on features shuffled into fewer and wider tokens"


class Connector(nn.Module):
    """Features [B, N, D_enc] -> soft tokens [B, M, D_llm].

    Features are standardised by `mean` and `std` (buffers, measured on data; 0 and 1 until then), each square of
    r x r neighbours becomes one token (pixel shuffle, r = sqrt(N / M)), and the result is scaled by `gain` and moved
    by `offset` so that soft tokens live where the LLM's own embeddings do.

    Args:
        features: N, the number of features an encoder gives.
        width: D_enc.
        llm_width: D_llm.
        tokens: M; N / M must be a square number. None keeps N.
        hidden: width of the hidden layer; None takes D_llm.

    Raises:
        BadRecipe: when `tokens` does not fit (it names the numbers that do), or `hidden` is no width.
    """

    mean: Tensor
    std: Tensor
    offset: Tensor

    def __init__(
        self, features: int, width: int, llm_width: int, tokens: Count | None = None, hidden: Count | None = None
    ) -> None:
        super().__init__()
        side = math.isqrt(features)
        square = side**2 == features
        fits = [(side // r) ** 2 for r in range(1, side + 1) if side % r == 0] if square else [features]
        self.num_tokens = features if tokens is None else tokens
        if self.num_tokens not in fits:
            raise BadRecipe(f"tokens: {tokens} does not divide {features} features. Possible: {str(fits)[1:-1]}")
        hidden = llm_width if hidden is None else hidden
        if hidden < 1:
            raise BadRecipe(f"hidden: {hidden} is no width; at least 1 is needed")
        self.ratio = math.isqrt(features // self.num_tokens)
        self.linear_1 = nn.Linear(width * self.ratio**2, hidden)
        self.linear_2 = nn.Linear(hidden, llm_width)
        self.gain = nn.Parameter(torch.ones(()))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))
        self.register_buffer("offset", torch.zeros(llm_width))

    def project(self, features_BND: Tensor) -> Tensor:
        """The soft tokens before they are moved to the LLM's scale, [B, M, D_llm]."""
        x = self.shuffle((features_BND.to(self.mean.dtype) - self.mean) / self.std)
        return self.linear_2(nn.functional.gelu(self.linear_1(x)))  # type: ignore[no-any-return]

    def forward(self, features_BND: Tensor) -> Tensor:
        """Soft tokens [B, M, D_llm]."""
        return self.project(features_BND) * self.gain + self.offset

    def shuffle(self, x_BND: Tensor) -> Tensor:
        """[B, N, D] -> [B, N / r^2, D r^2]; features are row-major over a square."""
        if self.ratio == 1:
            return x_BND
        B, N, D = x_BND.shape
        side, r = math.isqrt(N), self.ratio
        x = x_BND.view(B, side // r, r, side // r, r, D).transpose(2, 3)
        return x.reshape(B, N // r**2, D * r**2)
