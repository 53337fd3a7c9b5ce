"""For every encoder in the folder: tiny random models of its kind, as a hub has them, and what its features are."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers as t
from torch import Tensor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from isthmus.encoders import point_transformer as points

BLOCKS = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
PATCHES = BLOCKS | {"patch_size": 4, "image_size": 16}
WIDER = {"intermediate_size": 32}
TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 50}
MEANS = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
SQUARE = MEANS | {"size": {"height": 16, "width": 16}, "resample": 2}


@dataclass
class Tiny:
    """Models that an encoder takes (`makes`), its features `wanted(model, media)`, and sizes that it can have.

    `prepared` is what the folder's preprocessor_config.json says. `unused` are weights of the encoder that features do
    not need, and why they are there.
    """

    makes: list[Callable[[], Any]]
    wanted: Callable[[Any, Tensor], Tensor]
    sizes: tuple[int, ...] = (16, 24)
    shape: Callable[[int], tuple[int, ...]] = lambda size: (3, size, size)
    prepared: dict[str, Any] = field(default_factory=dict)
    unused: dict[str, str] = field(default_factory=dict)

    def media(self, count: int, size: int) -> Tensor:
        return torch.randn(count, *self.shape(size), generator=torch.Generator().manual_seed(size))

    def save(self, model: Any, folder: Path) -> Path:
        model.save_pretrained(folder)
        (folder / "preprocessor_config.json").write_text(json.dumps(self.prepared))
        return folder


def vision(model: Any) -> Any:
    return getattr(model, "vision_model", model)


def plain(others: int = 0, **options: Any) -> Callable[[Any, Tensor], Tensor]:
    return lambda model, media: vision(model)(media, **options).last_hidden_state[:, others:]


def vit() -> Any:
    return t.ViTModel(t.ViTConfig(**PATCHES, **WIDER))


def vit_classifier() -> Any:
    return t.ViTForImageClassification(t.ViTConfig(**PATCHES, **WIDER))


def vit_features(model: Any, pixels: Tensor) -> Tensor:
    return getattr(model, "vit", model)(pixels, interpolate_pos_encoding=True).last_hidden_state[:, 1:]  # type: ignore


def swin() -> Any:
    sizes = {"embed_dim": 8, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4, "patch_size": 2, "image_size": 32}
    return t.SwinModel(t.SwinConfig(**sizes))


def clip_vision() -> Any:
    return t.CLIPVisionModel(t.CLIPVisionConfig(**PATCHES, **WIDER))


def clip() -> Any:
    return t.CLIPModel(t.CLIPConfig(text_config=TEXT, vision_config=PATCHES | WIDER))


def clip_features(model: Any, pixels: Tensor) -> Tensor:
    return vision(model)(pixels, output_hidden_states=True, interpolate_pos_encoding=True).hidden_states[-2][:, 1:]  # type: ignore


def siglip_vision() -> Any:
    return t.SiglipVisionModel(t.SiglipVisionConfig(**PATCHES, **WIDER))


def siglip() -> Any:
    return t.SiglipModel(t.SiglipConfig(text_config=TEXT, vision_config=PATCHES | WIDER))


def siglip2_vision() -> Any:
    return t.Siglip2VisionModel(t.Siglip2VisionConfig(**BLOCKS, **WIDER, patch_size=4, num_patches=16))


def siglip2() -> Any:
    naflex = BLOCKS | WIDER | {"patch_size": 4, "num_patches": 16}
    return t.Siglip2Model(t.Siglip2Config(text_config=TEXT, vision_config=naflex))


def siglip2_features(model: Any, pixels: Tensor) -> Tensor:
    if isinstance(vision(model), t.SiglipVisionModel):
        return plain(interpolate_pos_encoding=True)(model, pixels)
    N = (pixels.shape[-1] // 4) ** 2
    processor = t.Siglip2ImageProcessorPil(
        patch_size=4, max_num_patches=N, do_resize=False, do_rescale=False, do_normalize=False
    )
    return vision(model)(**processor(list(pixels), return_tensors="pt")).last_hidden_state  # type: ignore


def dinov2() -> Any:
    return t.Dinov2Model(t.Dinov2Config(**PATCHES))


def dinov2_registers() -> Any:
    return t.Dinov2WithRegistersModel(t.Dinov2WithRegistersConfig(**PATCHES, num_register_tokens=2))


def dinov2_features(model: Any, pixels: Tensor) -> Tensor:
    return plain(1 + getattr(model.config, "num_register_tokens", 0))(model, pixels)


def dinov3() -> Any:
    return t.DINOv3ViTModel(t.DINOv3ViTConfig(**PATCHES | WIDER | {"num_attention_heads": 3}, num_register_tokens=2))


def blip2() -> Any:
    return t.Blip2VisionModel(t.Blip2VisionConfig(**PATCHES, **WIDER))


def mllama() -> Any:
    sizes = {"attention_heads" if key == "num_attention_heads" else key: value for key, value in PATCHES.items()}
    config = t.MllamaVisionConfig(
        **sizes, **WIDER, num_global_layers=1, vision_output_dim=72, intermediate_layers_indices=[0, 1]
    )
    return t.MllamaVisionModel(config)


def mllama_features(model: Any, pixels: Tensor) -> Tensor:
    """Of pictures of 2, 4 and 1 tiles, and for each feature whether its tile is there."""
    count = len(pixels)
    here = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]])[:count]
    tiles = pixels[:, :, :-1].unflatten(2, (4, 16)).transpose(1, 2)
    states = model(tiles[:, None], torch.tensor([2, 6, 1])[:count, None], here[:, None]).last_hidden_state.flatten(1, 3)
    return torch.cat([states, here.repeat_interleave(17, 1)[..., None]], -1)


class Tiles(Tiny):
    """A picture is up to four tiles below each other."""

    def media(self, count: int, size: int) -> Tensor:
        from isthmus.encoders import mllama

        return mllama.pack(super().media(count, size), torch.tensor([2, 6, 1])[:count])


WHISPER = {"d_model": 24, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 32, "decoder_layers": 1}
TOKENS = {"vocab_size": 50, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}


def whisper_config() -> Any:
    sizes = {"num_mel_bins": 8, "max_source_positions": 16, "decoder_attention_heads": 2, "decoder_ffn_dim": 16}
    return t.WhisperConfig(**WHISPER, **TOKENS, **sizes)


def whisper() -> Any:
    return t.WhisperModel(whisper_config())


def whisper_speech() -> Any:
    return t.WhisperForConditionalGeneration(whisper_config())


def whisper_alone() -> Any:
    return WhisperEncoder._from_config(whisper_config())


def whisper_features(model: Any, mel: Tensor) -> Tensor:
    encoder = model if isinstance(model, WhisperEncoder) else model.get_encoder()
    return encoder(mel).last_hidden_state  # type: ignore


def qwen2_audio() -> Any:
    sizes = {key: value for key, value in WHISPER.items() if key != "decoder_layers"}
    return t.Qwen2AudioEncoder(t.Qwen2AudioEncoderConfig(**sizes, num_mel_bins=8, max_source_positions=16))


def wav2vec2_config(norm: str, **more: Any) -> Any:
    conv = {"conv_dim": (8, 8, 8), "conv_kernel": (10, 3, 2), "conv_stride": (5, 2, 2)}
    position = {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
    stable = {"feat_extract_norm": norm, "do_stable_layer_norm": norm == "layer", "conv_bias": norm == "layer"}
    return t.Wav2Vec2Config(**BLOCKS, **WIDER, **conv, **position, **stable, vocab_size=20, **more)


def wav2vec2_base() -> Any:
    return t.Wav2Vec2Model(wav2vec2_config("group"))


def wav2vec2_large() -> Any:
    return t.Wav2Vec2ForCTC(wav2vec2_config("layer", pad_token_id=0))


def wav2vec2_adapter() -> Any:
    return t.Wav2Vec2Model(wav2vec2_config("layer", add_adapter=True, output_hidden_size=12))


def wav2vec2_features(model: Any, waves: Tensor) -> Tensor:
    inner = getattr(model, "wav2vec2", model)
    inner.adapter = None
    return inner(waves).last_hidden_state  # type: ignore


def ast_config() -> Any:
    return t.ASTConfig(
        **BLOCKS, **WIDER, patch_size=4, frequency_stride=3, time_stride=3, max_length=22, num_mel_bins=8
    )


def ast() -> Any:
    return t.ASTModel(ast_config())


def ast_classifier() -> Any:
    return t.ASTForAudioClassification(ast_config())


def ast_features(model: Any, mel: Tensor) -> Tensor:
    states = getattr(model, "audio_spectrogram_transformer", model)(mel).last_hidden_state[:, 2:]
    return torch.stack([states[:, band * 7 + moment] for moment in range(7) for band in range(2)], 1)


def timesformer() -> Any:
    return t.TimesformerModel(t.TimesformerConfig(**PATCHES, **WIDER, num_frames=4))


def timesformer_joint() -> Any:
    config = t.TimesformerConfig(**PATCHES, **WIDER, num_frames=4, attention_type="joint_space_time")
    return t.TimesformerForVideoClassification(config)


def timesformer_space() -> Any:
    return t.TimesformerModel(t.TimesformerConfig(**PATCHES, **WIDER, num_frames=4, attention_type="space_only"))


def timesformer_features(model: Any, clips: Tensor) -> Tensor:
    states = getattr(model, "timesformer", model)(clips).last_hidden_state[:, 1:]
    if model.config.attention_type == "space_only":
        return torch.cat([states[frame::4] for frame in range(4)], 1)
    return torch.cat([states[:, frame::4] for frame in range(4)], 1)


VIDEOMAE = PATCHES | WIDER | {"num_frames": 4, "tubelet_size": 2}


def videomae() -> Any:
    return t.VideoMAEModel(t.VideoMAEConfig(**VIDEOMAE, use_mean_pooling=False))


def videomae_pretraining() -> Any:
    decoder = {"decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2, "decoder_hidden_size": 8}
    return t.VideoMAEForPreTraining(t.VideoMAEConfig(**VIDEOMAE, **decoder, decoder_intermediate_size=8))


def videomae_features(model: Any, clips: Tensor) -> Tensor:
    return getattr(model, "videomae", model)(clips).last_hidden_state  # type: ignore


VIDEOPRISM = {"image_size": 16, "num_frames": 4, "tubelet_size": [1, 4, 4], "hidden_size": 24, "intermediate_size": 32}
PRISM = VIDEOPRISM | {"num_attention_heads": 4, "num_spatial_layers": 2, "num_temporal_layers": 1}


def videoprism() -> Any:
    return t.VideoPrismVisionModel(t.VideoPrismVisionConfig(**PRISM))


def videoprism_classifier() -> Any:
    return t.VideoPrismForVideoClassification(t.VideoPrismVisionConfig(**PRISM))


def videoprism_clip() -> Any:
    text = TEXT | {"hidden_size": 24, "num_attention_heads": 4}
    return t.VideoPrismClipModel(t.VideoPrismConfig(vision_config=PRISM, text_config=text))


def videoprism_features(model: Any, clips: Tensor) -> Tensor:
    inner = vision(getattr(model, "video_model", model))
    return inner(clips, interpolate_pos_encoding=True).last_hidden_state  # type: ignore


SERIES = {"num_input_channels": 3, "context_length": 22, "patch_length": 4, "patch_stride": 4, "ffn_dim": 32}
PATCHTST = SERIES | {"d_model": 24, "num_attention_heads": 4, "num_hidden_layers": 2}


def patchtst() -> Any:
    return t.PatchTSTModel(t.PatchTSTConfig(**PATCHTST))


def patchtst_pretraining() -> Any:
    return t.PatchTSTForPretraining(t.PatchTSTConfig(**PATCHTST, do_mask_input=True, use_cls_token=True))


def patchtst_features(model: Any, series: Tensor) -> Tensor:
    inner = getattr(model, "model", model)
    inner.do_mask_input, inner.masking = False, torch.nn.Identity()
    states = inner(series.mT).last_hidden_state[:, :, int(model.config.use_cls_token) :]
    return torch.stack([states[:, channel, patch] for patch in range(5) for channel in range(3)], 1)


def points_config(**more: Any) -> Any:
    sizes = BLOCKS | WIDER | {"num_groups": 6, "group_size": 5, "decoder_layers": 1}
    return points.PointTransformerConfig(**sizes, **more)


def point_transformer() -> Any:
    return points.PointTransformerModel(points_config())


def point_pretraining() -> Any:
    return points.PointTransformerForMaskedPretraining(points_config())


def points_features(model: Any, clouds: Tensor) -> Tensor:
    return getattr(model, "encoder", model)(clouds).last_hidden_state  # type: ignore


MASK = {"embeddings.mask_token": "stands for hidden patches in pretraining"}
NORM = {f"post_layernorm.{kind}": "for the pooled output" for kind in ("weight", "bias")}
MEL = {"feature_size": 8, "hop_length": 160, "chunk_length": 1, "n_fft": 400, "feature_extractor_type": "Whisper"}
CLIP = {"shape": lambda size: (4, 3, size, size), "prepared": SQUARE}

TINY: dict[str, Tiny] = {
    "vit": Tiny([vit, vit_classifier], vit_features),
    "swin": Tiny([swin], plain(), sizes=(16, 32, 42)),
    "clip": Tiny([clip_vision, clip], clip_features, unused=NORM),
    "clip-whole": Tiny([clip_vision, clip], plain(interpolate_pos_encoding=True), unused=NORM),
    "siglip": Tiny([siglip_vision, siglip], plain(interpolate_pos_encoding=True)),
    "siglip2": Tiny([siglip2_vision, siglip2, siglip_vision, siglip], siglip2_features, prepared=SQUARE),
    "dinov2": Tiny([dinov2, dinov2_registers], dinov2_features, unused=MASK),
    "dinov3": Tiny([dinov3], plain(3), prepared=SQUARE, unused=MASK),
    "vit-s": Tiny([dinov2], dinov2_features, unused=MASK),
    "blip2": Tiny([blip2], plain(interpolate_pos_encoding=True)),
    "mllama": Tiles([mllama], mllama_features, (16,), lambda size: (4, 3, size, size)),
    "whisper": Tiny([whisper, whisper_speech, whisper_alone], whisper_features, (32,), lambda n: (8, n), MEL),
    "qwen2-audio": Tiny([qwen2_audio], plain(), (32,), lambda n: (8, n), MEL),
    "wav2vec2": Tiny(
        [wav2vec2_base, wav2vec2_large, wav2vec2_adapter],
        wav2vec2_features,
        (200, 333),
        lambda n: (n,),
        {"do_normalize": True},
        {"masked_spec_embed": "stands for hidden spans while it is trained"},
    ),
    "audio-spectrogram-transformer": Tiny(
        [ast, ast_classifier], ast_features, (22,), lambda n: (n, 8), {"num_mel_bins": 8, "mean": -4.0, "std": 2.0}
    ),
    "timesformer": Tiny([timesformer, timesformer_joint, timesformer_space], timesformer_features, (16,), **CLIP),
    "videomae": Tiny([videomae, videomae_pretraining], videomae_features, (16,), **CLIP),
    "videoprism": Tiny([videoprism, videoprism_classifier, videoprism_clip], videoprism_features, (16, 24), **CLIP),
    "point-transformer": Tiny([point_transformer, point_pretraining], points_features, (20, 31), lambda n: (n, 3)),
    "patchtst": Tiny([patchtst, patchtst_pretraining], patchtst_features, (22,), lambda n: (3, n)),
}
