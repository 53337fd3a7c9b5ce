"""`resampler`: the perceiver resampler (Alayrac et al., 2022, arXiv:2204.14198, section 3.1 and appendix A.1.1).

x = features, plus e_t for each of a video's frames
for every layer:  z = z + Attention(q = LN(z), kv = [LN(x); LN(z)]);  z = z + FFN(z)
soft tokens = W LN(z) + b
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from isthmus.connectors._soft import Count, Grid, SoftTokens, Text, split

ABOUT = "learnable latents that attend to the features and themselves; a time embedding for each frame of a video"
Act = Literal["gelu", "relu"]


class Connector(SoftTokens):
    """Features [B, N, D_enc] -> soft tokens [B, M, D_llm].

    Args:
        grid: how the features lie; N is the product. Of three sides, the first one is time.
        width: D_enc, which is the latents' width too.
        llm_width: D_llm.
        tokens: M, the number of latents.
        layers: how many.
        heads: of the attention; None takes one for every `head_dim` of D_enc.
        head_dim: width of a head.
        act: between the feed-forward layers, which are 4 D_enc wide.
        qk_norm: whether queries and keys are normalised, head by head (Laurençon et al., 2023, arXiv:2306.16527).
        out: whether the last product W z + b is there; without it, the soft tokens are D_enc wide.
        time: whether each frame of a video has a position in time; here it is drawn at random and then learned.
    """

    def __init__(
        self,
        grid: Grid,
        width: int,
        llm_width: int,
        tokens: Count = 32,
        layers: Count = 2,
        heads: Count | None = None,
        head_dim: Count = 64,
        act: Act = "gelu",
        qk_norm: bool = False,
        out: bool = True,
        time: bool = True,
    ) -> None:
        super().__init__(grid, width, llm_width if out else width, time)
        heads = max(1, width // head_dim) if heads is None else heads
        self.num_tokens = tokens
        self.latents = nn.Parameter(torch.randn(tokens, width) * width**-0.5)
        if self.time is not None:
            nn.init.normal_(self.time, std=0.02)
        self.layers = nn.ModuleList(Layer(width, heads, head_dim, act, qk_norm) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, llm_width) if out else nn.Identity()

    def project(self, features_BND: Tensor, text: Text = None, mask_BN: Tensor | None = None) -> Tensor:
        """The latents after the last layer, projected, [B, M, D_llm]."""
        x = self.standard(features_BND, mask_BN)
        mask = None
        if mask_BN is not None:  # the latents see each other as well
            mask = torch.cat([mask_BN, mask_BN.new_ones(len(x), self.num_tokens)], 1)[:, None, None]
        z_BMD = self.latents.expand(len(x), -1, -1)
        for layer in self.layers:
            z_BMD = layer(x, z_BMD, mask)
        return self.linear(self.norm(z_BMD))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """z + Attention(LN(z), [LN(x); LN(z)]), and the feed-forward layer after it."""

    def __init__(self, width: int, heads: int, head_dim: int, act: Act, qk_norm: bool) -> None:
        super().__init__()
        self.heads = heads
        self.norm_x, self.norm_z = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v = (nn.Linear(width, heads * head_dim, bias=False) for _ in "qkv")
        self.o = nn.Linear(heads * head_dim, width, bias=False)
        self.norm_q, self.norm_k = (nn.LayerNorm(head_dim) if qk_norm else nn.Identity() for _ in "qk")
        between = nn.GELU() if act == "gelu" else nn.ReLU()
        up, down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)
        self.ffn = nn.Sequential(nn.LayerNorm(width), up, between, down)

    def forward(self, x_BND: Tensor, z_BMD: Tensor, mask: Tensor | None = None) -> Tensor:
        """The latents [B, M, D] after they looked at the features [B, N, D]."""
        z = self.norm_z(z_BMD)
        both = torch.cat([self.norm_x(x_BND), z], 1)
        q, k, v = (split(part, self.heads) for part in (self.q(z), self.k(both), self.v(both)))
        seen = nn.functional.scaled_dot_product_attention(self.norm_q(q), self.norm_k(k), v, attn_mask=mask)
        z_BMD = z_BMD + self.o(seen.transpose(1, 2).flatten(2))
        return z_BMD + self.ffn(z_BMD)  # type: ignore[no-any-return]
