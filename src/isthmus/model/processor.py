"""The processor: conversations with media become the tokens and pixels that a composed model takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, ProcessorMixin

from isthmus.data.packing import Frame, Template
from isthmus.encoders import mllama
from isthmus.errors import BadData
from isthmus.media import load, load_image
from isthmus.parts.weights import SAFE
from isthmus.types import Image, Message

READER = "reader"  # the folder of that tokenizer
ROLES = ("system", "user", "assistant")


class IsthmusProcessor(ProcessorMixin):  # type: ignore[misc]
    """A tokenizer and an image processor, saved with `save_pretrained` and loaded by `AutoProcessor`.

    The attribute `reader` is the tokenizer of connectors that read, where that is not the LLM's own.

    Args:
        tokenizer: the LLM's own; nothing is added to it.
        image_processor: the image encoder's own; None for a model that takes no images.
        placeholders: kind -> token id that holds a slot, as in the model's configuration.
        tokens: kind -> soft tokens of one medium.
        frame: the control text around what people say, where it is not ChatML (see `data.packing.Frame`).
        reads: the kinds of media whose connector reads the instruction too.
    """

    def __init__(
        self,
        tokenizer: Any,
        image_processor: Any,
        placeholders: dict[str, int] | None = None,
        tokens: dict[str, int] | None = None,
        frame: dict[str, Any] | None = None,
        reads: Sequence[str] = (),
    ) -> None:
        super().__init__(tokenizer, image_processor)
        self.reader: Any = None
        self.placeholders, self.tokens = dict(placeholders or {}), dict(tokens or {})
        self.frame, self.reads = frame, list(reads)

    def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
        """As its base class, but an image processor may be absent."""
        return None if argument is None else super().check_argument_for_proper_class(argument_name, argument)

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> Any:
        """As its base class, which cannot save without an image processor or with a `reader`."""
        folder = Path(save_directory)
        if self.reader:
            self.reader.save_pretrained(folder / READER)
        if self.image_processor is not None:
            return super().save_pretrained(folder, *args, **kwargs)
        self.tokenizer.save_pretrained(folder)
        self.to_json_file(folder / "processor_config.json")

    @classmethod
    def from_pretrained(cls, folder: str | Path, *args: Any, **kwargs: Any) -> Any:
        """As its base class, with the `reader` if there is one."""
        processor = super().from_pretrained(folder, *args, **kwargs)
        if (Path(folder) / READER).is_dir():
            processor.reader = AutoTokenizer.from_pretrained(Path(folder) / READER, **SAFE)
        return processor

    @classmethod
    def _get_arguments_from_pretrained(cls, folder: Any, processor_dict: Any = None, **kwargs: Any) -> Any:
        if processor_dict and processor_dict.get("image_processor", folder) is None:
            return [cls._load_tokenizer_from_pretrained("tokenizer", folder, subfolder="", **kwargs), None]
        return super()._get_arguments_from_pretrained(folder, processor_dict, **kwargs)

    @property
    def template(self) -> Template:
        """The pieces from which training and inference alike build their token ids."""
        pairs: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in (self.frame or {}).items()}
        return Template(self.tokenizer, self.placeholders, self.tokens, Frame(**pairs))

    @property
    def pad(self) -> int:
        """The token that fills a row up; it is masked, so any token will do."""
        return int(self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else 0)

    def __call__(
        self, text: str | Sequence[str], images: Any = None, return_tensors: str = "pt", **kwargs: Any
    ) -> dict[str, Any]:
        """Each text is one user's turn; see `encode`.

        Args:
            text: a question or several.
            images: nothing, an image or a list of images for one question; a list of these for several questions.
                An image is an `isthmus.Image`, a path, encoded bytes or a PIL image.
        """
        if return_tensors != "pt" or kwargs:
            raise TypeError(f"return_tensors is 'pt' here, and there are no options {sorted(kwargs)}")
        questions = [text] if isinstance(text, str) else list(text)
        media = [images] if isinstance(text, str) else list(images if images is not None else [None] * len(questions))
        if len(media) != len(questions):
            raise BadData(f"{len(questions)} texts, images for {len(media)}. Give one entry of `images` for each text")
        return self.encode([[Message("user", q, _several(m))] for q, m in zip(questions, media, strict=True)])

    def encode(self, conversations: Sequence[Sequence[Message]]) -> dict[str, Any]:
        """A batch for `generate`: each conversation ends with a user's message, which is to be answered.

        Returns:
            `input_ids` and `attention_mask` [B, T], padded on the left; `media` {"image": [N, 3, H, W]} of the whole
            batch in reading order, where there are any, and `texts` beside them, where a connector reads.

        Raises:
            BadData: for a conversation that does not end with the user, an unknown role, or media of another role.
            BadMedia: for an image that cannot be read.
        """
        rows = [self.ids(conversation) for conversation in conversations]
        length = max(map(len, rows), default=0)
        fill = [length - len(row) for row in rows]
        batch: dict[str, Any] = {
            "input_ids": torch.tensor([[self.pad] * n + row for n, row in zip(fill, rows, strict=True)]),
            "attention_mask": torch.tensor([[0] * n + [1] * len(row) for n, row in zip(fill, rows, strict=True)]),
        }
        images = [medium for conversation in conversations for message in conversation for medium in message.media]
        if images:
            batch |= {"media": {"image": self.preprocess(images)}}
            batch |= self.texts([m.text for conversation in conversations for m in conversation for _ in m.media])
        return batch

    def texts(self, instructions: Sequence[str]) -> dict[str, Any]:
        """What connectors read beside each medium: `texts` {kind: (ids, mask)}, each [N, L]; nothing if none reads."""
        if not self.reads:
            return {}
        rows = [self.reader(text).input_ids if self.reader else self.template.plain(text) for text in instructions]
        length = max([1, *map(len, rows)])  # of an empty instruction one token, masked
        ids = torch.tensor([row + [self.pad] * (length - len(row)) for row in rows], dtype=torch.long)
        mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
        return {"texts": dict.fromkeys(self.reads, (ids, mask))}

    def ids(self, conversation: Sequence[Message]) -> list[int]:
        """The tokens of one conversation, up to where the assistant begins to answer."""
        if not conversation or conversation[-1].role != "user":
            raise BadData("a conversation that is to be answered ends with a user's message")
        template = self.template
        ids: list[int] = []
        for number, message in enumerate(conversation):
            if message.role not in ROLES:
                raise BadData(f"message {number + 1}: the role {message.role!r} is none of {', '.join(ROLES)}")
            if message.role == "user":
                if unknown := {getattr(medium, "kind", "image") for medium in message.media} - set(self.placeholders):
                    takes = ", ".join(self.placeholders) or "no media"
                    raise BadData(f"message {number + 1}: this model takes {takes}, not {', '.join(unknown)}")
                ids += template.prefix((getattr(medium, "kind", "image") for medium in message.media), not ids)
                ids += template.question(message.text)
                continue
            if message.media:
                raise BadData(f"message {number + 1}: media belong to the user's messages, not to the {message.role}'s")
            if message.role == "system":
                ids += template.system(message.text)
            elif number == 0 or conversation[number - 1].role != "user":
                raise BadData(f"message {number + 1}: the assistant answers, and no user's message comes before it")
            else:
                ids += template.answer(message.text) + template.control(template.frame.then)
        return ids

    def preprocess(self, images: Sequence[Any]) -> Tensor:
        """Pixels [N, 3, H, W] of images: each an `isthmus.Image`, a path, encoded bytes or a PIL image.

        Where the image processor cuts them into tiles, `encoders.mllama.pack` says how these lie.
        """
        if self.image_processor is None:
            kinds = ", ".join(self.placeholders)
            raise BadData(
                f"this model takes {kinds}, which the processor cannot prepare yet. Give `media` to the model"
            )
        pictures = [load(image) if isinstance(image, Image) else load_image(image) for image in images]
        made = self.image_processor(pictures, return_tensors="pt")
        if "aspect_ratio_ids" in made:  # all pictures are one row's to it
            return mllama.pack(made.pixel_values[0], made.aspect_ratio_ids[0])
        return made.pixel_values  # type: ignore[no-any-return]

    def decode(self, ids: Tensor | Sequence[int], **kwargs: Any) -> str:
        """The text of token ids [T], without control tokens, placeholders and surrounding space."""
        line = ids.tolist() if isinstance(ids, Tensor) else list(ids)
        outside = set(self.placeholders.values())
        text = self.tokenizer.decode([i for i in line if i not in outside], **{"skip_special_tokens": True} | kwargs)
        return str(text).strip()

    def batch_decode(self, rows: Tensor | Sequence[Sequence[int]], **kwargs: Any) -> list[str]:
        """`decode` of each row [B, T]."""
        return [self.decode(row, **kwargs) for row in rows]


def _several(images: Any) -> tuple[Any, ...]:
    if images is None:
        return ()
    return tuple(images) if isinstance(images, list | tuple) else (images,)
