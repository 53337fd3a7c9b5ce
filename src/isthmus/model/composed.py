"""The composed model, media -> encoder -> features -> connector -> soft tokens -> LLM, is a transformers model.

A feature-level connector has layers inside the LLM as well; `connectors._sight` says how they come to see media.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from isthmus.connectors._sight import Pinned, Sight
from isthmus.errors import MergeError
from isthmus.model import encoding
from isthmus.model.beside import BESIDE, Beside
from isthmus.model.configuration import IsthmusConfig
from isthmus.model.loss import supervised_loss
from isthmus.model.merge import merge
from isthmus.registry import find

OWN = ("media", "features", "texts", "valid")  # arguments that are ours, and belong to the step that reads them


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
        self.sight = Sight()
        self.llm = family(config.llm_config).from_config(config.llm_config, trust_remote_code=False)
        self.encoders, self.connectors = nn.ModuleDict(), nn.ModuleDict()
        for kind in config.encoders:
            self.encoders[kind] = encoder(config, kind)
            self.connectors[kind] = connector(config, kind, self.llm)
            self.connectors[kind].join(self.llm, self.sight, kind)  # type: ignore[operator]
        self.beside: Beside | None = None
        if config.beside:
            self.put_beside(**config.beside)
        self.post_init()

    def put_beside(self, r: int, alpha: float, kinds: Sequence[str]) -> None:
        """Give it an adapter that works from the first medium of these kinds on (`model.beside`), in place of any."""
        self.beside = Beside(self.llm, r, alpha, kinds)
        self.beside.hang(self.llm, self.sight)
        self.config.beside = {"r": r, "alpha": alpha, "kinds": list(kinds)}

    def _init_weights(self, module: nn.Module) -> None:
        """Parts initialise themselves; a new connector keeps torch's own initialisation."""

    def get_input_embeddings(self) -> nn.Module:
        """The LLM's token embeddings."""
        return self.llm.get_input_embeddings()  # type: ignore[no-any-return]

    def get_output_embeddings(self) -> nn.Module:
        """The LLM's head."""
        return self.llm.get_output_embeddings()  # type: ignore[no-any-return]

    def encode(self, kind: str, media: Tensor, valid: Tensor | None = None) -> Tensor:
        """Features [N, F, D_enc] of prepared pieces of one kind (images: pixels [N, 3, H, W]).

        `valid` [N] says how many units of each are no padding; see `encoders`.
        """
        return encoding.encode(self.config, kind, self.encoders[kind], media, valid)

    def real(self, kind: str, count: int, valid: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Which of `count` features hold something [K, N], and which soft tokens of them [K, M]; None where all do.

        `valid` [K] says how many units of each piece are no padding.
        """
        if valid is None:
            return None, None
        kept, connect = encoding.kept(self.config, kind, valid), self.connectors[kind]
        return torch.arange(count, device=valid.device) < kept.unsqueeze(1), connect.keep(kept)  # type: ignore[operator]

    def read(
        self,
        input_ids: Tensor,
        media: dict[str, Tensor] | None = None,
        features: dict[str, Tensor] | None = None,
        texts: dict[str, tuple[Tensor, Tensor]] | None = None,
        valid: dict[str, Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Embeddings [B, T, D] of the text, with soft tokens merged into its slots, and what layers in the LLM see.

        Arguments and errors are those of `forward`.
        """
        if unknown := {*(media or {}), *(features or {})} - set(self.connectors):
            raise MergeError(f"this model takes {', '.join(self.connectors) or 'no media'}, not {', '.join(unknown)}")
        valid = valid or {}
        features = dict(features or {}) | {k: self.encode(k, raw, valid.get(k)) for k, raw in (media or {}).items()}
        x = self.get_input_embeddings()(input_ids.masked_fill(self._slots(input_ids), 0))  # any id in the vocabulary
        now = {}
        for kind, token in self.config.placeholders.items():
            connect: Any = self.connectors[kind]
            slots = input_ids == token
            own, text = features.get(kind, x.new_zeros(0, 1, 1)), texts.get(kind) if texts else None
            mask, keep = self.real(kind, own.shape[1], valid.get(kind))
            soft = connect(own, text, mask) if kind in features else x.new_zeros(0, connect.num_tokens, x.shape[-1])
            x = merge(x, soft, slots, kind, keep)
            if (seen := connect.look(own, slots, text, mask)) is not None:
                now[kind] = seen
        return x, now

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
        texts: dict[str, tuple[Tensor, Tensor]] | None = None,
        valid: dict[str, Tensor] | None = None,
        seen: dict[str, Any] | None = None,
        past_key_values: Any = None,
        encoder_outputs: Any = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """One pass.

        Args:
            input_ids: [B, T], placeholders already expanded to one id per soft token.
            media: kind -> prepared pieces of the whole batch in reading order (images: [N, 3, H, W]).
            features: kind -> what `encode` made of them [N, F, D_enc]; in place of `media`.
            inputs_embeds: [B, T, D], in place of `input_ids` and media.
            attention_mask: [B, T], or [B, 1, T, T] for packed samples (added to the attention's scores).
            position_ids: [B, T]; named here because `generate` numbers a left-padded batch only for those who ask.
            labels: [B, T], `IGNORE_INDEX` where there is no loss. With labels, logits are computed only where the
                loss looks and are not returned.
            logits_to_keep: as in transformers: 0 for all positions, n for the last n, or their indices.
            texts: kind -> (ids, mask), each [N, L]: what a connector that `reads` is asked about each medium.
            valid: kind -> how many units of each piece are no padding [N], for kinds whose media differ in length.
            seen: an earlier pass's `seen` attribute, for tokens that continue its text with its cache; or what layers
                see in the whole text (see `read`), of which the cache holds the first tokens.
            past_key_values: that cache; named here because `generate` takes it only from those who ask.
            encoder_outputs: what an encoder-decoder LLM's encoder made of the whole input, in place of it.

        Raises:
            MergeError: when media and the slots of the text differ in number or kind.
        """
        if seen and (media or features):
            raise MergeError("media cannot join a text that goes on from a cache: give the whole text, without `seen`")
        if past_key_values is not None:
            kwargs["past_key_values"] = past_key_values
            if not seen and getattr(past_key_values, BESIDE, False) and past_key_values.get_seq_length():
                raise MergeError(
                    "this cache is of a text with media from which on an adapter works: to go on from it, give the pass"
                    " that filled it's `seen` (`output.seen`) beside `past_key_values`"
                )
        if encoder_outputs is not None:
            return self.llm(encoder_outputs=encoder_outputs, attention_mask=attention_mask, labels=labels, **kwargs)
        own = (input_ids, media, features, texts, valid)
        x, now = (inputs_embeds, {}) if inputs_embeds is not None else self.read(*own)  # type: ignore[arg-type]
        if input_ids is not None and inputs_embeds is None:
            now |= self.since(input_ids, attention_mask)
        if seen:
            past = 0 if past_key_values is None else past_key_values.get_seq_length()
            each = {kind: whole.after(past, x.shape[1]) for kind, whole in seen.items()}
            now = {kind: own for kind, own in each.items() if own is not None}
        kwargs |= {"inputs_embeds": x, "attention_mask": _scores(attention_mask, x)}
        with self.sight.show(now):
            output = self._run(labels, position_ids, logits_to_keep, kwargs)
        output.seen = seen or now or None
        if output.seen and BESIDE in output.seen and (cache := getattr(output, "past_key_values", None)) is not None:
            setattr(cache, BESIDE, True)
        return output

    def hidden(
        self,
        input_ids: Tensor,
        features: dict[str, Tensor],
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        texts: dict[str, tuple[Tensor, Tensor]] | None = None,
        valid: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """What a decoder-only LLM's head would see at every position [B, T, D]; arguments as for `forward`."""
        x, now = self.read(input_ids, features=features, texts=texts, valid=valid)
        with self.sight.show(now | self.since(input_ids, attention_mask)):
            decoded = self.llm.get_decoder()(
                inputs_embeds=x, attention_mask=_scores(attention_mask, x), position_ids=position_ids, use_cache=False
            )
        return decoded.last_hidden_state  # type: ignore[no-any-return]

    def _run(self, labels: Tensor | None, position_ids: Any, logits_to_keep: Any, inputs: dict[str, Any]) -> Any:
        """The LLM on embeddings; a loss without the logits that nobody asked for."""
        if self.config.is_encoder_decoder:
            if position_ids is not None:
                raise MergeError(
                    "an encoder-decoder numbers positions itself and reads in both directions, so turns cannot share a"
                    " prefix there: give each turn a row of its own, without `position_ids`"
                )
            return self.llm(labels=labels, **inputs)
        if labels is None:
            return self.llm(position_ids=position_ids, logits_to_keep=logits_to_keep, **inputs)
        hidden = self.llm.get_decoder()(position_ids=position_ids, **inputs).last_hidden_state
        return CausalLMOutputWithPast(loss=supervised_loss(hidden, self.get_output_embeddings(), labels))

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, inputs_embeds: Tensor | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Media belong to the steps that see their placeholders: the first, and without a cache every one.

        A step whose text goes on from a cache sees what the pass that filled it saw.
        """
        own = {name: kwargs.pop(name, None) for name in OWN}
        seen = kwargs.pop("seen", None)
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(input_ids, inputs_embeds=inputs_embeds, **kwargs)
        step = inputs.get("input_ids")
        if step is not None and bool(self._slots(step).any()):
            inputs |= own
        elif seen:
            inputs["seen"] = seen
        elif kwargs.get("is_first_iteration"):
            inputs |= own
        return inputs

    def _update_model_kwargs_for_generation(
        self, outputs: Any, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """Layers in the LLM go on seeing what they saw in the prompt."""
        known: dict[str, Any] = super()._update_model_kwargs_for_generation(outputs, model_kwargs, *args, **kwargs)
        return known | {"seen": getattr(outputs, "seen", None)}

    def _maybe_prepare_encoder_kwargs_for_generation(
        self, inputs_tensor: Tensor, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """An encoder-decoder LLM reads the input, media among it, once."""
        if not self.config.is_encoder_decoder or model_kwargs.get("encoder_outputs") is not None:
            return model_kwargs
        own = {name: model_kwargs.pop(name, None) for name in OWN}
        x, now = self.read(inputs_tensor, **own)
        with self.sight.show(now):
            encoded = self.llm.get_encoder()(inputs_embeds=x, attention_mask=model_kwargs.get("attention_mask"))
        return model_kwargs | {"encoder_outputs": encoded}

    def _set_gradient_checkpointing(
        self, enable: bool = True, gradient_checkpointing_func: Any = checkpoint, **kwargs: Any
    ) -> None:
        """A layer that is run again sees what it saw, though another pass may have come between."""
        super()._set_gradient_checkpointing(enable, Pinned(gradient_checkpointing_func, self.sight), **kwargs)

    def _expand_inputs_for_generation(
        self, expand_size: int = 1, is_encoder_decoder: bool = False, input_ids: Tensor | None = None, **kwargs: Any
    ) -> tuple[Tensor | None, dict[str, Any]]:
        """Beams and several returns repeat each row; its media, of every kind, are repeated with it."""
        if expand_size > 1 and input_ids is not None:
            rows = {kind: self._pieces(kind, kwargs, input_ids) for kind in self.config.placeholders}
            for name in OWN:
                if kwargs.get(name):
                    kwargs[name] = {k: _repeated(v, rows[k], expand_size) for k, v in kwargs[name].items()}
        return super()._expand_inputs_for_generation(  # type: ignore[no-any-return]
            expand_size=expand_size, is_encoder_decoder=is_encoder_decoder, input_ids=input_ids, **kwargs
        )

    def _pieces(self, kind: str, inputs: dict[str, Any], input_ids: Tensor) -> list[int]:
        """How many pieces of one kind belong to each row of the text."""
        given = [inputs[name][kind] for name in ("media", "features") if inputs.get(name) and kind in inputs[name]]
        slots, count = (input_ids == self.config.placeholders[kind]).sum(1), len(given[0]) if given else 0
        lengths = slots.new_full((count,), self.connectors[kind].num_tokens)
        if kind in (inputs.get("valid") or {}):
            keep: Any = self.connectors[kind].keep
            lengths = keep(encoding.kept(self.config, kind, inputs["valid"][kind])).sum(1)
        ends = lengths.cumsum(0)
        until = torch.searchsorted(ends, slots.cumsum(0), right=True)  # pieces whose slots end in a row or before it
        if int(slots.sum()) != int(lengths.sum()) or int(until[-1]) != count:
            raise MergeError(f"{kind}: {int(slots.sum())} slots in the text, {int(lengths.sum())} of {count} media")
        return until.diff(prepend=until.new_zeros(1)).tolist()

    def since(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> dict[str, Any]:
        """What layers in the LLM see of where the adapter beside it works, if there is one; see `Beside.since`."""
        if self.beside is None:
            return {}
        slots = input_ids.new_tensor([self.config.placeholders[kind] for kind in self.beside.kinds])
        found = self.beside.since(input_ids, slots, attention_mask)
        if found is not None and not self.beside.hangs(self.llm):
            self.beside.hang(self.llm, self.sight)
        return {} if found is None else {BESIDE: found}

    def _slots(self, input_ids: Tensor) -> Tensor:
        return torch.isin(input_ids, input_ids.new_tensor(list(self.config.placeholders.values())))


def _repeated(own: Any, rows: list[int], times: int) -> Any:
    """What belongs to each row (a tensor, or a pair of them), repeated with its row."""
    if isinstance(own, tuple):
        return tuple(_repeated(part, rows, times) for part in own)
    return torch.cat([row.repeat(times, *[1] * (own.dim() - 1)) for row in torch.split(own, rows)])


def _scores(mask: Tensor | None, x: Tensor) -> Tensor | None:
    """A mask of scores in the dtype of what it is added to, as sdpa wants it; other masks as they are."""
    return mask.to(x.dtype) if mask is not None and mask.is_floating_point() else mask


def family(config: Any) -> Any:
    """The Auto class of an LLM: decoder-only, or encoder-decoder."""
    return AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM


def encoder(config: IsthmusConfig, kind: str) -> Any:
    """An encoder without its weights; a file gives `build(config)` where `AutoModel` does not know its model."""
    own = getattr(config, f"{kind}_config")
    module = encoding.module(config, kind)
    return module.build(own) if hasattr(module, "build") else AutoModel.from_config(own, trust_remote_code=False)


def connector(config: IsthmusConfig, kind: str, llm: Any) -> nn.Module:
    """A fresh connector of the configured name for one kind of media; its soft tokens are as wide as embeddings."""
    widths = encoding.width(config, kind), llm.get_input_embeddings().weight.shape[-1]
    options = dict(config.connectors[kind])
    module = find("isthmus.connectors", options.pop("name"))
    return module.Connector(encoding.grid(config, kind), *widths, **options)  # type: ignore[no-any-return]
