"""`llava-hf`: the layout of LLaVA in transformers (LlavaForConditionalGeneration), as llava-hf releases it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from transformers import AddedToken, LlavaConfig, LlavaProcessor

from isthmus.model.exporters import _llava

ABOUT = "transformers' LLaVA: a model of clip or clip-whole, mlp and a decoder-only LLM"
LOADS = "LlavaForConditionalGeneration and AutoProcessor of transformers, by `from_pretrained` of that folder"
IMAGE = "<image>"
ENCODERS = {"clip": "default", "clip-whole": "full"}  # -> what LLaVA calls taking features without, or with, the class


def write(model: Any, processor: Any, folder: Path) -> None:
    """Write model, tokenizer, image processor and chat template; `model` is changed and not of use afterwards.

    LLaVA looks its placeholder up in the vocabulary: `<image>` is added where the tokenizer has none, with a row of
    the embeddings where they have none to spare, and `generate` is told never to say it. Raises `IsthmusError`.
    """
    _llava.check(model, "llava-hf", list(ENCODERS))
    llm, vision, tokenizer = model.llm, model.encoders["image"], _with_image(processor.tokenizer)
    token = tokenizer.convert_tokens_to_ids(IMAGE)
    if token >= llm.config.vocab_size:
        rows = len(tokenizer) - llm.config.vocab_size
        llm.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        for table in {llm.get_input_embeddings(), llm.get_output_embeddings()}:  # an ordinary token's; it is never said
            table.weight.data[-rows:] = table.weight.data[:-rows].mean(0)
    strategy = ENCODERS[model.config.encoders["image"]["name"].replace("_", "-")]
    decoder = getattr(llm, llm.base_model_prefix)
    tied = llm.get_output_embeddings().weight is llm.get_input_embeddings().weight
    tied = llm.config.tie_word_embeddings = tied and hasattr(decoder, "embed_tokens")  # or LLaVA cannot tie them
    config = LlavaConfig(
        vision_config=vision.config,
        text_config=llm.config,
        image_token_index=token,
        image_seq_length=model.connectors["image"].num_tokens,
        vision_feature_layer=-1,  # the part ends where its features are taken
        vision_feature_select_strategy=strategy,
        tie_word_embeddings=tied,
    )
    config.architectures, config.dtype = ["LlavaForConditionalGeneration"], model.dtype
    parts = {"vision_tower.vision_model": vision.state_dict(), "language_model.model": decoder.state_dict()}
    parts["multi_modal_projector"] = _llava.projector(model.connectors["image"])
    parts["language_model.lm_head"] = {} if tied else llm.get_output_embeddings().state_dict()
    tensors = {f"{part}.{name}": tensor for part, state in parts.items() for name, tensor in state.items()}
    save_file(
        {name: tensor.clone() for name, tensor in tensors.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    model.generation_config.suppress_tokens = [token]
    for facts in (config, model.generation_config):
        facts.save_pretrained(folder)
    LlavaProcessor(
        processor.image_processor,
        tokenizer,
        vision.config.patch_size,
        strategy,
        chat_template(processor.template.frame),
        IMAGE,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)


def _with_image(tokenizer: Any) -> Any:
    """A copy of the tokenizer that has `<image>` as one control token."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_tokens([AddedToken(IMAGE, special=True, normalized=False)], special_tokens=True)
    return tokenizer


def chat_template(frame: Any) -> str:
    """The frame as a Jinja template for messages whose content is a text or a list of texts and images."""

    def say(text: str) -> str:
        return f"{{{{ {json.dumps(text)} }}}}" if text else ""

    text = (
        "{% if m.content is string %}{{ m.content }}{% else %}"
        "{% for c in m.content if c.type == 'text' %}{{ c.text }}{% endfor %}{% endif %}"
    )
    images = (
        "{% if m.content is not string %}{% set seen = m.content | selectattr('type', 'equalto', 'image') | list %}"
        f"{{% for c in seen %}}{say(frame.medium[0])}{IMAGE}{say(frame.medium[1])}{{% endfor %}}"
        f"{{% if seen %}}{say(frame.media)}{{% endif %}}{{% endif %}}"
    )
    system = (
        f"{{% if m.role == 'system' %}}{say(frame.system[0])}{text}{say(frame.system[1])}{{% elif"
        if frame.system is not None
        else "{% if"
    )
    return (
        f"{say(frame.start)}{{% for m in messages %}}"
        f"{{% if loop.first and m.role != 'system' %}}{say(frame.preset)}{{% endif %}}"
        f"{system} m.role == 'user' %}}{say(frame.user)}{images}{say(frame.ask)}{text}{say(frame.assistant)}"
        f"{{% if loop.last %}}{say(frame.open)}{{% endif %}}"
        f"{{% else %}}{say(frame.space)}{text}{say(frame.end)}{say(frame.then)}{{% endif %}}{{% endfor %}}"
    )
