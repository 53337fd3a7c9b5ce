"""`instructblip`: InstructBLIP, BLIP-2 whose Q-Former reads the instruction (Dai et al., 2023, arXiv:2305.06500)."""

from __future__ import annotations

from pathlib import Path

from transformers import Blip2VisionConfig, InstructBlipForConditionalGeneration

from isthmus.data.packing import Frame
from isthmus.encoders import blip2 as vit
from isthmus.model.importers import _parts, blip_2

ABOUT = "InstructBLIP: BLIP-2's ViT, a Q-Former that reads the instruction, Vicuna or Flan-T5"
READER = "qformer_tokenizer"  # the folder of the Q-Former's tokenizer
SIZES = (
    "hidden_size intermediate_size num_hidden_layers num_attention_heads image_size patch_size hidden_act "
    "layer_norm_eps attention_dropout qkv_bias"
)


def read(folder: Path) -> _parts.Imported:
    """The composed model and processor, whose `reader` is the Q-Former's tokenizer.

    The LLM is given the instruction as it is, as in the original's processor. Raises `PartUnavailable` as for BLIP-2.
    """
    model = _parts.original(InstructBlipForConditionalGeneration, folder)
    vision = vit.build(Blip2VisionConfig(**_parts.same(model.config.vision_config, SIZES)))
    vision.load_state_dict(model.vision_model.state_dict())
    ours = blip_2.composed(
        folder, model, vision, {"instruction": True, "vocab": model.config.qformer_config.vocab_size}
    )
    tokenizer = _parts.tokenizer(folder)
    begin, finish = _parts.ends(tokenizer)
    frame = Frame("", ("", "\n"), "", ("", ""), begin, finish, tokenizer.eos_token, "", " ")
    processor = _parts.processor(ours, tokenizer, _parts.images(folder), frame)
    processor.reader = _parts.tokenizer(folder / READER)
    return ours, processor
