"""Batch inference: a model's greedy answer to every question of a corpus.

A line of a shard is a question: the sample's `id`, `turn` (from 0 on), `question`, `answer`, `reference` where the
corpus has one. Where it cannot be answered, `answer` is null and `failed` is the reason. Questions about the same media
do not see each other; in a conversation, each is asked behind those before it and the corpus's answers to them.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import send_to_device
from rich.console import Console

from isthmus.bulk.corpus import Corpus, Source
from isthmus.bulk.pool import Line, Pool
from isthmus.bulk.run import Task, drive, loaded, model_facts
from isthmus.data.index import TOLERATE
from isthmus.data.packing import alone
from isthmus.data.seen import Seen
from isthmus.errors import BadData, BadMedia
from isthmus.model.processor import Prepared
from isthmus.train.features import arrays_of, prepared
from isthmus.train.setup import Run
from isthmus.types import Message, Sample

AT_ONCE = 16  # samples whose media are decoded and encoded together
SHARD = 64  # samples
BATCH = 32  # questions
LONGEST = 64  # tokens


@dataclass(frozen=True)
class Asked:
    """A question: its line in the shard, its sample's place among those that are seen, and it as tokens."""

    line: Line
    place: int
    messages: list[Message]
    ids: list[int]

    @property
    def media(self) -> int:
        """How many of its sample's media it is asked about."""
        return sum(len(message.media) for message in self.messages)


class Answerer:
    """Holds a model.

    Args:
        load: the model and its processor, on the CPU.
        longest: tokens of an answer, at most.
        batch: questions that are answered together.
    """

    def __init__(self, corpus: Corpus, load: Callable[[], Run], longest: int, batch: int, device: str) -> None:
        self.corpus, self.run, self.longest, self.batch = corpus, load(), longest, batch
        self.run.model.eval().to(device)

    def close(self) -> None:
        """Nothing is open."""

    @torch.inference_mode()
    def __call__(self, number: int) -> list[Line]:
        """Answer the questions of a shard; those of like length together, because a batch is as long as its longest."""
        samples = [sample for sample, _ in self.corpus.shard(number)]
        lines = [[_line(sample, turn) for turn in range(len(sample.turns))] for sample in samples]
        good, seen, bad = see(self.run, samples)
        for i, why in bad.items():
            _fail(lines[i], samples[i], why)
        asked = [one for place, i in enumerate(good) for one in self._asked(samples[i], lines[i], seen, place)]
        asked.sort(key=lambda one: len(one.ids))
        for some in (asked[i : i + self.batch] for i in range(0, len(asked), self.batch)):
            for one, answer in zip(some, self._answer(some, seen), strict=True):
                one.line["answer"] = answer
        return [line for own in lines for line in own]

    def _asked(self, sample: Sample, lines: list[Line], seen: Seen, place: int) -> list[Asked]:
        """The sample's questions, but for those that cannot be written as a prompt or are longer than the LLM reads."""
        reads = getattr(self.run.model.config.get_text_config(), "max_position_embeddings", None)
        found = []
        for line, one in zip(lines, alone(sample), strict=True):
            messages = conversation(one)
            try:
                ids = self.run.processor.ids(messages, iter(seen.media(place)))
                if reads is not None and len(ids) + self.longest > reads:
                    raise BadData(f"{len(ids):,} tokens and {self.longest} of an answer; the LLM reads {reads:,}")
            except BadData as error:
                _fail([line], sample, str(error))
            else:
                found.append(Asked(line, place, messages, ids))
        return found

    def _answer(self, asked: Sequence[Asked], seen: Seen) -> list[str]:
        run, length = self.run, max(len(one.ids) for one in asked)
        shown = seen[[one.place for one in asked]].first([one.media for one in asked])
        inputs = {
            "input_ids": torch.tensor([[run.processor.pad] * (length - len(one.ids)) + one.ids for one in asked]),
            "attention_mask": torch.tensor([[0] * (length - len(one.ids)) + [1] * len(one.ids) for one in asked]),
        }
        read = run.processor.texts(said for i, one in enumerate(asked) for said in _said(one.messages, shown.media(i)))
        inputs = send_to_device(inputs | shown.inputs() | read, run.model.device)
        out: Any = run.model.generate(**inputs, max_new_tokens=self.longest, do_sample=False)
        start = 1 if run.model.config.is_encoder_decoder else length
        return [run.processor.decode(row[start:]) for row in out]


def see(run: Run, samples: Sequence[Sample]) -> tuple[list[int], Seen, dict[int, str]]:
    """The places of the samples whose media can be decoded, what these show, and why the others cannot be, by place."""
    good: list[int] = []
    bad: dict[int, str] = {}
    found = []
    for start in range(0, len(samples), AT_ONCE):
        decoded: list[Sample] = []
        for i in range(start, min(start + AT_ONCE, len(samples))):
            try:
                media: Any = tuple(Prepared(m.kind, arrays_of(run, samples[i], m)) for m in samples[i].media)
            except (BadMedia, BadData) as error:
                bad[i] = str(error)
                continue
            good.append(i)
            decoded.append(dataclasses.replace(samples[i], media=media))
        raw = prepared(run, decoded)
        store: dict[str, Any] = {
            kind: run.model.encode(
                kind, *send_to_device((raw.store[kind], raw.valid.get(kind)), run.model.device)
            ).cpu()
            for kind in raw.store
        }
        found.append(dataclasses.replace(raw, store=store))
    return good, Seen.joined(found), bad


def conversation(sample: Sample) -> list[Message]:
    """The messages up to the question that a sample's last turn asks; media stand with the turn that shows them."""
    media = iter(sample.media)
    first = len(sample.media) - sum(turn.shows for turn in sample.turns)
    messages = [Message("system", sample.system)] if sample.system else []
    for number, turn in enumerate(sample.turns):
        shows = turn.shows + (0 if number else first)
        messages.append(Message("user", turn.question, tuple(itertools.islice(media, shows))))
        if number < len(sample.turns) - 1:
            messages.append(Message("assistant", turn.answer))
    return messages


def _said(messages: Sequence[Message], media: Sequence[Sequence[tuple[str, int]]]) -> Iterator[tuple[str, str]]:
    """The kind of each piece in reading order, and what is asked where it stands."""
    each = iter(media)
    for message in messages:
        for pieces in itertools.islice(each, len(message.media)):
            yield from ((kind, message.text) for kind, _ in pieces)


def _line(sample: Sample, turn: int) -> Line:
    own = sample.turns[turn]
    reference = {"reference": own.answer} if own.answer.strip() else {}
    return {"id": sample.id, "turn": turn, "question": own.question, "answer": None} | reference


def _fail(lines: Sequence[Line], sample: Sample, why: str) -> None:
    for line in lines:
        line["failed"] = why if why.startswith(f"sample {sample.id}") else f"sample {sample.id}: {why}"


def answered(line: Line) -> int:
    """How many answers a line is."""
    return int(line["answer"] is not None)


def answer(
    model: str,
    source: Source,
    out: Path,
    pool: Pool,
    *,
    shard: int = SHARD,
    batch: int = BATCH,
    longest: int = LONGEST,
    tolerate: float = TOLERATE,
    resume: bool = False,
    command: str = "",
    console: Console,
) -> dict[str, Any]:
    """Answer every question of `source` into the folder `out`, and return its manifest; raises what `run.drive` does.

    Args:
        model: `default` or a checkpoint's folder.
        shard: samples of a shard.
        batch: questions that are answered together.
        longest: tokens of an answer, at most.
    """
    facts = {"task": "answer", "model": model_facts(model), "batch": batch, "longest": longest}
    corpus = Corpus([dataclasses.replace(source, unanswered=True, tolerate=tolerate)], shard)
    start = functools.partial(Answerer, corpus, functools.partial(loaded, model), longest, batch)
    task = Task("answers", "answers", answered, start)
    return drive(task, corpus, out, facts, pool, tolerate=tolerate, resume=resume, command=command, console=console)
