"""The composed model, media -> encoder -> features -> connector -> soft tokens -> LLM, is a transformers model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from isthmus.errors import MergeError
from isthmus.model.configuration import IsthmusConfig
from isthmus.model.merge import merge
from isthmus.registry import find
from isthmus.types import IGNORE_INDEX


class IsthmusModel(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """An LLM that sees: encoders and connectors by kind of media, and the LLM, whose state-dict keys stay its own."""

    config_class = IsthmusConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _skip_keys_device_placement = ("past_key_values",)

    def __init__(self, config: IsthmusConfig) -> None:
        super().__init__(config)
        self.llm = AutoModelForCausalLM.from_config(config.llm_config, trust_remote_code=False)
        self.encoders, self.connectors = nn.ModuleDict(), nn.ModuleDict()
        for kind in config.encoders:
            self.encoders[kind] = AutoModel.from_config(getattr(config, f"{kind}_config"), trust_remote_code=False)
            self.connectors[kind] = connector(config, kind)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Parts initialise themselves; a new connector keeps torch's own initialisation."""

    def get_input_embeddings(self) -> nn.Module:
        """The LLM's token embeddings."""
        return self.llm.get_input_embeddings()  # type: ignore[no-any-return]

    def get_output_embeddings(self) -> nn.Module:
        """The LLM's head."""
        return self.llm.get_output_embeddings()  # type: ignore[no-any-return]

    def encode(self, kind: str, media: Tensor) -> Tensor:
        """Features [N, F, D_enc] of preprocessed media of one kind (images: pixels [N, 3, H, W])."""
        return find("isthmus.encoders", self.config.encoders[kind]["name"]).encode(self.encoders[kind], media)  # type: ignore[no-any-return]

    def embed(self, input_ids: Tensor, media: dict[str, Tensor] | None, features: dict[str, Tensor] | None) -> Tensor:
        """Embeddings [B, T, D] of the text, with soft tokens merged into its slots."""
        if unknown := {*(media or {}), *(features or {})} - set(self.connectors):
            raise MergeError(f"this model takes {', '.join(self.connectors) or 'no media'}, not {', '.join(unknown)}")
        features = dict(features or {}) | {kind: self.encode(kind, raw) for kind, raw in (media or {}).items()}
        x = self.get_input_embeddings()(input_ids.masked_fill(self._slots(input_ids), 0))  # any id in the vocabulary
        for kind, token in self.config.placeholders.items():
            connect = self.connectors[kind]
            soft = connect(features[kind]) if kind in features else x.new_zeros(0, connect.num_tokens, x.shape[-1])
            x = merge(x, soft, input_ids == token, kind)
        return x  # type: ignore[no-any-return]

    def forward(
        self,
        input_ids: Tensor | None = None,
        media: dict[str, Tensor] | None = None,
        features: dict[str, Tensor] | None = None,
        inputs_embeds: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """One pass.

        Args:
            input_ids: [B, T], placeholders already expanded to one id per soft token.
            media: kind -> preprocessed media of the whole batch in reading order (images: [N, 3, H, W]).
            features: kind -> what `encode` made of them [N, F, D_enc]; in place of `media`.
            inputs_embeds: [B, T, D], in place of `input_ids` and media.
            attention_mask: [B, T], or [B, 1, T, T] for packed samples (added to the attention's scores).
            position_ids: [B, T]; named here because `generate` numbers a left-padded batch only for those who ask.
            labels: [B, T], `IGNORE_INDEX` where there is no loss. With labels, logits are computed only where the
                loss looks and are not returned.
            logits_to_keep: as in transformers: 0 for all positions, n for the last n, or their indices.

        Raises:
            MergeError: when media and the slots of the text differ in number or kind.
        """
        x = self.embed(input_ids, media, features) if inputs_embeds is None else inputs_embeds  # type: ignore[arg-type]
        if attention_mask is not None and attention_mask.is_floating_point():
            attention_mask = attention_mask.to(x.dtype)  # sdpa wants scores and mask of one dtype
        kwargs |= {"inputs_embeds": x, "attention_mask": attention_mask, "position_ids": position_ids}
        if labels is None:
            return self.llm(logits_to_keep=logits_to_keep, **kwargs)
        hidden = self.llm.get_decoder()(**kwargs).last_hidden_state
        return CausalLMOutputWithPast(loss=supervised_loss(hidden, self.get_output_embeddings(), labels))

    def prepare_inputs_for_generation(self, input_ids: Tensor, **kwargs: Any) -> dict[str, Any]:
        """Media belong to the steps that see their placeholders: the first, and without a cache every one."""
        media, features = kwargs.pop("media", None), kwargs.pop("features", None)
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(input_ids, **kwargs)
        step = inputs.get("input_ids")
        if step is not None and (kwargs.get("is_first_iteration") or bool(self._slots(step).any())):
            inputs |= {"media": media, "features": features}
        return inputs

    def _expand_inputs_for_generation(
        self, expand_size: int = 1, is_encoder_decoder: bool = False, input_ids: Tensor | None = None, **kwargs: Any
    ) -> tuple[Tensor | None, dict[str, Any]]:
        """Beams and several returns repeat each row; its media, of every kind, are repeated with it."""
        if expand_size > 1 and input_ids is not None:
            for name in ("media", "features"):
                if kwargs.get(name):
                    kwargs[name] = {k: self._repeat(k, v, input_ids, expand_size) for k, v in kwargs[name].items()}
        return super()._expand_inputs_for_generation(  # type: ignore[no-any-return]
            expand_size=expand_size, is_encoder_decoder=is_encoder_decoder, input_ids=input_ids, **kwargs
        )

    def _repeat(self, kind: str, media: Tensor, input_ids: Tensor, times: int) -> Tensor:
        slots = (input_ids == self.config.placeholders[kind]).sum(1)
        per_row = (slots // self.connectors[kind].num_tokens).tolist()
        if sum(per_row) != len(media):
            raise MergeError(f"{kind}: the text has slots for {sum(per_row)} media, {len(media)} were given")
        return torch.cat([row.repeat(times, *[1] * (media.dim() - 1)) for row in torch.split(media, per_row)])

    def _slots(self, input_ids: Tensor) -> Tensor:
        return torch.isin(input_ids, input_ids.new_tensor(list(self.config.placeholders.values())))


def connector(config: IsthmusConfig, kind: str) -> nn.Module:
    """A fresh connector of the configured name for one kind of media."""
    encoder, width = config.encoders[kind], getattr(config, f"{kind}_config")
    features = find("isthmus.encoders", encoder["name"]).num_features(width, encoder["size"])
    options = dict(config.connectors[kind])
    module = find("isthmus.connectors", options.pop("name"))
    return module.Connector(features, width.hidden_size, config.get_text_config().hidden_size, **options)  # type: ignore[no-any-return]


def supervised_loss(hidden_BTD: Tensor, head: nn.Module, labels_BT: Tensor) -> Tensor:
    """Mean cross-entropy over the supervised tokens; the head runs at the positions before them only."""
    keep = labels_BT[:, 1:] != IGNORE_INDEX
    logits_SV = head(hidden_BTD[:, :-1][keep])
    return nn.functional.cross_entropy(logits_SV.float(), labels_BT[:, 1:][keep])
