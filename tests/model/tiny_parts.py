"""Tiny random parts for the tests of the model."""

from __future__ import annotations

import random
from typing import Any

import PIL.Image
import transformers as t
from transformers import GPT2Config, LlamaConfig, PreTrainedConfig, PreTrainedTokenizerFast, T5Config

from isthmus.model import IsthmusModel, IsthmusProcessor
from isthmus.types import Image

WORDS = "what colour is the ball ? is it red blue green yes no two one left of a cube please answer"
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
PARALLEL = ("gptj", "falcon", "gpt-neox")  # attention and feed-forward side by side, as in PaLM
DECODERS = ("llama", "qwen2", "qwen3", "gpt2", *PARALLEL)
Built = tuple[IsthmusModel, IsthmusProcessor]


def tokenizer(control: list[str] = CONTROL, end: str = CONTROL[2], **more: Any) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 300 tokens with the control tokens of SmolLM2, or with others."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=control, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator([WORDS] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=end, pad_token=end, **more)


def llm_config(name: str, wide: bool = False) -> PreTrainedConfig:
    """A tiny LLM of the family `name`; a `wide` Llama can be held in 4 bits."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 300}
    if name == "gpt2":
        still = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}  # gradients are compared in training mode
        return GPT2Config(**sizes, **still, n_positions=256, bos_token_id=1, eos_token_id=2)
    if name == "t5":
        own = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": 300}
        ends = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 2}
        return T5Config(**own, **ends, dropout_rate=0.0, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    ends = {"bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": name == "llama"}
    if name == "gptj":
        return t.GPTJConfig(**sizes, **ends, n_positions=256, rotary_dim=4, n_inner=48)
    if name == "falcon":
        return t.FalconConfig(**sizes, **ends, parallel_attn=True, multi_query=True, max_position_embeddings=256)
    sizes |= {"intermediate_size": 48, "max_position_embeddings": 256}
    sizes |= {"hidden_size": 64, "intermediate_size": 128} if wide else {}
    if name == "gpt-neox":
        return t.GPTNeoXConfig(**sizes, **ends, use_parallel_residual=True)
    sizes |= {"num_key_value_heads": 2} | ({"head_dim": 8} if name == "qwen3" else {})
    return {"llama": LlamaConfig, "qwen2": t.Qwen2Config, "qwen3": t.Qwen3Config}[name](**sizes, **ends)


def noise(seed: str, size: tuple[int, int] = (20, 30)) -> Image:
    """A picture in which every pixel counts, so that no two ways to scale or crop it agree."""
    pixels = random.Random(seed).randbytes(size[0] * size[1] * 3)
    return Image(lambda: PIL.Image.frombytes("RGB", size, pixels))


def picture(colour: str, size: tuple[int, int] = (20, 16)) -> Image:
    """A picture of one colour."""
    return Image(lambda: PIL.Image.new("RGB", size, colour))
