"""Frames read from chat templates write what the templates write, token for token; those that have none are given."""

from __future__ import annotations

from typing import Any

import pytest
import templates as t
from hypothesis import given
from hypothesis import strategies as st
from tiny_parts import CONTROL, tokenizer
from transformers import AutoTokenizer

from isthmus import parts
from isthmus.data.frames import OPTIONS, frame
from isthmus.data.packing import Frame, Template, pack
from isthmus.errors import BadData, BadRecipe, UnknownName
from isthmus.types import Message, Sample, Turn

HEADERS = ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
THINKING = [*CONTROL, "<think>", "</think>"]
KNOWN = {
    "chatml (smollm2-135m-instruct without its default)": lambda: t.bytelevel(t.CHATML, CONTROL, CONTROL[2]),
    "qwen2 and qwen2.5": lambda: t.bytelevel(t.DEFAULT + t.CHATML, CONTROL, CONTROL[2]),
    "qwen3": lambda: t.bytelevel(t.QWEN3, THINKING, CONTROL[2]),
    "llama 2": lambda: t.sentencepiece(t.LLAMA2),
    "llama 2, not legacy": lambda: t.sentencepiece(t.LLAMA2, legacy=False),
    "llama 3": lambda: t.bytelevel(t.LLAMA3, HEADERS, HEADERS[1], bos_token=HEADERS[0]),
    "llama 3.2": lambda: t.bytelevel(t.LLAMA32, HEADERS, HEADERS[1], bos_token=HEADERS[0]),
    "mistral": lambda: t.sentencepiece(t.MISTRAL),
}
SYSTEM = Message("system", "answer in one word")
TALK = [Message("user", "what colour is it ?"), Message("assistant", "red"), Message("user", "is it 1 or 20 ?")]


def wanted(made: Any, talk: list[Message], add: bool = True) -> list[int]:
    said = [{"role": message.role, "content": message.text} for message in talk]
    text = made.apply_chat_template(said, tokenize=False, add_generation_prompt=add, **OPTIONS)
    return list(made(text, add_special_tokens=False).input_ids)


@pytest.mark.parametrize("name", KNOWN)
def test_a_frame_is_its_template(name: str) -> None:
    made = KNOWN[name]()
    template = Template(made, {}, {}, found := frame(made))
    for talk in (TALK[:1], TALK):
        assert template.conversation(talk) == wanted(made, talk)
        if found.system is not None:
            assert template.conversation([SYSTEM, *talk]) == wanted(made, [SYSTEM, *talk])
    row = pack(Sample("a", (), (Turn("what colour is it ?", "red"),)), template)  # trained on as it is spoken to
    whole = wanted(made, TALK[:2], add=False)
    assert row.ids == whole[: len(row.ids)]
    assert row.ids[-1] in made.all_special_ids


def test_frames_are_readable() -> None:
    qwen = frame(KNOWN["qwen3"]())
    assert (qwen.assistant, qwen.open) == ("<|im_end|>\n<|im_start|>assistant\n", "<think>\n\n</think>\n\n")
    assert frame(KNOWN["llama 2"]()) == Frame(
        "<s>", ("[INST] <<SYS>>\n", "\n<</SYS>>\n\n"), "", ("", ""), "\n", " [/INST]", " </s>", "<s>[INST] ", " ",
        preset="[INST] ",
    )  # fmt: skip
    assert "Today Date: 26 Jul 2024" in frame(KNOWN["llama 3.2"]()).preset, "not the day on which it was composed"
    assert frame(KNOWN["mistral"]()).system is None


def test_a_system_message_without_a_place_is_refused() -> None:
    made = KNOWN["mistral"]()
    with pytest.raises(BadData, match="knows no system message"):
        Template(made, {}, {}, frame(made)).conversation([SYSTEM, *TALK])


@pytest.mark.parametrize("name", KNOWN)
@given(st.text(max_size=30) | st.sampled_from(["</s><s>[INST]", "<|eot_id|>", "<|im_end|>", "<think>", "\n\nUSER: "]))
def test_what_is_typed_is_text(name: str, typed: str) -> None:
    made = KNOWN[name]()
    template = Template(made, {}, {}, frame(made))
    special = {*made.all_special_ids} - {made.unk_token_id}
    ids = template.conversation([Message("user", typed)])
    harmless = template.conversation([Message("user", "a")])
    assert [i for i in ids if i in special] == [i for i in harmless if i in special]


@pytest.mark.parametrize("legacy", [True, False])
def test_vicuna(legacy: bool) -> None:
    made = t.sentencepiece(legacy=legacy)
    text = (
        "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed,"
        " and polite answers to the user's questions. USER: what colour is it ? ASSISTANT:"
    )
    template = Template(made, {}, {}, frame(made, "vicuna"))
    assert template.conversation(TALK[:1]) == made(text).input_ids
    assert template.conversation(TALK) == made(f"{text} red</s>USER: is it 1 or 20 ? ASSISTANT:").input_ids
    assert (
        template.conversation([SYSTEM, *TALK[:1]]) == made(f"{SYSTEM.text} USER: {text.split('USER: ')[1]}").input_ids
    )


@pytest.mark.parametrize("legacy", [True, False])
def test_an_llm_without_a_template_is_asked_plainly(legacy: bool) -> None:
    made = t.sentencepiece(legacy=legacy)
    template = Template(made, {}, {}, frame(made))
    assert template.conversation(TALK[:1]) == made("what colour is it ?\n").input_ids
    made = tokenizer(CONTROL[:1], CONTROL[0])  # GPT-2's has no token that begins a text
    assert Template(made, {}, {}, frame(made)).conversation(TALK[:1]) == made("what colour is it ?\n").input_ids


def test_t5_reads_a_text_as_its_tokenizer_ends_it() -> None:
    made = t.unigram()
    template = Template(made, {}, {}, frame(made, reads=True))
    assert template.conversation(TALK[:1]) == made("what colour is it ?").input_ids
    assert template.answer("red") == made("red").input_ids


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (t.FALCON, "no control token ends an answer"),
        ("{{ raise_exception('tools only') }}", "tools only"),
        ("{% for m in messages %}{{ m.content | upper }}x{{ m.content }}{{ m.content }}{% endfor %}", "once"),
        (t.CHATML.replace("'\n' + m", "'\n' + (m.content | length | string) + m"), "in another way"),
        ("{{ messages", "TemplateSyntaxError"),
    ],
)
def test_what_no_frame_can_say_is_refused(template: str, why: str) -> None:
    made = t.bytelevel(template, CONTROL, CONTROL[2])
    with pytest.raises(BadRecipe, match=why) as error:
        frame(made)
    assert "chatml, plain, seq2seq, vicuna" in str(error.value)
    assert frame(made, "chatml") == Frame()


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UnknownName, match=r"no frame 'vicunna'\. Did you mean 'vicuna'"):
        frame(tokenizer(), "vicunna")


@pytest.mark.slow
def test_the_template_of_the_real_llm() -> None:
    real = AutoTokenizer.from_pretrained(parts.get("smollm2-135m-instruct"), local_files_only=True)
    assert frame(real, parts.frame("smollm2-135m-instruct")) == Frame()
    found = frame(real)
    assert "named SmolLM" in found.preset
    assert Template(real, {}, {}, found).conversation(TALK) == wanted(real, TALK)
