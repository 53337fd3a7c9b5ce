"""`qformer`: learnable queries that look at the features (Li et al., 2023, arXiv:2301.12597, section 3.1), and may read
the instruction beside them (Dai et al., 2023, arXiv:2305.06500, section 2.3).

The layers are transformers' own, so that released Q-Formers load into them.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from isthmus.connectors._soft import Count, Grid, SoftTokens, Text
from isthmus.errors import BadRecipe

ABOUT = "learnable queries with cross-attention to the features every second layer; may read the instruction too"


class Connector(SoftTokens):
    """Features [B, N, D_enc] -> soft tokens [B, M, D_llm].

    Args:
        grid: how the features lie; N is the product.
        width: D_enc.
        llm_width: D_llm.
        tokens: M, the number of queries.
        hidden: the Q-Former's width.
        layers: how many layers it has.
        heads: of its attention; None takes one for every 64 of `hidden`.
        cross_every: layers 0, k, 2k, ... have cross-attention.
        instruction: whether the queries attend to the instruction's tokens too.
        vocab: how many tokens an instruction may consist of; `compose` fills in the LLM's.
        positions: how long an instruction may be; longer ones are cut.
        inner: width of the feed-forward layers; None takes 4 times `hidden`.
        dropout: inside the Q-Former, while it is trained.
        time: whether each frame of a video has a learned position in time; without, its queries see no order.

    Raises:
        BadRecipe: when `hidden` is no multiple of `heads`, or an instruction is to be read without a vocabulary.
    """

    def __init__(
        self,
        grid: Grid,
        width: int,
        llm_width: int,
        tokens: Count = 32,
        hidden: Count = 256,
        layers: Count = 4,
        heads: Count | None = None,
        cross_every: Count = 2,
        instruction: bool = False,
        vocab: Count | None = None,
        positions: Count = 512,
        inner: Count | None = None,
        dropout: Annotated[float, Field(ge=0, le=1)] = 0.0,
        time: bool = False,
    ) -> None:
        super().__init__(grid, width, llm_width, time)
        heads = max(1, hidden // 64) if heads is None else heads
        if hidden % heads:
            raise BadRecipe(f"heads: {heads} do not divide a width of {hidden} (`hidden`)")
        if instruction and vocab is None:
            raise BadRecipe(
                "instruction: the queries cannot read without `vocab`, the number of the tokenizer's tokens"
            )
        self.num_tokens, self.reads, self.positions = tokens, instruction, positions
        sizes: dict[str, Any] = {
            "hidden_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "intermediate_size": 4 * hidden if inner is None else inner,
            "cross_attention_frequency": cross_every,
            "encoder_hidden_size": width,
            "hidden_dropout_prob": dropout,
            "attention_probs_dropout_prob": dropout,
            "max_position_embeddings": positions,
        }
        if instruction:
            from transformers import InstructBlipQFormerConfig, InstructBlipQFormerModel

            self.qformer = InstructBlipQFormerModel(InstructBlipQFormerConfig(vocab_size=vocab, **sizes))
        else:
            from transformers import Blip2QFormerConfig, Blip2QFormerModel

            self.qformer = Blip2QFormerModel(Blip2QFormerConfig(**sizes))
            for layer in self.qformer.encoder.layer:  # a text's own feed-forward layers, which nothing would reach
                layer.intermediate = layer.output = None
        self.queries = nn.Parameter(torch.randn(1, tokens, hidden) * 0.02)
        self.linear = nn.Linear(hidden, llm_width)

    def project(self, features_BND: Tensor, text: Text = None, mask_BN: Tensor | None = None) -> Tensor:
        """What the queries found, projected to the LLM's width, [B, M, D_llm]."""
        x_BND = self.standard(features_BND, mask_BN)
        queries = self.queries.expand(len(x_BND), -1, -1)
        if not len(x_BND):
            return self.linear(queries)  # type: ignore[no-any-return]
        media = {"encoder_hidden_states": x_BND, "encoder_attention_mask": mask_BN}
        if not self.reads:
            found = self.qformer(query_embeds=queries, **media)
        else:
            if text is None:
                raise BadRecipe("this Q-Former reads the instruction, and none was given")
            ids, mask = (part[:, : self.positions] for part in text)
            mask = torch.cat([mask.new_ones(queries.shape[:2]), mask], 1)
            found = self.qformer(input_ids=ids, attention_mask=mask, query_embeds=queries, **media)
        return self.linear(found.last_hidden_state[:, : self.num_tokens])  # type: ignore[no-any-return]
