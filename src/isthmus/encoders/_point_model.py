"""A transformer over groups of points, and its masked pretraining: Point-BERT's encoder as Point-MAE trains it.

    points -> farthest point sampling -> centres -> k nearest neighbours -> groups, each relative to its centre
    group -> small PointNet -> token;  centre -> small MLP -> position;  tokens + positions -> transformer -> features

Yu et al., 2022, arXiv:2111.14819, section 3.1; Pang et al., 2022, arXiv:2203.06604, sections 3.1 to 3.3. The norms of
the small PointNet are layer norms instead of batch norms, so that a cloud's features never depend on its batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from isthmus.encoders._geometry import chamfer, farthest, nearest, take
from isthmus.errors import BadMedia


class PointTransformerConfig(PreTrainedConfig):  # type: ignore[misc]
    """Sizes of a point transformer; the defaults are Point-BERT's, for 1,024 points.

    Args:
        channels: numbers of a point: 3 (x, y, z), or 6 with colour.
        sized: whether each point has one number more, the same for all of a cloud: how large it is (see `prepare`).
        group_width: of the small PointNet, which is half, once and twice as wide.
        num_groups: how many groups, which is how many features.
        group_size: how many points are in a group.
        hidden_size, num_hidden_layers, num_attention_heads, intermediate_size: of the transformer.
        decoder_layers: of the decoder in masked pretraining.
        mask_ratio: how many of the groups it hides.
    """

    model_type = "isthmus_point_transformer"

    channels: int = 3
    sized: bool = False
    group_width: int = 256
    num_groups: int = 64
    group_size: int = 32
    hidden_size: int = 384
    num_hidden_layers: int = 12
    num_attention_heads: int = 6
    intermediate_size: int = 1536
    decoder_layers: int = 4
    mask_ratio: float = 0.6
    layer_norm_eps: float = 1e-5
    initializer_range: float = 0.02


class PointNet(nn.Module):
    """A group's points [B, G, K, C] -> its token [B, G, D], whatever their order (Point-BERT, section 3.1)."""

    def __init__(self, channels: int, width: int, inner: int = 256) -> None:
        super().__init__()
        half, twice = inner // 2, 2 * inner
        self.each = nn.Sequential(nn.Linear(channels, half), nn.LayerNorm(half), nn.ReLU(), nn.Linear(half, inner))
        self.both = nn.Sequential(nn.Linear(twice, twice), nn.LayerNorm(twice), nn.ReLU(), nn.Linear(twice, width))

    def forward(self, x_BGKC: Tensor) -> Tensor:
        x = self.each(x_BGKC)
        x = torch.cat([x.amax(2, keepdim=True).expand_as(x), x], -1)
        return self.both(x).amax(2)  # type: ignore[no-any-return]


class Block(nn.Module):
    """A transformer layer with its norms before attention and feed-forward."""

    def __init__(self, config: PointTransformerConfig) -> None:
        super().__init__()
        D, self.heads = config.hidden_size, config.num_attention_heads
        self.norm_1, self.norm_2 = (nn.LayerNorm(D, eps=config.layer_norm_eps) for _ in range(2))
        self.qkv, self.out = nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.mlp = nn.Sequential(
            nn.Linear(D, config.intermediate_size), nn.GELU(), nn.Linear(config.intermediate_size, D)
        )

    def forward(self, x_BND: Tensor, mask_BN: Tensor | None = None) -> Tensor:
        B, N, D = x_BND.shape
        q, k, v = self.qkv(self.norm_1(x_BND)).view(B, N, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        mask = None if mask_BN is None else mask_BN[:, None, None]
        seen = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x_BND + self.out(seen.transpose(1, 2).reshape(B, N, D))
        return x + self.mlp(self.norm_2(x))  # type: ignore[no-any-return]


class Blocks(nn.Module):
    """Layers that see the positions anew each, as in Point-BERT and Point-MAE, and a norm at their end."""

    def __init__(self, config: PointTransformerConfig, depth: int) -> None:
        super().__init__()
        D = config.hidden_size
        self.position = nn.Sequential(nn.Linear(3 + config.sized, 128), nn.GELU(), nn.Linear(128, D))
        self.layers = nn.ModuleList(Block(config) for _ in range(depth))
        self.norm = nn.LayerNorm(D, eps=config.layer_norm_eps)

    def forward(self, x_BND: Tensor, places_BNP: Tensor, mask_BN: Tensor | None = None) -> Tensor:
        position = self.position(places_BNP.to(x_BND.dtype))
        for layer in self.layers:
            x_BND = layer(x_BND + position, mask_BN)
        return self.norm(x_BND)  # type: ignore[no-any-return]


class _Points(PreTrainedModel):  # type: ignore[misc]
    config_class = PointTransformerConfig
    config: PointTransformerConfig
    base_model_prefix = "encoder"
    main_input_name = "points"


class PointTransformerModel(_Points):
    """Points [B, P, channels] -> features [B, num_groups, D], one for each group."""

    def __init__(self, config: PointTransformerConfig) -> None:
        super().__init__(config)
        self.tokens = PointNet(config.channels, config.hidden_size, config.group_width)
        self.blocks = Blocks(config, config.num_hidden_layers)
        self.post_init()

    def group(self, points_BPC: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Centres [B, G, 3], far from each other, and their neighbours [B, G, K, C], placed relative to them.

        Of a sized model, a fourth number of a centre is how large the cloud is.

        Raises `BadMedia` for points of another number of channels.
        """
        if (found := points_BPC.shape[-1]) != (takes := self.config.channels + self.config.sized):
            raise BadMedia(f"points of {found} numbers; this part takes {takes}")
        points = points_BPC.float()  # rounded points have other neighbours
        centres = take(points[..., :3], farthest(points[..., :3], self.config.num_groups, valid))
        near = take(
            points[..., : self.config.channels], nearest(centres, points[..., :3], self.config.group_size, valid)
        )
        groups = torch.cat([near[..., :3] - centres[:, :, None], near[..., 3:]], -1)
        if self.config.sized:
            centres = torch.cat([centres, points[:, :1, -1:].expand(-1, centres.shape[1], -1)], -1)
        return centres, groups

    def forward(self, points: Tensor, valid: Tensor | None = None, **kwargs: Any) -> BaseModelOutput:
        """`valid` [B] is how many points are real; groups beyond that many are masked."""
        centres, groups = self.group(points, valid)
        mask = None
        if valid is not None:
            mask = torch.arange(self.config.num_groups, device=points.device) < valid[:, None].clamp_min(1).to(
                points.device
            )
        features = self.blocks(self.tokens(groups.to(self.dtype)), centres, mask)
        return BaseModelOutput(last_hidden_state=features)


class PointTransformerForMaskedPretraining(_Points):
    """Point-MAE: the encoder sees some groups, and a small decoder says where the points of the hidden ones are.

    After pretraining, `model.encoder.save_pretrained(folder)` is the part; the decoder is thrown away.
    """

    def __init__(self, config: PointTransformerConfig) -> None:
        super().__init__(config)
        self.encoder = PointTransformerModel(config)
        self.decoder = Blocks(config, config.decoder_layers)
        self.hidden = nn.Parameter(torch.randn(config.hidden_size) * config.initializer_range)
        self.head = nn.Linear(config.hidden_size, config.group_size * 3)
        self.post_init()

    def forward(self, points: Tensor, valid: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """The loss of clouds [B, P, channels], `valid` [B] of their points real: the Chamfer distance between hidden
        groups and what the decoder says of them, relative to their centres (Point-MAE, section 3.3).

        Which groups are hidden is drawn from `generator` in every pass: `mask_ratio` of each cloud's (section 3.1).
        The encoder sees neither tokens nor centres of the hidden ones; the decoder has their centres (section 3.2).
        """
        centres, groups = self.encoder.group(points, valid)
        B, G, K, _ = groups.shape
        order = torch.rand(B, G, generator=generator).argsort(1).to(points.device)
        visible = G - round(self.config.mask_ratio * G)
        there, gone = order[:, :visible], order[:, visible:]
        seen = self.encoder.tokens(take(groups.flatten(2), there).view(B, visible, K, -1).to(self.dtype))
        seen = self.encoder.blocks(seen, take(centres, there))
        tokens = torch.cat([seen, self.hidden.expand(B, gone.shape[1], -1)], 1)
        said = self.decoder(tokens, take(centres, torch.cat([there, gone], 1)))[:, visible:]
        truth = take(groups[..., :3].flatten(2), gone)
        return chamfer(self.head(said).view(-1, K, 3), truth.view(-1, K, 3)).mean()


AutoConfig.register(PointTransformerConfig.model_type, PointTransformerConfig)
AutoModel.register(PointTransformerConfig, PointTransformerModel)
