"""A composed model: each medium is encoded once, and read once for all questions about it."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from typing import Any

import torch
from accelerate.utils import send_to_device

from isthmus.bulk.answer import see
from isthmus.bulk.run import loaded
from isthmus.data.packing import Row, collate, pack, packs, read_and_answer
from isthmus.data.seen import Seen
from isthmus.evaluate.models import Said, confidence
from isthmus.evaluate.questions import Question
from isthmus.evaluate.run import answer_batch
from isthmus.types import IGNORE_INDEX, Sample, Turn

BATCH = 32  # questions answered at once
TOKENS = 1536  # of a pass over a medium with questions and options behind it: a mask takes the square of it


class Composed:
    """A checkpoint, on a device."""

    def __init__(self, name: str, device: str) -> None:
        self.run = loaded(name)
        self.run.model.eval().to(device)
        self.takes: Collection[str] = tuple(self.run.processor.placeholders)

    @torch.inference_mode()
    def answers(self, questions: Sequence[Question]) -> list[Said]:
        """Greedy answers; batches hold questions of like length, and those about one medium together."""
        said, groups, seen = self._seen(questions)
        asked = [(place, number) for place, own in groups for number in own]
        for longest in sorted({questions[number].longest for _, number in asked}):
            some = [own for own in asked if questions[own[1]].longest == longest]
            for batch in (some[i : i + BATCH] for i in range(0, len(some), BATCH)):
                fits = [own for own in batch if self._fits(questions[own[1]], seen, own[0], said, own[1])]
                if fits:
                    texts = [questions[number].text for _, number in fits]
                    shown = seen[[place for place, _ in fits]]
                    for (_, number), text in zip(fits, answer_batch(self.run, texts, shown, (), longest), strict=True):
                        said[number] = Said(text.strip())
        return [own or Said(None, "no answer") for own in said]

    @torch.inference_mode()
    def chosen(self, questions: Sequence[Question]) -> list[Said]:
        """The likeliest option of each: one pass over a medium, behind which questions and options do not see each
        other; where an encoder reads them, one for each."""
        said, groups, seen = self._seen(questions)
        for place, own in groups:
            fits = [number for number in own if self._fits(questions[number], seen, place, said, number)]
            turns = [Turn(questions[n].text, answer) for n in fits for answer in questions[n].answers]
            logs = iter(self._logs(turns, seen, place))
            for number in fits:
                each = [next(logs) for _ in questions[number].answers]
                means = [total / length for total, length in each]
                best = max(range(len(each)), key=means.__getitem__)
                sure = confidence([total for total, _ in each], best)
                said[number] = Said(questions[number].answers[best], confidence=sure)
        return [own or Said(None, "no answer") for own in said]

    def _seen(self, questions: Sequence[Question]) -> tuple[list[Said | None], list[tuple[int, list[int]]], Seen]:
        """What is known so far; each medium's place and questions, short ones first; what the media show."""
        alike: dict[Hashable, list[int]] = {}
        for number, own in enumerate(questions):
            alike.setdefault(own.media, []).append(number)
        groups = sorted(alike.values(), key=lambda own: max(len(questions[i].text) for i in own))
        samples = [Sample(questions[own[0]].id, questions[own[0]].media, ()) for own in groups]
        good, seen, bad = see(self.run, samples)
        said: list[Said | None] = [None] * len(questions)
        for place, why in bad.items():
            for number in groups[place]:
                said[number] = Said(None, why)
        return said, [(place, groups[i]) for place, i in enumerate(good)], seen

    def _fits(self, question: Question, seen: Seen, place: int, said: list[Said | None], number: int) -> bool:
        """Whether the LLM can read a question and answer it; where not, that is what is known of it."""
        reads = getattr(self.run.model.config.get_text_config(), "max_position_embeddings", None)
        ids, space = self.run.processor.template.begin(seen.slots(place))
        tokens = len(ids) + len(self.run.processor.template.question(question.text, space)) + question.longest
        if reads is not None and tokens > reads:
            said[number] = Said(None, f"{tokens:,} tokens with the answer; the LLM reads {reads:,}")
            return False
        return True

    def _logs(self, turns: Sequence[Turn], seen: Seen, place: int) -> Iterator[tuple[float, int]]:
        """The log-likelihood of each turn's answer, and its number of tokens."""
        for some in self._parted(turns, seen, place):
            yield from self._pass(some, seen[[place]])

    def _parted(self, turns: Sequence[Turn], seen: Seen, place: int) -> Iterator[list[Turn]]:
        """The turns in passes of not too many tokens."""
        template, some, length = self.run.processor.template, list[Turn](), 0
        for turn in turns:
            own = len(template.question(turn.question)) + len(template.answer(turn.answer))
            if some and (length + own > TOKENS or not packs(self.run.model)):
                yield some
                some, length = [], 0
            some.append(turn)
            length += own
        if some:
            yield some

    def _pass(self, turns: Sequence[Turn], shown: Seen) -> Iterator[tuple[float, int]]:
        run, model = self.run, self.run.model
        rows = [pack(Sample("", (), tuple(turns)), run.processor.template, shown.media(0))]
        inputs = send_to_device(self._inputs(rows, shown), model.device)
        labels = inputs.pop("labels")
        if model.config.is_encoder_decoder:
            keep = labels != IGNORE_INDEX
            logits = model(**inputs, labels=labels).logits[keep]
        else:
            labels = labels[:, 1:]
            keep = labels != IGNORE_INDEX
            logits = model.get_output_embeddings()(model.hidden(**inputs)[:, :-1][keep])
        logs = logits.float().log_softmax(-1).gather(-1, labels[keep][:, None])[:, 0]
        lengths = [len(run.processor.template.answer(turn.answer)) for turn in turns]
        for own in logs.split(lengths):
            yield float(own.sum()), len(own)

    def _inputs(self, rows: Sequence[Row], shown: Seen) -> dict[str, Any]:
        if self.run.model.config.is_encoder_decoder:
            own: dict[str, Any] = read_and_answer(rows)
        else:
            own = collate(rows, pad=0)
        asked = [(kind, turn.question) for row in rows for turn in row.sample.turns for kind, _ in shown.slots(0)]
        return {**own, **shown.inputs(), **self.run.processor.texts(asked)}
