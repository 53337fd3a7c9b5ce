"""The composed model, its processor and its checkpoints. Importing this makes them known to the Auto classes."""

from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
    AutoProcessor,
)

from isthmus.model.build import compose, freeze, part, unfreeze
from isthmus.model.checkpoint import begin, load, save_full, save_trained
from isthmus.model.composed import IsthmusModel
from isthmus.model.configuration import IsthmusConfig
from isthmus.model.lora import add_lora, merge_lora
from isthmus.model.picture import describe
from isthmus.model.processor import IsthmusProcessor

__all__ = [
    "IsthmusConfig",
    "IsthmusModel",
    "IsthmusProcessor",
    "add_lora",
    "begin",
    "compose",
    "describe",
    "freeze",
    "load",
    "merge_lora",
    "part",
    "save_full",
    "save_trained",
    "unfreeze",
]

AutoConfig.register(IsthmusConfig.model_type, IsthmusConfig, exist_ok=True)
for auto in (AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForMultimodalLM):
    auto.register(IsthmusConfig, IsthmusModel, exist_ok=True)
AutoProcessor.register(IsthmusConfig, IsthmusProcessor, exist_ok=True)
