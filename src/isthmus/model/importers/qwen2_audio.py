"""`qwen2-audio`: Qwen2-Audio, a Whisper encoder -> linear -> Qwen (Chu et al., 2024, arXiv:2407.10759)."""

from __future__ import annotations

from pathlib import Path

from transformers import Qwen2AudioForConditionalGeneration

from isthmus.data.packing import Frame
from isthmus.model.build import freeze
from isthmus.model.importers import _parts

ABOUT = "Qwen2-Audio: its audio encoder, one linear layer, Qwen"
SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"


def read(folder: Path) -> _parts.Imported:
    """The composed model and processor.

    The frame is the chat template of Qwen/Qwen2-Audio-7B-Instruct with one clip; it begins with its system message,
    one's own comes after that.
    """
    model = _parts.original(Qwen2AudioForConditionalGeneration, folder)
    llm = _parts.causal(model.config.text_config, model.model.language_model, model.lm_head)
    llm.generation_config = model.generation_config
    audio = model.model.audio_tower
    options = {"name": "qwen2-audio", "size": 2 * audio.config.max_source_positions}
    ours, connector = _parts.composed(llm, "audio", audio, options, {"name": "linear"})
    connector.linear = model.model.multi_modal_projector.linear
    frame = Frame(start=SYSTEM, medium=("Audio 1: <|audio_bos|>", "<|audio_eos|>\n"), media="", space="")
    processor = _parts.processor(ours, _parts.tokenizer(folder), None, frame)
    processor.readers["audio"] = _parts.reader(ours, "audio", folder)
    return freeze(ours), processor
