"""Any image-text model of transformers, from a folder or a hub; what its processor and chat template say is used."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from isthmus.errors import BadMedia, BadRecipe, IsthmusError
from isthmus.evaluate.models import Said, confidence
from isthmus.evaluate.questions import Question
from isthmus.media import load
from isthmus.types import Image, Medium, Video

BATCH = 8  # questions answered at once
FRAMES = 8  # of a video, unless the benchmark says
CLOSE = 1e-3  # how far scores behind a prefix that was read before may be off, as a share of the largest


class _Begun(NamedTuple):
    """Texts as tokens, how many of these all of them begin with, these, and the cache of keys and values of them."""

    rows: list[list[int]]
    past: int
    ids: Any
    cache: Any


class ImageText:
    """A model with its processor, on a device.

    Raises `BadRecipe` for one without a chat template: nobody knows how to ask it.
    """

    def __init__(self, name: str, device: str) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        try:
            self.processor: Any = AutoProcessor.from_pretrained(name)
            model = AutoModelForImageTextToText.from_pretrained(
                name, dtype="auto" if device != "cpu" else torch.float32
            )
        except (OSError, ValueError) as error:
            raise IsthmusError(
                f"{name}: no image-text model of transformers ({' '.join(str(error).split())})"
            ) from error
        self.model: Any = model.eval().to(device)
        if not getattr(self.processor, "chat_template", None):
            raise BadRecipe(f"{name} has no chat template, so there is no one way to ask it. Give it one, and save it")
        videos = getattr(self.processor, "video_processor", None) is not None
        self.shares: bool | None = None
        self.control = _control(self.processor)
        self.takes: Collection[str] = ("image", "video") if videos else ("image",)
        self.processor.tokenizer.padding_side = "left"
        if self.processor.tokenizer.pad_token is None:
            self.processor.tokenizer.pad_token = self.processor.tokenizer.eos_token

    @torch.inference_mode()
    def answers(self, questions: Sequence[Question]) -> list[Said]:
        """Greedy answers; what several questions about one medium begin with is read once, where the model allows it.

        Others are answered with those of like length.
        """
        said, shown = self._shown(questions)
        together, order = self._divided(questions, shown)
        for group in together:
            begun = self._begun([questions[i].text for i in group], shown[group[0]])
            for places in (range(len(group))[i : i + BATCH] for i in range(0, len(group), BATCH)):
                inputs = self._behind(begun, [begun.rows[place] for place in places])
                out = self.model.generate(**inputs, max_new_tokens=questions[group[0]].longest, do_sample=False)
                for place, text in zip(places, self._texts(out[:, inputs["input_ids"].shape[1] :]), strict=True):
                    said[group[place]] = Said(text)
        for batch in _alike(order, questions):
            inputs = self._inputs([(questions[i].text, shown[i]) for i in batch])
            out = self.model.generate(**inputs, max_new_tokens=questions[batch[0]].longest, do_sample=False)
            start = 1 if self.model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
            for i, text in zip(batch, self._texts(out[:, start:]), strict=True):
                said[i] = Said(text)
        return [own or Said(None, "no answer") for own in said]

    def _divided(
        self, questions: Sequence[Question], shown: dict[int, list[Any]], least: int = 2
    ) -> tuple[list[list[int]], list[int]]:
        """Questions about the same media, from `least` on, if the model can share; the others, short ones first."""
        alike: dict[Any, list[int]] = {}
        for i in shown:
            alike.setdefault((questions[i].media, questions[i].longest), []).append(i)
        groups = [own for (media, _), own in alike.items() if media and len(own) >= least]
        if not groups or not self._can_share(questions, groups[0], shown[groups[0][0]]):
            groups = []
        rest = {*shown} - {i for own in groups for i in own}
        return groups, sorted(
            rest, key=lambda i: (questions[i].longest, len(questions[i].media), len(questions[i].text), i)
        )

    def _can_share(self, questions: Sequence[Question], group: Sequence[int], media: Sequence[Any]) -> bool:
        """Whether a question behind a prefix that was read before has the same next token's scores as the whole text.

        It is tried once: where positions are more than places in the text (as in models with positions in pictures),
        they may differ.
        """
        if self.shares is None:
            whole = self._inputs([(questions[group[0]].text, media)])
            right = self.model(**whole).logits[0, -1].float()
            try:
                begun = self._begun([questions[i].text for i in group[:2]], media)
                found = self._read(begun, begun.rows[:1])[0, -1].float()
                self.shares = bool((found - right).abs().max() <= CLOSE * right.abs().max())
            except (ValueError, RuntimeError, TypeError, IndexError, AttributeError):
                self.shares = False
        return self.shares

    def _begun(self, texts: Sequence[str], media: Sequence[Any]) -> _Begun:
        """What all texts begin with, media included, read once."""
        first = self._inputs([(texts[0], media)])
        each = [first["input_ids"][0].tolist()]
        each += [self._inputs([(text, media)])["input_ids"][0].tolist() for text in texts[1:]]
        past = next((i for i, own in enumerate(zip(*each, strict=False)) if len(set(own)) > 1), min(map(len, each)) - 1)
        past = min(past, min(map(len, each)) - 1)
        ids = first.pop("input_ids")[:, :past]
        mask = first.pop("attention_mask")[:, :past]
        first = {name: value for name, value in first.items() if not name.endswith("_type_ids")}
        cache = self.model(input_ids=ids, attention_mask=mask, use_cache=True, **first).past_key_values
        return _Begun(each, past, ids, cache)

    def _behind(self, begun: _Begun, rows: Sequence[Sequence[int]]) -> dict[str, Any]:
        """What the model goes on from: rows of tokens, and keys and values of what they begin with."""
        cache = copy.deepcopy(begun.cache)
        cache.batch_repeat_interleave(len(rows))
        longest = max(map(len, rows)) - begun.past
        pad = self.processor.tokenizer.pad_token_id
        ends = [[pad] * (longest - len(own) + begun.past) + [*own[begun.past :]] for own in rows]
        real = [[0] * (longest - len(own) + begun.past) + [1] * (len(own) - begun.past) for own in rows]
        device = self.model.device
        before = begun.ids.expand(len(rows), -1)
        return {
            "input_ids": torch.cat([before, torch.tensor(ends, device=device)], 1),
            "attention_mask": torch.cat([torch.ones_like(before), torch.tensor(real, device=device)], 1),
            "past_key_values": cache,
        }

    def _read(self, begun: _Begun, rows: Sequence[Sequence[int]]) -> Any:
        """The scores [B, L, V] at all places of rows behind what they begin with; rows end together."""
        own = self._behind(begun, rows)
        places = (own["attention_mask"].cumsum(1) - 1).clamp(min=0)[:, begun.past :]
        ids = own.pop("input_ids")[:, begun.past :]
        return self.model(input_ids=ids, position_ids=places, **own).logits

    def _texts(self, tokens: Any) -> list[str]:
        return [text.strip() for text in self.processor.batch_decode(tokens, skip_special_tokens=True)]

    @torch.inference_mode()
    def chosen(self, questions: Sequence[Question]) -> list[Said]:
        """The likeliest option of each; what all options of all questions about a medium begin with is read once."""
        said, shown = self._shown(questions)
        together, alone = self._divided(questions, shown, least=1)
        for group in together:
            for i, logs in zip(group, self._logs([questions[i] for i in group], shown[group[0]]), strict=True):
                said[i] = _likeliest(questions[i].answers, logs)
        for i in alone:
            logs = [self._log(questions[i].text, shown[i], answer) for answer in questions[i].answers]
            said[i] = _likeliest(questions[i].answers, logs)
        return [own or Said(None, "no answer") for own in said]

    def _logs(self, questions: Sequence[Question], media: Sequence[Any]) -> list[list[tuple[float, int]]]:
        """For each question about the media what `_log` gives of each of its options."""
        begun = self._begun([own.text for own in questions], media)
        rows: list[list[int]] = []
        lengths: list[int] = []
        for own, question in zip(begun.rows, questions, strict=True):
            for answer in question.answers:
                rows.append(self._inputs([(question.text, media)], answer)["input_ids"][0].tolist())
                lengths.append(len(rows[-1]) - _start(own, rows[-1]))
        # an answer that runs into the end of its question leaves nothing to read behind what all begin with
        if any(len(row) - count <= begun.past for row, count in zip(rows, lengths, strict=True)):
            return [[self._log(own.text, media, answer) for answer in own.answers] for own in questions]
        found: list[tuple[float, int]] = []
        for batch in (range(len(rows))[i : i + BATCH] for i in range(0, len(rows), BATCH)):
            logits = self._read(begun, [rows[place] for place in batch]).float()
            for own_logits, place in zip(logits, batch, strict=True):
                ids = torch.tensor(rows[place][-lengths[place] :], device=logits.device)
                logs = own_logits[-lengths[place] - 1 : -1].log_softmax(-1).gather(-1, ids[:, None])
                found.append((float(logs.sum()), lengths[place]))
        each = iter(found)
        return [[next(each) for _ in own.answers] for own in questions]

    def _log(self, text: str, media: Sequence[Any], answer: str) -> tuple[float, int]:
        """The log-likelihood of an answer's tokens behind the question, and their number."""
        if self.model.config.is_encoder_decoder:
            raise BadRecipe("likelihoods of an encoder-decoder's options are not measured here. Let it answer instead")
        whole = self._inputs([(text, media)], answer)
        alone = self._inputs([(text, media)])["input_ids"][0].tolist()
        ids = whole["input_ids"][0]
        start = _start(alone, ids.tolist())
        logits = self.model(**whole).logits[0, start - 1 : -1].float()
        logs = logits.log_softmax(-1).gather(-1, ids[start:, None])
        return float(logs.sum()), len(logs)

    def _shown(self, questions: Sequence[Question]) -> tuple[list[Said | None], dict[int, list[Any]]]:
        """What is known so far, and the decoded media of each question that has them."""
        said: list[Said | None] = [None] * len(questions)
        shown, decoded = {}, dict[Medium, Any]()
        for i, own in enumerate(questions):
            if token := next((token for token in self.control if token in own.text), None):
                said[i] = Said(None, f"its text holds {token}, which this model's tokenizer reads as a control token")
                continue
            try:
                for medium in own.media:
                    if medium not in decoded:
                        decoded[medium] = _decoded(medium, self.takes)
                shown[i] = [decoded[medium] for medium in own.media]
            except BadMedia as error:
                said[i] = Said(None, str(error))
        return said, shown

    def _inputs(self, asked: Sequence[tuple[str, Sequence[Any]]], answer: str = "") -> Any:
        """What the model is given: the chat template with each question's media before its text."""
        chats = []
        for text, media in asked:
            content = [{"type": kind, kind: what} for kind, what in media] + [{"type": "text", "text": text}]
            chats.append([{"role": "user", "content": content}])
        texts = [
            self.processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) + answer
            for chat in chats
        ]
        images = [[what for kind, what in media if kind == "image"] for _, media in asked]
        videos = [[what for kind, what in media if kind == "video"] for _, media in asked]
        own: dict[str, Any] = {"text": texts, "return_tensors": "pt", "padding": True}
        if any(images):
            own["images"] = images
        if any(videos):
            own["videos"] = videos
        found = self.processor(**own).to(self.model.device)
        found.pop("token_type_ids", None)
        return found


def _control(processor: Any) -> list[str]:
    """What a text must not hold: the chat template and the processor would take it for their own."""
    own = [getattr(processor, f"{kind}_token", None) for kind in ("image", "video", "audio", "boi", "eoi")]
    return sorted({*processor.tokenizer.all_special_tokens, *(token for token in own if isinstance(token, str))})


def _start(alone: Sequence[int], whole: Sequence[int]) -> int:
    """Where an answer's tokens begin behind its question, which may have another last token then."""
    same = next((i for i, (a, b) in enumerate(zip(alone, whole, strict=False)) if a != b), len(alone))
    return min(same, len(whole) - 1)


def _likeliest(options: Sequence[str], logs: Sequence[tuple[float, int]]) -> Said:
    """The option with the highest log-likelihood per token."""
    means = [total / length for total, length in logs]
    best = max(range(len(logs)), key=means.__getitem__)
    return Said(options[best], confidence=confidence([total for total, _ in logs], best))


def _alike(order: Sequence[int], questions: Sequence[Question]) -> Iterator[list[int]]:
    """Batches of questions with as many media and as long answers."""
    batch: list[int] = []
    for i in order:
        own = (questions[i].longest, len(questions[i].media))
        if batch and (len(batch) == BATCH or own != (questions[batch[0]].longest, len(questions[batch[0]].media))):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _decoded(medium: Medium, takes: Collection[str]) -> tuple[str, Any]:
    """What the processor is given of a medium."""
    if medium.kind not in takes:
        raise BadMedia(f"this model takes {', '.join(takes)}, not {medium.kind}")
    if isinstance(medium, Image):
        return "image", load(medium)
    if isinstance(medium, Video):
        from dataclasses import replace

        clip = load(medium if medium.frames else replace(medium, frames=FRAMES))
        return "video", clip.frames
    raise BadMedia(f"this model takes no {medium.kind}")
