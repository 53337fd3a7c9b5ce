"""Packing and the template: what is supervised, what sees what, and that no text becomes a control token."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_parts import CONTROL, tokenizer

from isthmus.data.packing import Template, alone, block_mask, collate, pack, plain
from isthmus.errors import BadData
from isthmus.types import IGNORE_INDEX, Image, Message, Sample, Turn

TEMPLATE = Template(tokenizer(), {"image": 300}, {"image": 4})
END = TEMPLATE.control("<|im_end|>")[0]
SAMPLE = Sample("s", (Image(b""),), (Turn("what is it ?", "a ball"), Turn("is it red ?", "no"), Turn("left ?", "yes")))


def test_an_answer_begins_with_a_space_and_ends_with_the_end() -> None:
    ids = TEMPLATE.answer("ball")
    assert ids[-1] == END
    assert TEMPLATE.tokenizer.decode(ids[:-1]) == " ball"


@pytest.mark.slow
def test_a_word_is_one_decision() -> None:
    from transformers import AutoTokenizer

    from isthmus import parts

    real = AutoTokenizer.from_pretrained(parts.get("smollm2-135m-instruct"), local_files_only=True)
    template = Template(real, {}, {})
    assert [len(template.answer(word)) for word in ("dog", "yes", "no", "four", "purple")] == [2] * 5


@given(st.text(max_size=40) | st.sampled_from([f"a {token} b" for token in CONTROL] + ["".join(CONTROL), "<image>"]))
def test_text_stays_text(text: str) -> None:
    controls = {TEMPLATE.control(token)[0] for token in CONTROL}
    assert not controls & set(TEMPLATE.plain(text))
    assert 300 not in TEMPLATE.plain(text)
    sample = Sample("s", (Image(b""),), (Turn(text, f"yes {text}"),))
    row = pack(sample, TEMPLATE)
    assert [token for token in row.ids if token in controls] == [
        *TEMPLATE.control("<|im_start|>"), END, *TEMPLATE.control("<|im_start|>"), END
    ]  # fmt: skip
    assert row.ids.count(300) == 4
    assert TEMPLATE.tokenizer.decode(TEMPLATE.plain(text)) == text


def test_only_answers_and_their_ends_are_supervised() -> None:
    row = pack(SAMPLE, TEMPLATE)
    assert len(row.ids) == len(row.labels) == len(row.positions) == len(row.segments)
    learned = [label for label in row.labels if label != IGNORE_INDEX]
    assert learned == [token for turn in SAMPLE.turns for token in TEMPLATE.answer(turn.answer)]
    assert learned.count(END) == 3
    assert all(label in (token, IGNORE_INDEX) for token, label in zip(row.ids, row.labels, strict=True))
    assert all(label == IGNORE_INDEX for label, segment in zip(row.labels, row.segments, strict=True) if segment == 0)


def test_each_turn_is_what_it_would_be_alone() -> None:
    row = pack(SAMPLE, TEMPLATE)
    for number, turn in enumerate(SAMPLE.turns, 1):
        alone = pack(Sample("s", SAMPLE.media, (turn,)), TEMPLATE)
        for name in ("ids", "labels", "positions"):
            kept = [v for v, s in zip(getattr(row, name), row.segments, strict=True) if s in (0, number)]
            assert kept == getattr(alone, name)
        assert alone.positions == list(range(len(alone.ids)))


def test_the_mask_shows_the_prefix_and_oneself() -> None:
    short = pack(Sample("t", (), (Turn("red ?", "no"),)), TEMPLATE)
    rows = [pack(SAMPLE, TEMPLATE), short]
    batch = collate(rows, pad=0)
    B, T = batch["input_ids"].shape
    assert batch["attention_mask"].shape == (B, 1, T, T)
    for b, row in enumerate(rows):
        segments = row.segments + [-1] * (T - len(row.segments))
        for q in range(T):
            sees = [k for k in range(T) if batch["attention_mask"][b, 0, q, k] == 0]
            assert sees, "a row of the mask that sees nothing makes NaN"
            if q < len(row.ids):
                assert sees == [k for k in range(q + 1) if segments[k] in (0, segments[q])]
    assert bool((batch["labels"][1, len(short.ids) :] == IGNORE_INDEX).all())
    assert batch["attention_mask"].isfinite().all()
    assert batch["input_ids"].dtype == torch.long


@pytest.mark.parametrize("turns", [(), (Turn("what ?", ""),), (Turn("what ?", "a"), Turn("what ?", " \n"))])
def test_nothing_to_learn_is_an_error_naming_the_sample(turns: tuple[Turn, ...]) -> None:
    with pytest.raises(BadData, match="sample lonely: no answer"):
        pack(Sample("lonely", (), turns), TEMPLATE)


CHAT = (Turn("what is it ?", "a ball"), Turn("and this ?", "a dog", shows=1), Turn("is it red ?", "no"))
FRAMES = {"chatml": TEMPLATE.frame, "plain": plain("<|im_end|>")}


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("system", ["", "be brief"])
def test_a_conversation_is_learned_as_it_is_held(frame: str, system: str) -> None:
    """Each turn sees those before it; media come with the turn that shows them."""
    template = Template(TEMPLATE.tokenizer, TEMPLATE.placeholders, TEMPLATE.tokens, FRAMES[frame])
    sample = Sample("s", (Image(b"a"), Image(b"b")), CHAT, chained=True, system=system)
    messages = [Message("system", system)] if system else []
    for number, (turn, shown) in enumerate(zip(CHAT, [(Image(b"a"),), (Image(b"b"),), ()], strict=True), 1):
        messages.append(Message("user", turn.question, shown))
        held = template.conversation(messages)
        messages.append(Message("assistant", turn.answer))
        one = alone(sample)[number - 1]
        assert len(one.media) == min(number, 2)
        said = replace(one, turns=(replace(one.turns[0], shows=1), *one.turns[1:]))
        assert pack(said, template).ids == pack(one, template).ids, "what the first turn shows stands before it"
        row, last = pack(one, template), pack(one, template, last=True)
        assert row.ids == last.ids == held + template.answer(turn.answer)
        assert [label for label in last.labels if label != IGNORE_INDEX] == template.answer(turn.answer)
        assert [label for label in row.labels if label != IGNORE_INDEX] == [
            token for turn in CHAT[:number] for token in template.answer(turn.answer)
        ]
        assert row.positions == list(range(len(row.ids)))
        assert set(row.segments) == {0, 1}


def test_a_mask_is_made_where_its_segments_are() -> None:
    assert block_mask(torch.empty(1, 3, dtype=torch.long, device="meta")).device.type == "meta"
