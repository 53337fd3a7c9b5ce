"""Answering one question after another without doing anything twice.

A `Reuse` keeps what was made of media (`made.Kept`) and the LLM's keys and values of the last conversation. Of the next
one, only what comes after the part that both begin with is read: the second turn of a chat, or another question about
the same picture in a new conversation.

        kept   [ system | a a a a | question 1 | answer 1 ]
        next   [ system | a a a a | question 2 ]
                                   `- from here on it is read

Which medium stands in a slot belongs to the text: another picture of the same size is another text.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from isthmus.connectors._soft import SoftTokens
from isthmus.errors import BadData
from isthmus.model.beside import BESIDE
from isthmus.model.made import ROOM, Kept, Made, Piece, joined, make, text
from isthmus.model.merge import merge
from isthmus.model.processor import Prepared
from isthmus.types import Message


def shared(model: Any, ids_UP: Tensor, mask_UP: Tensor, index_B: Tensor, inputs: dict[str, Any]) -> dict[str, Any]:
    """What `generate` goes on from where B texts begin with U prefixes, each of which is read once.

    Args:
        model: a decoder-only model.
        ids_UP: the prefixes, padded on the left, with all slots of the texts.
        mask_UP: 0 where they are padded.
        index_B: which prefix each text begins with.
        inputs: the prefixes' `media` or `features`, and `valid`, as `forward` takes them.

    Returns:
        `past_key_values`, and `seen` for layers in the LLM, to be given beside the whole texts.
    """
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    places = (mask_UP.cumsum(1) - 1).clamp(min=0)
    own = {"input_ids": ids_UP, "attention_mask": mask_UP, "position_ids": places, "past_key_values": cache}
    seen = model(**own, **inputs, use_cache=True, logits_to_keep=1).seen or {}
    cache.batch_select_indices(index_B)
    ends = {kind: end for kind, whole in seen.items() if (end := whole.after(ids_UP.shape[1], 1)) is not None}
    return {"past_key_values": cache, "seen": {kind: end.rows(index_B) for kind, end in ends.items()} or None}


@dataclass(frozen=True)
class Asked:
    """A conversation that is to be answered: its tokens; what stands at each of them, the token itself or the piece of
    which it is a slot; and the pieces in reading order."""

    ids: list[int]
    stands: list[Hashable]
    pieces: list[Piece]


class Reuse:
    """Answers of one model, each of which reuses what the one before it left.

    The weights may change in between: what was kept under others is forgotten. A change that torch does not count
    (through `weight.data`) is not noticed, and needs a `forget`.

    Args:
        model: a composed model.
        processor: its processor.
        room: bytes that what is made of media may take; keys and values are those of one conversation beside it.
    """

    def __init__(self, model: Any, processor: Any, room: int = ROOM) -> None:
        self.model, self.processor, self.media = model, processor, Kept(room)
        self._lock = threading.Lock()
        self._last: tuple[list[Hashable], Any] | None = None
        self._weights: Hashable = None

    def forget(self) -> None:
        """Keep nothing any more."""
        self._last = None
        self.media.clear()

    def ask(self, conversation: Sequence[Message]) -> Asked:
        """The tokens of a conversation that ends with a user's message; nothing runs yet.

        Raises `BadData` and `BadMedia` as `IsthmusProcessor.encode` does.
        """
        self.processor.check([conversation])
        shown = [[self._prepared(medium) for medium in message.media] for message in conversation]
        pieces = [
            Piece(own.kind, key, array, slots, message.text if own.kind in self.processor.reads else "")
            for message, media in zip(conversation, shown, strict=True)
            for own in media
            for key, array, (_, slots) in zip(own.keys, own.pieces, own.slots, strict=True)
        ]
        ids = self.processor.ids(conversation, (medium.slots for media in shown for medium in media))
        each = {kind: iter([p.name for p in pieces if p.kind == kind for _ in range(p.slots)]) for kind in self._kinds}
        kinds = {token: kind for kind, token in self.model.config.placeholders.items()}
        return Asked(ids, [next(each[kinds[token]]) if token in kinds else token for token in ids], pieces)

    @torch.inference_mode()
    def generate(self, asked: Asked, **options: Any) -> list[int]:
        """The tokens that follow, as `generate` of transformers gives them with these options for the whole text.

        An encoder-decoder reads in both directions, so it reads the whole text again; what was made of media is reused.

        Raises `BadData` for beams and for several answers at once.
        """
        if options.get("num_beams", 1) > 1 or options.get("num_return_sequences", 1) > 1:
            raise BadData("one answer at a time, without beams. For these, give the whole text to `model.generate`")
        self._check_weights()
        model, reads_whole = self.model, self.model.config.is_encoder_decoder
        cache, start = (None, 0) if reads_whole else self._begun(asked.stands)
        ids = torch.tensor([asked.ids], device=model.device)
        inputs: dict[str, Any] = {"attention_mask": torch.ones_like(ids)}
        if cache is not None:
            setattr(cache, BESIDE, False)  # what it was of may have been cut off; `seen` says what it is of now
        x, seen = self._read(ids, asked.pieces, start)
        if reads_whole:
            with model.sight.show(seen):
                inputs["encoder_outputs"] = model.llm.get_encoder()(inputs_embeds=x, **inputs)
        else:
            before = x.new_zeros(1, start, x.shape[-1])  # where the cache stands, and nobody looks
            inputs |= {"input_ids": ids, "inputs_embeds": torch.cat([before, x], 1), "seen": seen or None}
            inputs["past_key_values"] = cache
        out = model.generate(**inputs, **options)[0].tolist()
        said: list[int] = out[1 if reads_whole else len(asked.ids) :]
        if cache is not None:  # the last token was never read
            self._last = [*asked.stands, *said][: cache.get_seq_length()], cache
        return said

    @property
    def _kinds(self) -> list[str]:
        return list(self.model.config.placeholders)

    def _prepared(self, medium: Any) -> Prepared:
        if isinstance(medium, Prepared) and medium.slots:
            return medium
        arrays = self.processor.arrays(medium)
        kind = getattr(medium, "kind", "image")
        _, (slots,) = self.processor.prepare([Prepared(kind, arrays)])
        return Prepared(kind, arrays, slots=slots)

    def _begun(self, stands: Sequence[Hashable]) -> tuple[Any, int]:
        """A cache of the tokens that this text begins with, and how many these are; at least one is left to be read.

        It is taken away: what an error leaves half-written is not used again, nor what another thread writes to.
        """
        with self._lock:
            last, self._last = self._last, None
        if last is not None:
            known, cache = last
            same = (old == new for old, new in zip(known, stands[:-1], strict=False))
            start = next((place for place, agrees in enumerate(same) if not agrees), min(len(known), len(stands) - 1))
            # A sliding window has let go of what stood before it, so of its tokens none can be taken back.
            if start < len(known) and all(type(layer) is DynamicLayer for layer in cache.layers):
                cache.crop(start - len(known))
                return cache, start
            if start == len(known):
                return cache, start
        return DynamicCache(config=self.model.config.get_text_config(decoder=True)), 0

    def _read(self, ids: Tensor, pieces: Sequence[Piece], start: int) -> tuple[Tensor, dict[str, Any]]:
        """Embeddings of the tokens from `start` on [1, T - start, D], with soft tokens; and what layers in the LLM see
        in the whole text."""
        model, placeholders = self.model, self.model.config.placeholders
        slots = {kind: ids == token for kind, token in placeholders.items()}
        needed: list[Piece] = []
        for kind in placeholders:
            own = [piece for piece in pieces if piece.kind == kind]
            needed += own[self._before(own, slots[kind], start) :] if self._plain(kind) else own
        made = make(model, self.processor, self.media, needed)
        marks = torch.isin(ids[:, start:], ids.new_tensor(list(placeholders.values())))
        x = model.get_input_embeddings()(ids[:, start:].masked_fill(marks, 0))
        seen = {}
        for kind, here in slots.items():
            own = [piece for piece in pieces if piece.kind == kind]
            soft = [made[piece.name].soft for piece in own[self._before(own, here, start) :]]
            x = merge(x, torch.cat([x.new_zeros(0, x.shape[-1]), *soft])[None], here[:, start:], kind)
            if not self._plain(kind) and (found := self._look(kind, own, made, here, x)) is not None:
                seen[kind] = found
        return x, seen | model.since(ids)

    def _plain(self, kind: str) -> bool:
        """Whether soft tokens are all that the LLM has of these media."""
        return isinstance(self.model.connectors[kind], SoftTokens)

    def _before(self, pieces: Sequence[Piece], slots: Tensor, start: int) -> int:
        """How many of the pieces of one kind stand before `start`."""
        left, count = int(slots[:, :start].sum()), 0
        while left > 0:
            left, count = left - pieces[count].slots, count + 1
        return count

    def _look(self, kind: str, pieces: Sequence[Piece], made: dict[Any, Made], slots: Tensor, x: Tensor) -> Any:
        """What a connector's layers in the LLM see of all media of one kind."""
        if not pieces:
            return self.model.connectors[kind].look(x.new_zeros(0, 1, 1), slots)
        features, valid = joined([made[piece.name] for piece in pieces])
        mask, _ = self.model.real(kind, features.shape[1], valid)
        return self.model.connectors[kind].look(features, slots, text(self.model, self.processor, kind, pieces), mask)

    def _check_weights(self) -> None:
        """Forget what other weights made."""
        own = itertools.chain(self.model.parameters(), self.model.buffers())
        now = hash(tuple((tensor.data_ptr(), tensor.is_inference() or tensor._version) for tensor in own))
        if now != self._weights:
            self.forget()
            self._weights = now
