"""Chat templates as their makers' tokenizers have them, reduced to messages of words, and tokenizers of their kinds."""

from __future__ import annotations

import json
from typing import Any

from tiny_parts import WORDS, tokenizer
from transformers import PreTrainedTokenizerFast

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DEFAULT = (
    "{% if messages[0].role != 'system' %}"
    "{{ '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n' }}"
    "{% endif %}"
)
QWEN3 = (
    "{% set ns = namespace(last=0) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and loop.index0 > ns.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{% endif %}"
)
LLAMA2 = (
    "{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}{% set system = messages[0].content %}"
    "{% else %}{% set rest = messages %}{% set system = false %}{% endif %}"
    "{% for m in rest %}{% if loop.first and system is not false %}"
    "{% set content = '<<SYS>>\n' + system + '\n<</SYS>>\n\n' + m.content %}"
    "{% else %}{% set content = m.content %}{% endif %}"
    "{% if m.role == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{% for m in messages %}"
    "{% set text = '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' %}"
    "{{ (bos_token if loop.first else '') + text }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LLAMA32 = (
    "{{ bos_token }}{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "{% if messages[0].role == 'system' %}{% set said = messages[0].content | trim %}{% set messages = messages[1:] %}"
    "{% else %}{% set said = '' %}{% endif %}"
    "{{ '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: ' }}"
    "{{ date_string + '\n\n' + said + '<|eot_id|>' }}" + LLAMA3.replace("(bos_token if loop.first else '') + ", "")
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system messages') }}"
    "{% elif m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}"
)
FALCON = (
    "{% for m in messages %}{{ ('User: ' if m.role == 'user' else 'Falcon: ') + m.content + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Falcon:' }}{% endif %}"
)


def bytelevel(template: str, control: list[str], end: str, **more: Any) -> PreTrainedTokenizerFast:
    """A byte-level BPE, as GPT-2, Llama 3, Qwen and SmolLM have, with a chat template."""
    made = tokenizer(control, end, **more)
    made.chat_template = template
    return made


def sentencepiece(template: str | None = None, legacy: bool = True) -> PreTrainedTokenizerFast:
    """A BPE with byte fallback that puts a space before a text, as LLaMA, Llama 2 and Vicuna have.

    `legacy` ones put it after each control token as well.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    bpe = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    whole = [f"\N{LOWER ONE EIGHTH BLOCK}{word}" for word in f"{WORDS} [INST] [/INST] USER: ASSISTANT:".split()]
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))],
        initial_alphabet=[chr(code) for code in range(33, 127)] + ["\N{LOWER ONE EIGHTH BLOCK}"],
        show_progress=False,
    )
    bpe.train_from_iterator([whole] * 3, trainer)
    facts = json.loads(bpe.to_str())
    facts["added_tokens"] = [token for token in facts["added_tokens"] if not token["content"].startswith("<0x")]
    bpe = Tokenizer.from_str(json.dumps(facts))
    block = "\N{LOWER ONE EIGHTH BLOCK}"
    if legacy:
        bpe.normalizer = normalizers.Sequence([normalizers.Prepend(block), normalizers.Replace(" ", block)])
    else:
        bpe.pre_tokenizer = pre_tokenizers.Metaspace(block, "first", False)
    bpe.decoder = decoders.Sequence(
        [decoders.Replace(block, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=template
    )


def unigram() -> PreTrainedTokenizerFast:
    """A unigram model as T5 has: white space is one space, and `</s>` ends a text."""
    from transformers import T5Tokenizer

    block = "\N{LOWER ONE EIGHTH BLOCK}"
    letters = [(chr(code), -6.0) for code in range(33, 127)]
    words = [(f"{block}{word}", -3.0) for word in dict.fromkeys(WORDS.split())]
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), (block, -4.0), *words, *letters]
    return T5Tokenizer(vocab=list(dict(vocab).items()), extra_ids=0)
