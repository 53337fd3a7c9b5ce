"""`llava`: LLaVA-1.5 and its kin, CLIP -> MLP -> LLM (Liu et al., 2023, arXiv:2310.03744), as llava-hf has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import LlavaForConditionalGeneration

from isthmus.data import frames
from isthmus.data.packing import Frame
from isthmus.errors import PartUnavailable
from isthmus.model import build
from isthmus.model.importers import _parts

ABOUT = "LLaVA (llava-hf): CLIP, two linear layers, any decoder-only LLM"


def read(folder: Path) -> _parts.Imported:
    """The composed model and processor. Raises `PartUnavailable` for encoders but CLIP, or several feature layers."""
    model = _parts.original(LlavaForConditionalGeneration, folder)
    config = model.config
    _parts.require(folder, config.vision_config, model_type="clip_vision_model")
    _parts.require(folder, config, projector_hidden_act="gelu", multimodal_projector_bias=True)
    if not isinstance(config.vision_feature_layer, int):
        raise PartUnavailable(
            f"{folder}: features of several layers ({config.vision_feature_layer}) cannot be imported"
        )
    vision = model.model.vision_tower
    depth = vision.config.num_hidden_layers
    kept = config.vision_feature_layer % (depth + 1)  # of the hidden states, the first is what enters layer 0
    del vision.encoder.layers[kept:]
    vision.config.num_hidden_layers = kept
    name = "clip" if config.vision_feature_select_strategy == "default" else "clip-whole"
    llm = _parts.causal(config.text_config, model.model.language_model, model.lm_head)
    llm.generation_config = model.generation_config
    options = {"name": name, "size": vision.config.image_size}
    ours, connector = _parts.composed(llm, "image", vision, options, {"name": "mlp"})
    projector = model.model.multi_modal_projector
    connector.linear_1, connector.linear_2 = projector.linear_1, projector.linear_2
    tokenizer = _parts.tokenizer(folder)
    return build.freeze(ours), _parts.processor(ours, tokenizer, _parts.images(folder), frame(tokenizer))


def frame(tokenizer: Any) -> Frame | None:
    """ChatML where the tokenizer has its tokens; else Vicuna's (the chat template of llava-hf/llava-1.5-7b-hf)."""
    if frames.chatml(tokenizer) and tokenizer.eos_token:
        return None
    begin, _ = _parts.ends(tokenizer)
    end = tokenizer.eos_token
    return Frame(begin, ("", " "), "USER: ", ("", "\n"), "", " ASSISTANT:", end, "", " ")
