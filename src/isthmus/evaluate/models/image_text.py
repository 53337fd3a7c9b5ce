"""Any image-text model of transformers, from a folder or a hub; what its processor and chat template say is used."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch

from isthmus.errors import BadMedia, BadRecipe, IsthmusError
from isthmus.evaluate.models import Said, confidence
from isthmus.evaluate.questions import Question
from isthmus.media import load
from isthmus.types import Image, Medium, Video

BATCH = 8  # questions answered at once
FRAMES = 8  # of a video, unless the benchmark says
CLOSE = 1e-3  # how far scores behind a prefix that was read before may be off, as a share of the largest


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
        for batch in together:
            for i, text in zip(batch, self._shared(questions, batch, shown[batch[0]]), strict=True):
                said[i] = Said(text)
        for batch in _alike(order, questions):
            inputs = self._inputs([(questions[i].text, shown[i]) for i in batch])
            out = self.model.generate(**inputs, max_new_tokens=questions[batch[0]].longest, do_sample=False)
            start = 1 if self.model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
            for i, text in zip(batch, self._texts(out[:, start:]), strict=True):
                said[i] = Said(text)
        return [own or Said(None, "no answer") for own in said]

    def _divided(self, questions: Sequence[Question], shown: dict[int, list[Any]]) -> tuple[list[list[int]], list[int]]:
        """Batches of questions about the same media, if the model can share; the others, short ones first."""
        alike: dict[Any, list[int]] = {}
        for i in shown:
            alike.setdefault((questions[i].media, questions[i].longest), []).append(i)
        groups = [own for (media, _), own in alike.items() if media and len(own) > 1]
        together: list[list[int]] = []
        if groups and self._can_share(questions, groups[0], shown[groups[0][0]]):
            together = [own[i : i + BATCH] for own in groups for i in range(0, len(own), BATCH)]
        rest = {*shown} - {i for own in together for i in own}
        return together, sorted(
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
                own = {name: value[:1] for name, value in begun.items() if isinstance(value, torch.Tensor)}
                cache = begun["past_key_values"]
                cache.batch_select_indices(torch.tensor([0], device=self.model.device))
                past = cache.get_seq_length()
                places = (own["attention_mask"].cumsum(1) - 1).clamp(min=0)[:, past:]
                found = self.model(
                    input_ids=own["input_ids"][:, past:], attention_mask=own["attention_mask"], position_ids=places,
                    past_key_values=cache,
                ).logits[0, -1].float()  # fmt: skip
                self.shares = bool((found - right).abs().max() <= CLOSE * right.abs().max())
            except (ValueError, RuntimeError, TypeError, IndexError, AttributeError):
                self.shares = False
        return self.shares

    def _shared(self, questions: Sequence[Question], batch: Sequence[int], media: Sequence[Any]) -> list[str]:
        begun = self._begun([questions[i].text for i in batch], media)
        out = self.model.generate(**begun, max_new_tokens=questions[batch[0]].longest, do_sample=False)
        return self._texts(out[:, begun["input_ids"].shape[1] :])

    def _begun(self, texts: Sequence[str], media: Sequence[Any]) -> dict[str, Any]:
        """What `generate` goes on from: tokens, and keys and values of what all texts begin with, media included."""
        first = self._inputs([(texts[0], media)])
        each = [first["input_ids"][0].tolist()]
        each += [self._inputs([(text, media)])["input_ids"][0].tolist() for text in texts[1:]]
        past = next((i for i, own in enumerate(zip(*each, strict=False)) if len(set(own)) > 1), min(map(len, each)) - 1)
        past = min(past, min(map(len, each)) - 1)
        ids = first.pop("input_ids")[:, :past]
        mask = first.pop("attention_mask")[:, :past]
        first = {name: value for name, value in first.items() if not name.endswith("_type_ids")}
        cache = self.model(input_ids=ids, attention_mask=mask, use_cache=True, **first).past_key_values
        cache.batch_repeat_interleave(len(texts))
        longest = max(map(len, each)) - past
        pad = self.processor.tokenizer.pad_token_id
        ends = [[pad] * (longest - len(own) + past) + own[past:] for own in each]
        real = [[0] * (longest - len(own) + past) + [1] * (len(own) - past) for own in each]
        device = self.model.device
        return {
            "input_ids": torch.cat([ids.expand(len(texts), -1), torch.tensor(ends, device=device)], 1),
            "attention_mask": torch.cat([mask.expand(len(texts), -1), torch.tensor(real, device=device)], 1),
            "past_key_values": cache,
        }

    def _texts(self, tokens: Any) -> list[str]:
        return [text.strip() for text in self.processor.batch_decode(tokens, skip_special_tokens=True)]

    @torch.inference_mode()
    def chosen(self, questions: Sequence[Question]) -> list[Said]:
        """The likeliest option of each, all options of a question in one pass."""
        said, shown = self._shown(questions)
        for i, media in shown.items():
            each = [self._log(questions[i].text, media, answer) for answer in questions[i].answers]
            means = [total / length for total, length in each]
            best = max(range(len(each)), key=means.__getitem__)
            said[i] = Said(questions[i].answers[best], confidence=confidence([total for total, _ in each], best))
        return [own or Said(None, "no answer") for own in said]

    def _log(self, text: str, media: Sequence[Any], answer: str) -> tuple[float, int]:
        """The log-likelihood of an answer's tokens behind the question, and their number."""
        if self.model.config.is_encoder_decoder:
            raise BadRecipe("likelihoods of an encoder-decoder's options are not measured here. Let it answer instead")
        whole = self._inputs([(text, media)], answer)
        alone = self._inputs([(text, media)])["input_ids"][0].tolist()
        ids = whole["input_ids"][0]
        same = next((i for i, (a, b) in enumerate(zip(alone, ids.tolist(), strict=False)) if a != b), len(alone))
        start = min(same, len(ids) - 1)
        logits = self.model(**whole).logits[0, start - 1 : -1].float()
        logs = logits.log_softmax(-1).gather(-1, ids[start:, None])
        return float(logs.sum()), len(logs)

    def _shown(self, questions: Sequence[Question]) -> tuple[list[Said | None], dict[int, list[Any]]]:
        """What is known so far, and the decoded media of each question that has them."""
        said: list[Said | None] = [None] * len(questions)
        shown, decoded = {}, dict[Medium, Any]()
        for i, own in enumerate(questions):
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
