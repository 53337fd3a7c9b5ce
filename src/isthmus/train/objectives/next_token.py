"""`next-token`: cross-entropy on the assistant's tokens, many turns behind one prefix (see `data.packing`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from accelerate.utils import send_to_device
from torch import Tensor

from isthmus.data.packing import Row, alone, collate, pack, packs, read_and_answer
from isthmus.data.seen import Seen
from isthmus.errors import BadData
from isthmus.model import blocks
from isthmus.train.mixture import longer
from isthmus.types import Sample

MORE = 2048  # tokens that media and the frame have beside a text, in all but rare samples
ABOUT = "the LLM's own loss on the answers"


class Objective:
    """loss = objective(samples, seen): the mean over all supervised tokens of the batch.

    Raises `BadData` at the start, naming a sample whose turn is longer than the LLM's positions.
    """

    def __init__(self, model: Any, processor: Any, samples: Sequence[Sample], some: Callable[[int], Seen]) -> None:
        self.model, self.template, self.texts = model, processor.template, processor.texts
        self.flat = packs(model) and blocks.enable(model)
        limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if limit is None:
            return
        for sample in longer(samples, limit - MORE):  # a token is a byte at least
            if (length := max(pack(sample, self.template).positions) + 1) > limit:
                raise BadData(f"sample {sample.id}: a turn of {length} tokens, the LLM takes {limit}. Shorten it")

    def __call__(self, samples: Sequence[Sample], seen: Seen) -> tuple[Tensor, int]:
        """The loss, and how many tokens the rows hold (media and text, without padding)."""
        if packs(self.model):
            rows = [pack(sample, self.template, seen.media(place)) for place, sample in enumerate(samples)]
        else:
            seen = seen[[place for place, sample in enumerate(samples) for _ in sample.turns]]
            samples = [one for sample in samples for one in alone(sample)]
            seen = seen.first(len(sample.media) for sample in samples)
            rows = [pack(one, self.template, seen.media(place), last=True) for place, one in enumerate(samples)]
        batch = self._batch(rows)
        texts = self.texts((kind, s.turns[-1].question) for i, s in enumerate(samples) for kind, _ in seen.slots(i))
        inputs = send_to_device(batch | seen.inputs() | texts, self.model.device)
        loss = self.model(use_cache=False, **inputs).loss
        return loss, sum(len(row.ids) for row in rows)

    def weigh(self, samples: Sequence[Sample]) -> int:
        """How many tokens are supervised in these samples."""
        return sum(len(self.template.answer(turn.answer)) for sample in samples for turn in sample.turns)

    def _batch(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        if self.model.config.is_encoder_decoder:
            return read_and_answer(rows)
        return blocks.flat(rows) if self.flat else collate(rows, pad=0)

    def finish(self) -> None:
        """After the last step, the LLM's attention is its own again."""
        blocks.disable(self.model)
