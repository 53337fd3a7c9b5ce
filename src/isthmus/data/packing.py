"""Samples become rows of tokens: the template, the placeholders, and one prefix shared by many turns.

A row is a *prefix* (the media) followed by the sample's turns. Every turn attends to the prefix and to itself only,
and its positions restart where the prefix ends, so each turn sees exactly what it would see alone and the prefix is
computed once:

        prefix       turn 1      turn 2            position  0 1 2 3  4 5 6  4 5 6
      [ x x x x ]  [ . . . ]   [ . . . ]           segment   0 0 0 0  1 1 1  2 2 2

The turns of a conversation are chained: one segment, in which each sees those before it, with its own media.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from isthmus.errors import BadData
from isthmus.types import IGNORE_INDEX, Message, Sample

Slots = str | tuple[str, int]  # a medium of this kind, with as many slots as usual or as said

# Whether control tokens are parsed is a switch inside the tokenizer: a second thread must not find it turned.
_TOKENIZING = threading.Lock()


@dataclass(frozen=True)
class Frame:
    """The control text around what people and media say, as an LLM was trained to read it. The default is ChatML.

    Args:
        start: what a conversation begins with.
        preset: what follows it where no system message does: a default one, say.
        system: around a system message; None for an LLM that knows none.
        user: what a user's turn begins with.
        medium: around each medium's slots.
        media: between the media of a turn and its text.
        assistant: between a user's text and the assistant's.
        open: what follows before the answer that is to be given, and not in earlier turns: an empty thought, say.
        end: what ends an assistant's text. Supervised: the LLM learns to stop there.
        then: between that and the next turn.
        space: what an answer begins with; byte-pair vocabularies hold most words as one token only with a space.
        ask: the same for a question.
    """

    start: str = ""
    system: tuple[str, str] | None = ("<|im_start|>system\n", "<|im_end|>\n")
    user: str = "<|im_start|>user\n"
    medium: tuple[str, str] = ("", "")
    media: str = "\n"
    assistant: str = "<|im_end|>\n<|im_start|>assistant\n"
    end: str = "<|im_end|>"
    then: str = "\n"
    space: str = " "
    ask: str = ""
    preset: str = ""
    open: str = ""


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

    def control(self, text: str, after: str | None = None) -> list[int]:
        """Tokens of the template itself, control tokens included: what they are after this control text ("": first)."""
        return self._tokens(text, False, after)

    def plain(self, text: str) -> list[int]:
        """Tokens of a person's or a dataset's text: `<|im_end|>` in it is ten ordinary characters."""
        return self._tokens(text, True)

    def text(self, text: str) -> list[int]:
        """Tokens of a text that is no conversation, begun as the tokenizer begins one, without control tokens."""
        with _TOKENIZING:
            return list(self.tokenizer(text, split_special_tokens=True).input_ids)

    @cached_property
    def _anchor(self) -> str:
        """A line break, for a tokenizer that begins every text as if a space stood before it; else nothing.

        Such a one (SentencePiece's, as Llama 2 has) is given pieces after a line break, which is then taken off.
        """
        line, piece, both = (self._tokens(text, True, "") for text in ("\n", "a", "\na"))
        return "\n" if both != line + piece else ""

    def _tokens(self, text: str, split_special_tokens: bool, after: str | None = None) -> list[int]:
        before = self._anchor if after is None else after

        def ids(text: str) -> list[int]:
            found = self.tokenizer(text, add_special_tokens=False, split_special_tokens=split_special_tokens)
            return list(found.input_ids)

        with _TOKENIZING:
            return ids(before + text)[len(ids(before)) if before else 0 :] if text else []

    def opening(self, lead: str | None = None) -> str:
        """The control text before a user's words or media: after `lead`, or at the start of a conversation (None)."""
        return (self.frame.start + self.frame.preset if lead is None else lead) + self.frame.user

    def space(self, lead: str | None = None) -> str:
        """The spaces at the end of `opening`. They belong to the word that follows, as tokenizers see it."""
        opening = self.opening(lead)
        return opening[len(opening.rstrip(" ")) :]

    def begin(self, media: Sequence[Slots], system: str = "") -> tuple[list[int], str]:
        """What a conversation begins with, up to its first question, and that question's `space`."""
        lead = self.frame.system[1] if system and self.frame.system else None
        before = self.system(system) if system else []
        return before + self.prefix(media, lead), "" if media else self.space(lead)

    def prefix(self, media: Iterable[Slots], lead: str | None = None) -> list[int]:
        """What stands before a question about these media; see `opening`. Without any, its `space` is left out."""
        frame, slots = self.frame, []
        for medium in media:
            kind, count = (medium, self.tokens[medium]) if isinstance(medium, str) else medium
            before, after = map(self.control, frame.medium)
            slots += before + [self.placeholders[kind]] * count + after
        opening = self.opening(lead)
        text = opening if slots else opening.rstrip(" ")
        behind = "" if lead is None else frame.end if lead == frame.then else None
        return self.control(text, behind) + slots + (self.control(frame.media) if slots else [])

    def question(self, text: str, space: str = "", last: bool = True) -> list[int]:
        """The rest of the user's turn, up to where the assistant begins.

        Args:
            text: what is asked.
            space: of the opening, where no media stand between (`prefix`).
            last: whether this is what is to be answered now.
        """
        frame = self.frame
        return self.plain(f"{space}{frame.ask}{text}") + self.control(frame.assistant + (frame.open if last else ""))

    def answer(self, text: str) -> list[int]:
        """The supervised part: the answer and the token that ends it.

        With ChatML it starts with a space, so that most one-word answers are one token, one decision.
        """
        return self.plain(f"{self.frame.space}{text}") + self.control(self.frame.end)

    def system(self, text: str) -> list[int]:
        """A system message, which opens a conversation, without what follows it."""
        if self.frame.system is None:
            raise BadData("this LLM's chat template knows no system message. Say it in the question")
        before = self.frame.start + self.frame.system[0]
        words = before.rstrip(" ")
        return self.control(words, "") + self.plain(before[len(words) :] + text)

    def conversation(self, messages: Sequence[Message], slots: Iterator[Sequence[Slots]] | None = None) -> list[int]:
        """The tokens of messages, up to where the assistant begins to answer.

        `slots` gives the pieces of each medium in reading order; without it, each is one piece of the usual length.
        Raises `BadData` for a system message that the LLM's template has no place for.
        """
        ids: list[int] = []
        lead: str | None = None
        for number, message in enumerate(messages, 1):
            if message.role == "user":
                pieces = [piece for m in message.media for piece in (next(slots) if slots else [m.kind])]
                ids += self.prefix(pieces, lead)
                ids += self.question(message.text, "" if pieces else self.space(lead), number == len(messages))
                lead = ""
            elif message.role == "system":
                ids += (self.control(lead) if lead else []) + self.system(message.text)
                lead = self.frame.system[1] if self.frame.system else ""
            else:
                ids += self.answer(message.text)
                lead = self.frame.then
        return ids


@dataclass(frozen=True)
class Row:
    """One sample as tokens: ids, labels, positions and segments, all of one length."""

    sample: Sample
    ids: list[int]
    labels: list[int]
    positions: list[int]
    segments: list[int]


def pack(sample: Sample, template: Template, media: Sequence[Sequence[Slots]] | None = None, last: bool = False) -> Row:
    """The sample's media once, then its turns, which do not see each other unless they are chained.

    `media` gives the pieces of each medium, where these are not one of the usual length. With `last`, only the last
    turn is supervised. Raises `BadData` naming a sample in which nothing is: no turns, or a turn without an answer.
    """
    if not sample.turns or not all(turn.answer.strip() for turn in sample.turns):
        raise BadData(f"sample {sample.id}: no answer to learn from. Give every turn an answer, or leave it out")
    shown = [[medium.kind] for medium in sample.media] if media is None else list(media)
    later = len(shown) - sum(turn.shows for turn in sample.turns[1:])  # those of the first stand before all
    first, rest = [piece for pieces in shown[:later] for piece in pieces], iter(shown[later:])
    ids, space = template.begin(first, sample.system)
    start = len(ids)
    labels, positions, segments = [IGNORE_INDEX] * start, list(range(start)), [0] * start
    for number, turn in enumerate(sample.turns, 1):
        own: list[int] = []
        if sample.chained and number > 1:
            pieces = [piece for medium in itertools.islice(rest, turn.shows) for piece in medium]
            own = template.prefix(pieces, template.frame.then)
            space = "" if pieces else template.space(template.frame.then)
        own += template.question(turn.question, space, not sample.chained or number == len(sample.turns))
        answer, length = template.answer(turn.answer), len(ids)
        ids += own + answer
        labels += [IGNORE_INDEX] * len(own)
        labels += answer if not last or number == len(sample.turns) else [IGNORE_INDEX] * len(answer)
        begin = length if sample.chained else start
        positions += range(begin, begin + len(own) + len(answer))
        segments += [1 if sample.chained else number] * (len(own) + len(answer))
    return Row(sample, ids, labels, positions, segments)


def alone(sample: Sample) -> list[Sample]:
    """Each turn by itself, as the last one: behind the media and, where turns are chained, the turns before it.

    >>> from isthmus.types import Turn
    >>> some = Sample("s", (), (Turn("a", "b"), Turn("c", "d")), chained=True)
    >>> [[turn.question for turn in one.turns] for one in alone(some)]
    [['a'], ['a', 'c']]
    """
    if not sample.chained:
        return [replace(sample, turns=(turn,)) for turn in sample.turns]
    turns = sample.turns
    left = [len(sample.media) - sum(turn.shows for turn in turns[number:]) for number in range(1, len(turns) + 1)]
    return [replace(sample, media=sample.media[:count], turns=turns[: i + 1]) for i, count in enumerate(left)]


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
    causal = torch.ones(length, length, dtype=torch.bool, device=segments_BT.device).tril()
    sees = causal & ((key == query) | (key == 0))
    mask = torch.zeros(sees.shape, device=sees.device).masked_fill_(~sees, torch.finfo(torch.float32).min)
    return mask.unsqueeze(1)
