"""The processor: conversations with media become the tokens and pixels that a composed model takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import PIL.Image
import torch
from torch import Tensor
from transformers import AutoTokenizer, ProcessorMixin

from isthmus.data.packing import Frame, Slots, Template
from isthmus.encoders import _pictures, _tiles, mllama
from isthmus.encoders._reader import Reader, known
from isthmus.encoders._several import SeveralImageProcessor
from isthmus.errors import BadCheckpoint, BadData
from isthmus.media import load
from isthmus.media.forms import key
from isthmus.media.request import Request
from isthmus.model import encoding
from isthmus.model.pieces import Load, named, pieces
from isthmus.parts.weights import SAFE
from isthmus.types import Image, Message

READER = "reader"  # the folder of that tokenizer
OWN = (Reader, SeveralImageProcessor)  # readers not of transformers
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Prepared:
    """A medium that need not be decoded again: its `pieces` are what `IsthmusProcessor.arrays` gave.

    `name` is that of its file, if it has one, `slots` are those that `IsthmusProcessor.prepare` says it takes, and
    `pixels` are what it took of a request's.
    """

    kind: str
    pieces: list[Any]
    name: str = ""
    slots: Sequence[tuple[str, int]] = ()
    pixels: int = 0

    @cached_property
    def keys(self) -> list[bytes]:
        """What makes each piece the same to its encoder."""
        return [key(piece) for piece in self.pieces]


class IsthmusProcessor(ProcessorMixin):  # type: ignore[misc]
    """A tokenizer and what prepares media, saved with `save_pretrained` and loaded by `AutoProcessor`.

    The attribute `reader` is the tokenizer of connectors that read, where that is not the LLM's own. `readers` are, by
    kind of media other than images, what the encoder's file calls its reader.

    Args:
        tokenizer: the LLM's own; nothing is added to it.
        image_processor: the image encoder's own; None for a model that takes no images.
        placeholders: kind -> token id that holds a slot, as in the model's configuration.
        tokens: kind -> soft tokens of one piece of a medium, at most.
        frame: the control text around what people say, where it is not ChatML (see `data.packing.Frame`).
        reads: the kinds of media whose connector reads the instruction too.
        encoders: kind -> what the configuration says of its encoder, with the encoder's own settings as `config`.
        slots: kind -> how many soft tokens a piece has whose first 1, 2, ... features hold something, where that
            depends on their number.
        tiles: into how many tiles beside its thumbnail a picture is cut at most; 0: it is one piece.
    """

    def __init__(
        self,
        tokenizer: Any,
        image_processor: Any,
        placeholders: dict[str, int] | None = None,
        tokens: dict[str, int] | None = None,
        frame: dict[str, Any] | None = None,
        reads: Sequence[str] = (),
        encoders: dict[str, dict[str, Any]] | None = None,
        slots: dict[str, list[int]] | None = None,
        tiles: int = 0,
    ) -> None:
        super().__init__(tokenizer, image_processor)
        self.reader: Any = None
        self.readers: dict[str, Any] = {}
        self.encoders, self.slots = dict(encoders or {}), dict(slots or {})
        self.placeholders, self.tokens = dict(placeholders or {}), dict(tokens or {})
        self.frame, self.reads, self.tiles = frame, list(reads), tiles

    def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
        """As its base class, but an image processor may be absent."""
        return None if argument is None else super().check_argument_for_proper_class(argument_name, argument)

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> Any:
        """As its base class, which cannot save without an image processor or with a `reader`."""
        folder = Path(save_directory)
        if self.reader:
            self.reader.save_pretrained(folder / READER)
        for kind, reader in self.readers.items():
            reader.save_pretrained(folder / kind)
            self.encoders[kind]["reader"] = type(reader).__name__
        if self.image_processor is not None:
            return super().save_pretrained(folder, *args, **kwargs)
        self.tokenizer.save_pretrained(folder)
        self.to_json_file(folder / "processor_config.json")

    @classmethod
    def from_pretrained(cls, folder: str | Path, *args: Any, **kwargs: Any) -> Any:
        """As its base class, with the `reader` if there is one. Raises `BadCheckpoint` for an unknown reader's name."""
        processor = super().from_pretrained(folder, *args, **kwargs)
        if (Path(folder) / READER).is_dir():
            processor.reader = AutoTokenizer.from_pretrained(Path(folder) / READER, **SAFE)
        for kind, facts in processor.encoders.items():
            try:
                own = known(facts.get("reader"), *OWN)
            except BadCheckpoint as error:
                raise BadCheckpoint(f"{folder}: processor_config.json: encoders.{kind}: {error}") from None
            processor.readers[kind] = own.from_pretrained(Path(folder) / kind, local_files_only=True)
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
        self,
        text: str | Sequence[str],
        images: Any = None,
        media: Any = None,
        return_tensors: str = "pt",
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Each text is one user's turn; see `encode`.

        Args:
            text: a question or several.
            images: nothing, an image or a list of images for one question; a list of these for several questions.
                An image is an `isthmus.Image`, a path, encoded bytes or a PIL image.
            media: the same for media of any kind (`isthmus.Audio`, `Video`, ...), in place of `images`.
        """
        if return_tensors != "pt" or kwargs:
            raise TypeError(f"return_tensors is 'pt' here, and there are no options {sorted(kwargs)}")
        if images is not None and media is not None:
            raise TypeError("give `images`, or `media` of any kind, images among them")
        name, given = ("images", images) if media is None else ("media", media)
        questions = [text] if isinstance(text, str) else list(text)
        each = [given] if isinstance(text, str) else list(given if given is not None else [None] * len(questions))
        if len(each) != len(questions):
            raise BadData(f"{len(questions)} texts, {name} for {len(each)}. Give one entry of `{name}` for each text")
        return self.encode([[Message("user", q, _several(m))] for q, m in zip(questions, each, strict=True)])

    def encode(self, conversations: Sequence[Sequence[Message]]) -> dict[str, Any]:
        """A batch for `generate`: each conversation ends with a user's message, which is to be answered.

        Returns:
            `input_ids` and `attention_mask` [B, T], padded on the left; `media` {"image": [N, 3, H, W], ...} of the
            whole batch in reading order, where there are any; beside them `valid`, for kinds whose media differ in
            length, and `texts`, where a connector reads.

        Raises:
            BadData: for a conversation that does not end with the user, an unknown role, or media of another role.
            BadMedia: for a medium that cannot be read, or more of them in a conversation than `media.request` takes.
        """
        self.check(conversations)
        given = [(m, medium) for conversation in conversations for m in conversation for medium in m.media]
        counts = [sum(len(m.media) for m in conversation) for conversation in conversations]
        decode = [request.load for n, request in zip(counts, map(Request, counts), strict=True) for _ in range(n)]
        media, slots = self.prepare([medium for _, medium in given], decode)
        each = iter(slots)
        rows = [self.ids(conversation, each) for conversation in conversations]
        length = max(map(len, rows), default=0)
        fill = [length - len(row) for row in rows]
        batch: dict[str, Any] = {
            "input_ids": torch.tensor([[self.pad] * n + row for n, row in zip(fill, rows, strict=True)]),
            "attention_mask": torch.tensor([[0] * n + [1] * len(row) for n, row in zip(fill, rows, strict=True)]),
        }
        said = [(kind, m.text) for (m, _), pieces in zip(given, slots, strict=True) for kind, _ in pieces]
        return batch | media | self.texts(said)

    def prepare(
        self, media: Sequence[Any], decode: Sequence[Load] | None = None
    ) -> tuple[dict[str, Any], list[list[tuple[str, int]]]]:
        """Media as a model takes them: `media` and `valid` by kind; and of each medium its pieces' kinds and slots.

        `decode` is for each medium what decodes it, in place of `isthmus.media.load`.

        A sound or a series that is longer than its encoder takes at once has several pieces, and so have a video of
        more frames and a picture that is cut into tiles.

        Raises `BadMedia` for one that cannot be decoded, or that the encoder cannot take.
        """
        kinds = [_kind(medium) for medium in media]
        values: dict[str, Tensor] = {}
        valid: dict[str, Tensor] = {}
        counts: dict[str, Iterator[list[int]]] = {}
        for kind in dict.fromkeys(kinds):
            own = [k for k, its in enumerate(kinds) if its == kind]
            arrays = [self.arrays(media[k], decode[k] if decode else load) for k in own]
            values[kind], length = self.stack(kind, [one for some in arrays for one in some])
            each = iter(self.counts(kind, len(values[kind]), length))
            counts[kind] = iter([[next(each) for _ in some] for some in arrays])
            valid |= {} if length is None else {kind: length}
        slots = [[(kind, count) for count in next(counts[kind])] for kind in kinds]
        return ({"media": values} if values else {}) | ({"valid": valid} if valid else {}), slots

    def stack(self, kind: str, arrays: Sequence[Any]) -> tuple[Tensor, Tensor | None]:
        """Pieces of one kind as the encoder takes them [K, ...], and how many units of each are real [K], if that
        matters."""
        if kind == "image":
            return self._pixels(arrays), None
        values, valid = encoding.prepare(self._config(kind), kind, self.readers[kind], arrays)
        return values, valid if hasattr(encoding.module(self._config(kind), kind), "kept") else None

    def counts(self, kind: str, pieces: int, valid: Tensor | None) -> list[int]:
        """How many slots each of so many pieces takes, of which `valid` [K] units are real."""
        if valid is None or not (table := self.slots.get(kind)):
            return [self.tokens[kind]] * pieces
        return [table[features - 1] for features in encoding.kept(self._config(kind), kind, valid).tolist()]

    def _config(self, kind: str) -> Any:
        """What the model's configuration says of one encoder."""
        own = {f"{kind}_config": SimpleNamespace(**self.encoders[kind]["config"])}
        return SimpleNamespace(encoders=self.encoders, **own)

    def arrays(self, medium: Any, load: Load = load) -> list[Any]:
        """What a medium's encoder is given of it: one array or picture, or several of one that is longer than it takes.

        Raises `BadMedia`, naming the medium, for one that cannot be decoded, or that the encoder cannot take.
        """
        if isinstance(medium, Prepared):
            return medium.pieces
        if (kind := _kind(medium)) == "image":
            with named(medium):
                return self._cut(medium, load)
        if kind not in self.encoders:
            raise BadData(f"this model takes {', '.join(self.placeholders) or 'no media'}, not {kind}")
        return pieces(medium, self.encoders[kind], self.readers[kind], load)

    def texts(self, asked: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """What connectors read beside media: `texts` {kind: (ids, mask)}, each [K, L]; nothing if none reads.

        `asked` gives each piece's kind and instruction, in reading order.
        """
        said: dict[str, list[str]] = {}
        for kind, text in asked:
            if kind in self.reads:
                said.setdefault(kind, []).append(text)
        return {"texts": {kind: self._read(some) for kind, some in said.items()}} if said else {}

    def _read(self, instructions: Sequence[str]) -> tuple[Tensor, Tensor]:
        rows = [self.reader(text).input_ids if self.reader else self.template.plain(text) for text in instructions]
        length = max([1, *map(len, rows)])  # of an empty instruction one token, masked
        ids = torch.tensor([row + [self.pad] * (length - len(row)) for row in rows], dtype=torch.long)
        mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
        return ids, mask

    def check(self, conversations: Sequence[Sequence[Message]]) -> None:
        """Raises `BadData` for conversations that are none, before anything in them is decoded."""
        for conversation in conversations:
            if not conversation or conversation[-1].role != "user":
                raise BadData("a conversation that is to be answered ends with a user's message")
            for number, message in enumerate(conversation):
                if message.role not in ROLES:
                    raise BadData(f"message {number + 1}: the role {message.role!r} is none of {', '.join(ROLES)}")
                if message.role != "user" and message.media:
                    raise BadData(
                        f"message {number + 1}: media belong to the user's messages, not to the {message.role}'s"
                    )
                if unknown := {_kind(medium) for medium in message.media} - set(self.placeholders):
                    takes = ", ".join(self.placeholders) or "no media"
                    raise BadData(f"message {number + 1}: this model takes {takes}, not {', '.join(unknown)}")
                if message.role == "assistant" and (number == 0 or conversation[number - 1].role != "user"):
                    raise BadData(f"message {number + 1}: the assistant answers, and no user's message comes before it")

    def ids(self, conversation: Sequence[Message], slots: Iterator[Sequence[Slots]] | None = None) -> list[int]:
        """The tokens of one conversation, up to where the assistant begins to answer.

        `slots` gives for each medium, in reading order, what `prepare` says of its pieces; see `Template.conversation`.
        """
        return self.template.conversation(conversation, slots)

    def preprocess(self, images: Sequence[Any]) -> Tensor:
        """Pixels [N, 3, H, W] of images: each an `isthmus.Image`, a path, encoded bytes or a PIL image.

        Where they are cut into tiles, N counts the pieces, of which `prepare` says whose they are. Where the image
        processor itself cuts them, `encoders.mllama.pack` says how these lie.
        """
        return self._pixels([piece for image in images for piece in self.arrays(image)])

    def _cut(self, image: Any, load: Load) -> list[PIL.Image.Image]:
        """The pieces of an image: itself, or its thumbnail and tiles."""
        if self.image_processor is None:
            raise BadData(f"this model takes {', '.join(self.placeholders) or 'no media'}, not image")
        picture: PIL.Image.Image = load(image if isinstance(image, Image) else Image(image))
        if not self.tiles:
            return [picture]
        return _tiles.cut(picture, _pictures.side(self.image_processor), self.tiles, self.image_processor.resample)

    def _pixels(self, pieces: Sequence[PIL.Image.Image]) -> Tensor:
        made = _pictures.prepared(self.image_processor, pieces)
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


def _kind(medium: Any) -> str:
    """A path, bytes or a PIL image without a kind is an image."""
    return getattr(medium, "kind", "image")


def _several(images: Any) -> tuple[Any, ...]:
    if images is None:
        return ()
    return tuple(images) if isinstance(images, list | tuple) else (images,)
