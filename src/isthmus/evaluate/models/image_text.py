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
        self.takes: Collection[str] = ("image", "video") if videos else ("image",)
        self.processor.tokenizer.padding_side = "left"
        if self.processor.tokenizer.pad_token is None:
            self.processor.tokenizer.pad_token = self.processor.tokenizer.eos_token

    @torch.inference_mode()
    def answers(self, questions: Sequence[Question]) -> list[Said]:
        """Greedy answers, those of like length together."""
        said, shown = self._shown(questions)
        order = sorted(shown, key=lambda i: (questions[i].longest, len(questions[i].media), len(questions[i].text), i))
        for batch in _alike(order, questions):
            inputs = self._inputs([(questions[i].text, shown[i]) for i in batch])
            out = self.model.generate(**inputs, max_new_tokens=questions[batch[0]].longest, do_sample=False)
            start = 1 if self.model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
            texts = self.processor.batch_decode(out[:, start:], skip_special_tokens=True)
            for i, text in zip(batch, texts, strict=True):
                said[i] = Said(text.strip())
        return [own or Said(None, "no answer") for own in said]

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
