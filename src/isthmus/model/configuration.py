"""The configuration of a composed model."""

from __future__ import annotations

from dataclasses import field
from typing import Any, ClassVar

from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from isthmus.encoders import _point_model, _several  # noqa: F401  make their configurations known to AutoConfig


class IsthmusConfig(PreTrainedConfig):  # type: ignore[misc]
    """An LLM and, for each kind of media, an encoder and a connector.

    Args:
        llm_config: the LLM's own configuration.
        image_config, audio_config, ...: the encoder's own configuration; that of a kind is `<kind>_config`.
        encoders: kind -> {"name": file in `encoders/`, "size": its own, "frames": of a clip, "tiles": of a picture at
            most, beside its thumbnail, "rate": of a series, in steps a second}. Of several encoders, names and sizes
            are lists, and "join" says how features are joined (`encoders._several`).
        connectors: kind -> {"name": file in `connectors/`, and its options}.
        placeholders: kind -> token id that holds a slot. It lies outside the LLM's vocabulary, whose embeddings
            and logits stay exactly its own.
        parts: "llm" or "<kind>.encoder" -> {"name", "sha256"}: where the weights come from, so that a checkpoint
            can leave them out; "sha256" is what `build.fingerprint` gives. Of several encoders, "<kind>.encoder.0", ...
        adapters: the same keys -> {"r", "alpha"} of the LoRA adapter that is in the part.
        beside: {"r", "alpha", "kinds"} of an adapter that works from the first medium of these kinds on
            (`model.beside`); None: there is none.
        trained: the same keys, for parts whose own weights are no longer those of `parts`.
        quantize: the form in which the LLM's weights are held (`model.quantize`), and an adapter of it was trained;
            None: as they are.
        frame: how the LLM is spoken to: a `data.packing.Frame` as a mapping, or a name in `data.frames.NAMED`.
    """

    model_type = "isthmus"
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "llm_config": SubConfigSpec(config_class=AutoConfig, model_type="llama"),
        "image_config": SubConfigSpec(config_class=AutoConfig, model_type="dinov2", optional=True),
        "audio_config": SubConfigSpec(config_class=AutoConfig, model_type="qwen2_audio_encoder", optional=True),
        "video_config": SubConfigSpec(config_class=AutoConfig, model_type="videomae", optional=True),
        "points_config": SubConfigSpec(config_class=AutoConfig, model_type="isthmus_point_transformer", optional=True),
        "series_config": SubConfigSpec(config_class=AutoConfig, model_type="patchtst", optional=True),
    }

    llm_config: dict[str, Any] | PreTrainedConfig | None = None
    image_config: dict[str, Any] | PreTrainedConfig | None = None
    audio_config: dict[str, Any] | PreTrainedConfig | None = None
    video_config: dict[str, Any] | PreTrainedConfig | None = None
    points_config: dict[str, Any] | PreTrainedConfig | None = None
    series_config: dict[str, Any] | PreTrainedConfig | None = None
    encoders: dict[str, Any] = field(default_factory=dict)
    connectors: dict[str, Any] = field(default_factory=dict)
    placeholders: dict[str, int] = field(default_factory=dict)
    parts: dict[str, Any] = field(default_factory=dict)
    adapters: dict[str, Any] = field(default_factory=dict)
    beside: dict[str, Any] | None = None
    trained: list[str] = field(default_factory=list)
    quantize: str | None = None
    frame: dict[str, Any] | str | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self.tie_word_embeddings = False  # the LLM inside ties its own
        self.is_encoder_decoder = bool(getattr(self.llm_config, "is_encoder_decoder", False))

    def get_text_config(self, *args: Any, **kwargs: Any) -> Any:
        """The LLM's configuration: what `generate` and the cache read their sizes from."""
        return self.llm_config
