"""`blip-2`: BLIP-2, ViT -> Q-Former -> LLM (Li et al., 2023, arXiv:2301.12597), with OPT or Flan-T5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import Blip2ForConditionalGeneration

from isthmus.data.packing import Frame
from isthmus.model import build
from isthmus.model.importers import _parts

ABOUT = "BLIP-2: its ViT, a Q-Former, OPT or Flan-T5"


def read(folder: Path) -> _parts.Imported:
    """The composed model and processor.

    The frame is the question format of the paper's table 8, "Question: ... Answer:", after the picture and what the
    LLM's tokenizer begins a text with. Raises `PartUnavailable` for Q-Formers of another shape.
    """
    model = _parts.original(Blip2ForConditionalGeneration, folder)
    _parts.require(folder, model.config.qformer_config, use_qformer_text_input=False)
    ours = composed(folder, model, model.vision_model, {})
    tokenizer = _parts.tokenizer(folder)
    begin, finish = _parts.ends(tokenizer)
    frame = Frame("", ("", "\n"), "", ("", ""), begin, f" Answer:{finish}", tokenizer.eos_token, "", " ", "Question: ")
    return ours, _parts.processor(ours, tokenizer, _parts.images(folder), frame)


def composed(folder: Path, model: Any, vision: Any, options: dict[str, Any]) -> Any:
    """A composed model of the modules that BLIP-2 and InstructBLIP both have; `options` are the Q-Former's others."""
    q = model.config.qformer_config
    _parts.require(folder, q, hidden_act="gelu", layer_norm_eps=1e-12)
    shape = {
        "name": "qformer",
        "tokens": model.config.num_query_tokens,
        "hidden": q.hidden_size,
        "layers": q.num_hidden_layers,
        "heads": q.num_attention_heads,
        "cross_every": q.cross_attention_frequency,
        "positions": q.max_position_embeddings,
        "inner": q.intermediate_size,
        "dropout": q.hidden_dropout_prob,
    }
    llm = model.language_model
    encoder = {"name": "blip2", "size": vision.config.image_size}
    ours, connector = _parts.composed(llm, "image", vision, encoder, shape | options)
    connector.qformer.load_state_dict(model.qformer.state_dict())
    connector.queries, connector.linear = model.query_tokens, model.language_projection
    return build.freeze(ours)
