"""Samples become rows of tokens: the template, the placeholders, and one prefix shared by many turns.

A row is a *prefix* (the media) followed by the sample's turns. Every turn attends to the prefix and to itself only,
and its positions restart where the prefix ends, so each turn sees exactly what it would see alone and the prefix is
computed once:

        prefix       turn 1      turn 2            position  0 1 2 3  4 5 6  4 5 6
      [ x x x x ]  [ . . . ]   [ . . . ]           segment   0 0 0 0  1 1 1  2 2 2
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from isthmus.errors import BadData
from isthmus.types import IGNORE_INDEX, Sample

Slots = str | tuple[str, int]  # a medium of this kind, with as many slots as usual or as said

# Whether control tokens are parsed is a switch inside the tokenizer: a second thread must not find it turned.
_TOKENIZING = threading.Lock()


@dataclass(frozen=True)
class Frame:
    """The control text around what people and media say, as an LLM was trained to read it. The default is ChatML.

    Args:
        start: what a conversation begins with.
        system: around a system message.
        user: what a user's turn begins with.
        medium: around each medium's slots.
        media: between the media of a turn and its text.
        assistant: between a user's text and the assistant's.
        end: what ends an assistant's text. Supervised: the LLM learns to stop there.
        then: between that and the next turn.
        space: what an answer begins with; byte-pair vocabularies hold most words as one token only with a space.
        ask: the same for a question.
    """

    start: str = ""
    system: tuple[str, str] = ("<|im_start|>system\n", "<|im_end|>\n")
    user: str = "<|im_start|>user\n"
    medium: tuple[str, str] = ("", "")
    media: str = "\n"
    assistant: str = "<|im_end|>\n<|im_start|>assistant\n"
    end: str = "<|im_end|>"
    then: str = "\n"
    space: str = " "
    ask: str = ""


def plain(end: str, start: str = "") -> Frame:
    """The frame for an LLM that was taught no conversation: question, line, answer, and the token that ends a text.

    >>> plain("</s>").assistant
    '\\n'
    """
    return Frame(start, ("", "\n"), "", ("", ""), "\n", "\n", end, "\n", " ")


@dataclass(frozen=True)
class Template:
    """A frame in pieces, tokenised one by one, so that nothing a user types can become a control token."""

    tokenizer: Any
    placeholders: dict[str, int]
    tokens: dict[str, int]  # kind -> soft tokens of one piece of a medium
    frame: Frame = Frame()

    def control(self, text: str) -> list[int]:
        """Tokens of the template itself, control tokens included."""
        return self._tokens(text, split_special_tokens=False)

    def plain(self, text: str) -> list[int]:
        """Tokens of a person's or a dataset's text: `<|im_end|>` in it is ten ordinary characters."""
        return self._tokens(text, split_special_tokens=True)

    def _tokens(self, text: str, split_special_tokens: bool) -> list[int]:
        with _TOKENIZING:
            found = self.tokenizer(text, add_special_tokens=False, split_special_tokens=split_special_tokens)
        return list(found.input_ids)

    def prefix(self, media: Iterable[Slots], first: bool = True) -> list[int]:
        """What stands before a question about these media; `first` in the conversation or not."""
        frame, slots = self.frame, []
        for medium in media:
            kind, count = (medium, self.tokens[medium]) if isinstance(medium, str) else medium
            before, after = map(self.control, frame.medium)
            slots += before + [self.placeholders[kind]] * count + after
        return (
            self.control((frame.start if first else "") + frame.user)
            + slots
            + (self.control(frame.media) if slots else [])
        )

    def question(self, text: str) -> list[int]:
        """The rest of the user's turn, up to where the assistant begins."""
        return self.plain(f"{self.frame.ask}{text}") + self.control(self.frame.assistant)

    def answer(self, text: str) -> list[int]:
        """The supervised part: the answer and the token that ends it.

        With ChatML it starts with a space, so that most one-word answers are one token, one decision.
        """
        return self.plain(f"{self.frame.space}{text}") + self.control(self.frame.end)

    def system(self, text: str) -> list[int]:
        """A system message, which opens a conversation."""
        before, after = self.frame.system
        return self.control(self.frame.start + before) + self.plain(text) + self.control(after)


@dataclass(frozen=True)
class Row:
    """One sample as tokens: ids, labels, positions and segments, all of one length."""

    sample: Sample
    ids: list[int]
    labels: list[int]
    positions: list[int]
    segments: list[int]


def pack(sample: Sample, template: Template, media: Iterable[Slots] | None = None) -> Row:
    """The sample's media once, then its turns, which do not see each other.

    `media` says how many slots each takes, where that is not what its kind usually does.
    Raises `BadData` naming a sample in which nothing is supervised: no turns, or a turn without an answer.
    """
    if not sample.turns or not all(turn.answer.strip() for turn in sample.turns):
        raise BadData(f"sample {sample.id}: no answer to learn from. Give every turn an answer, or leave it out")
    ids = template.prefix((medium.kind for medium in sample.media) if media is None else media)
    start = len(ids)
    labels, positions, segments = [IGNORE_INDEX] * start, list(range(start)), [0] * start
    for number, turn in enumerate(sample.turns, 1):
        question, answer = template.question(turn.question), template.answer(turn.answer)
        ids += question + answer
        labels += [IGNORE_INDEX] * len(question) + answer
        length = len(question) + len(answer)
        positions += range(start, start + length)
        segments += [number] * length
    return Row(sample, ids, labels, positions, segments)


def packs(model: Any) -> bool:
    """Whether many turns may share a prefix: not where an encoder reads them or a connector asks what they are."""
    return not (model.config.is_encoder_decoder or any(module.reads for module in model.connectors.values()))


def read_and_answer(rows: Sequence[Row]) -> dict[str, Tensor]:
    """Rows of one turn for an encoder-decoder: `input_ids`, `attention_mask` up to the answer, and `labels`, [B, T]."""
    starts = [next(i for i, label in enumerate(row.labels) if label != IGNORE_INDEX) for row in rows]
    reads = [row.ids[:start] for row, start in zip(rows, starts, strict=True)]
    says = [row.ids[start:] for row, start in zip(rows, starts, strict=True)]
    return {
        "input_ids": _filled(reads, 0),
        "attention_mask": _filled([[1] * len(line) for line in reads], 0),
        "labels": _filled(says, IGNORE_INDEX),
    }


def _filled(lines: Sequence[list[int]], value: int) -> Tensor:
    """Lines as one tensor, filled up on the right."""
    return torch.tensor([line + [value] * (max(map(len, lines)) - len(line)) for line in lines])


def collate(rows: Sequence[Row], pad: int) -> dict[str, Tensor]:
    """Rows padded on the right: `input_ids`, `labels`, `position_ids` [B, T], `attention_mask` [B, 1, T, T]."""
    length = max(len(row.ids) for row in rows)

    def padded(name: str, value: int) -> Tensor:
        return torch.tensor([(line := getattr(row, name)) + [value] * (length - len(line)) for row in rows])

    segments = padded("segments", -1)
    return {
        "input_ids": padded("ids", pad),
        "labels": padded("labels", IGNORE_INDEX),
        "position_ids": padded("positions", 0),
        "attention_mask": block_mask(segments),
    }


def block_mask(segments_BT: Tensor) -> Tensor:
    """Scores to add, [B, 1, T, T]: 0 where a token may look, a large negative number elsewhere.

    >>> block_mask(torch.tensor([[0, 1, 2]]))[0, 0].eq(0).int().tolist()
    [[1, 0, 0], [1, 1, 0], [1, 0, 1]]
    """
    query, key = segments_BT.unsqueeze(2), segments_BT.unsqueeze(1)
    length = segments_BT.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    sees = causal & ((key == query) | (key == 0))
    mask = torch.zeros(sees.shape).masked_fill_(~sees, torch.finfo(torch.float32).min)
    return mask.unsqueeze(1)
