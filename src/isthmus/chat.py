"""Talking to a model in the terminal: one question, or a conversation with several media and streamed answers.

A model without media talks as well, and any decoder-only one continues a text that is no question.
"""

from __future__ import annotations

import dataclasses
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import send_to_device
from rich.console import Console

from isthmus.describing import captions
from isthmus.errors import BadData, BadMedia, IsthmusError
from isthmus.experts import Experts, bounded
from isthmus.experts._told import Told, before
from isthmus.media.caps import MAX_REQUEST_PIXELS
from isthmus.media.request import Request
from isthmus.model.pieces import name_of
from isthmus.model.processor import Prepared
from isthmus.model.reuse import Reuse
from isthmus.types import KINDS, NOUNS, Image, Medium, Message

LONGEST = 64  # tokens of an answer
HELP = (
    "/image FILE shows a picture ({more}), /continue TEXT goes on with a text, /new starts over, /quit ends."
    " Ctrl-C stops an answer."
).format(more=", ".join(f"/{kind}" for kind in KINDS if kind != "image") + " for other media")
Show = Callable[[str], None]


@dataclass
class Chat:
    """A conversation with a model: what was said, and the media that wait for the next question.

    Of `experts`, by name, each tells what it makes of every medium that it takes, as text before the next question.
    Where the model takes the medium as well, it has both (VideoChat's pairing; Li et al., 2023, arXiv:2305.06355).
    """

    model: Any
    processor: Any
    said: list[Message] = field(default_factory=list)
    waiting: list[Prepared] = field(default_factory=list)
    room: int = MAX_REQUEST_PIXELS  # pixels that the conversation may still show
    experts: Sequence[str] = ()
    told: list[Told] = field(default_factory=list)  # by experts, of the media that wait; as much of it as is read
    note: str = ""  # what of it is not
    reuse: Reuse = field(init=False, repr=False)  # what the turns before left: nothing is encoded or read twice

    def __post_init__(self) -> None:
        self.reuse = Reuse(self.model, self.processor)
        self._experts = Experts(self.experts, caption=captions(self.model, self.processor))
        self._told_of: list[str] = []
        self.tellings: list[tuple[str, list[Told]]] = []  # of each medium, what it is called and all that is told

    def show(self, medium: str | Path | Medium) -> list[Told]:
        """Put a medium before the next question (a path: a picture); answers what experts tell of it.

        What its encoder is given is kept, since every later turn looks at it again: its file may change or go.
        Of a kind that the model does not take, experts tell alone.

        Raises `BadMedia` for one that cannot be read, or that takes more slots than the LLM has positions left, and
        `BadData` for one of a kind that neither the model nor an expert takes. The conversation goes on without it.
        """
        if isinstance(medium, str | Path):
            medium = Image(Path(medium).expanduser())
        takes = medium.kind in self.processor.placeholders
        if not takes and not self._experts.about(medium.kind):
            known = ", ".join(self.processor.placeholders) or "no media"
            theirs = "".join(f"; {name} takes {', '.join(one.KINDS)}" for name, one in self._experts.modules.items())
            raise BadData(f"this model takes {known}, not {medium.kind}{theirs}")
        shown, room = self._prepared(medium) if takes else (None, self.room)
        told = self._experts(medium)
        if told:
            self.tellings.append((NOUNS[medium.kind], told))
            self.told, self.note = bounded(self.all_told)
            self._told_of.append(name_of(medium) or f"a {NOUNS[medium.kind]}")
        if shown is not None:
            self.waiting.append(shown)
        self.room = room
        return told

    def _prepared(self, medium: Medium) -> tuple[Prepared, int]:
        """A medium as its encoder takes it, and the pixels that the conversation may show after it."""
        request = Request(len(self.waiting) + 1 + sum(len(message.media) for message in self.said))
        request.room = self.room
        pieces = self.processor.arrays(medium, request.load)
        _, (slots,) = self.processor.prepare(
            [Prepared(medium.kind, pieces)]
        )  # what the encoder cannot take is an error
        shown = Prepared(medium.kind, pieces, name_of(medium), slots, self.room - request.room)
        self._check_fit(shown)
        return shown, request.room

    def ask(self, question: str, show: Show | None = None, stop: threading.Event | None = None) -> tuple[str, int]:
        """The answer and how many tokens were generated for it; both turns join the conversation.

        Args:
            show: called with each piece of text as it comes.
            stop: when set, the answer ends after the token under way.

        Raises:
            BadData: when the conversation has become longer than the LLM can read. If the question alone would fit, the
                media that waited for it, and what was told of them, wait no longer.
        """
        turn = Message("user", before(question, self.told), tuple(self.waiting))
        asked = self.reuse.ask([*self.said, turn])
        tokens = len(asked.ids)
        if self._fits(tokens) or not self._fits(self._count(Message("user", question))):
            self._check_room(tokens)
        else:
            self._put_aside(tokens)
        said = self._streamed(partial(self.reuse.generate, asked), show, stop)
        answer = self.processor.decode(said)
        self.said += [turn, Message("assistant", answer)]
        self.forget()
        return answer, len(said)

    def forget(self) -> None:
        """Nothing waits for the next question any more."""
        self.waiting, self.told, self.note, self._told_of, self.tellings = [], [], "", [], []

    @property
    def all_told(self) -> list[Told]:
        """All that experts tell of the media that wait, also what is too much to be read; of several, with its name."""
        if len(self.tellings) < 2:
            return [one for _, told in self.tellings for one in told]
        every, seen, found = [noun for noun, _ in self.tellings], Counter[str](), []
        for noun, told in self.tellings:
            seen[noun] += 1
            name = noun if every.count(noun) == 1 else f"{noun} {seen[noun]}"
            found += [dataclasses.replace(one, of=name) for one in told]
        return found

    def go_on(
        self, text: str, show: Show | None = None, stop: threading.Event | None = None
    ) -> tuple[str, int, float | None]:
        """How the LLM continues a text that is no question, in how many tokens, and the text's own perplexity.

        Perplexity is exp of the mean negative log-likelihood of the text's tokens, each given those before it; None
        where the first is the only one. The conversation is neither read nor changed.

        Raises `BadData` for an encoder-decoder, which answers a text and does not continue it, or an empty text.
        """
        if self.model.config.is_encoder_decoder:
            raise BadData("an encoder-decoder answers a text and does not continue it. Ask a question")
        ids = torch.tensor([self.processor.template.text(text)], dtype=torch.long)
        if not ids.numel():
            raise BadData("there is no text to continue")
        self._check_room(ids.shape[1])
        with torch.inference_mode():
            logits = self.model(input_ids=ids.to(self.model.device)).logits[0, :-1].float()
            loss = torch.nn.functional.cross_entropy(logits, ids[0, 1:].to(logits.device)) if len(logits) else None
        inputs = send_to_device({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, self.model.device)
        tokens = self._streamed(partial(self.model.generate, **inputs), show, stop)
        return self.processor.decode(tokens), len(tokens), None if loss is None else float(loss.exp())

    def _streamed(self, say: Callable[..., Any], show: Show | None, stop: threading.Event | None) -> list[int]:
        """The likeliest tokens, one at a time, of what generates them when it is told how."""
        streamer = _Streamer(self.processor, show, stop or threading.Event())
        with torch.inference_mode():
            say(
                max_new_tokens=LONGEST,
                do_sample=False,
                streamer=streamer,
                stopping_criteria=[lambda ids, scores, **_: torch.full((len(ids),), streamer.stop.is_set())],
            )
        return streamer.tokens

    @property
    def _reads(self) -> int | None:
        """How many tokens the LLM reads; None where nothing bounds them."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

    def _fits(self, tokens: int) -> bool:
        return self._reads is None or tokens + LONGEST <= self._reads

    def _count(self, turn: Message) -> int:
        """The tokens of the conversation with one more turn."""
        talk = [*self.said, turn]
        slots = (medium.slots for message in talk for medium in message.media if isinstance(medium, Prepared))
        return len(self.processor.ids(talk, slots))

    def _check_fit(self, shown: Prepared) -> None:
        """Raises `BadMedia` for a medium after which no question could be asked."""
        before = self._count(Message("user", "", tuple(self.waiting)))
        tokens = self._count(Message("user", "", (*self.waiting, shown))) - before
        if self._reads is not None and not self._fits(before + tokens):
            left, name = max(0, self._reads - LONGEST - before), shown.name or f"this {NOUNS[shown.kind]}"
            again = ", or start a new conversation" if self.said or self.waiting else ""
            raise BadMedia(
                f"{name}: {tokens:,} tokens for the LLM, which reads {self._reads:,}; {left:,} of these are left beside"
                f" an answer. Show less of it{again}"
            )

    def _put_aside(self, tokens: int) -> None:
        """Raises `BadData` for media beside which a question does not fit; they wait no longer."""
        shown_too = [shown.name or f"a {NOUNS[shown.kind]}" for shown in self.waiting]
        names = ", ".join(dict.fromkeys([*shown_too, *self._told_of]))
        self.room += sum(shown.pixels for shown in self.waiting)
        self.forget()
        raise BadData(
            f"{names}: with this question the conversation has {tokens:,} tokens and an answer takes up to {LONGEST};"
            f" the LLM reads {self._reads:,}. What was shown is put aside: ask without it, or show it and ask less"
        )

    def _check_room(self, tokens: int) -> None:
        if not self._fits(tokens):
            raise BadData(
                f"the conversation has {tokens:,} tokens and an answer takes up to {LONGEST}; the LLM reads"
                f" {self._reads:,}. Start a new one, or ask something shorter"
            )


class _Streamer:
    """What `generate` hands its tokens to; only whole characters are shown."""

    def __init__(self, processor: Any, show: Show | None, stop: threading.Event) -> None:
        self.processor, self.show, self.stop = processor, show, stop
        self.tokens: list[int] = []
        self.shown = ""
        self.prompt = True

    def put(self, value: torch.Tensor) -> None:
        """`generate` gives the prompt first, then each token."""
        if self.prompt:
            self.prompt = False
            return
        self.tokens += value.flatten().tolist()
        text = self.processor.decode(self.tokens)
        if not text.endswith("\ufffd"):  # half of a character whose other bytes are still to come
            self._show(text)

    def end(self) -> None:
        """Show what was held back, whole or not."""
        self._show(self.processor.decode(self.tokens))

    def _show(self, text: str) -> None:
        if self.show and len(text) > len(self.shown):
            self.show(text[len(self.shown) :])
            self.shown = text


def once(
    model: Any,
    processor: Any,
    media: Sequence[Medium],
    question: str,
    as_json: bool,
    console: Console,
    experts: Sequence[str] = (),
) -> None:
    """Answer one question and print it, or one JSON object: answer, tokens, seconds; with experts, told as well."""
    chat = Chat(model, processor, experts=experts)
    for medium in media:
        chat.show(medium)
    told = [one.to_dict() for one in chat.all_told]
    if note := chat.note if told or not experts else "experts told nothing":
        _note(Console(stderr=True), note)
    start = time.perf_counter()
    answer, tokens = chat.ask(question, None if as_json else _printer(console))
    if as_json:
        seconds = round(time.perf_counter() - start, 3)
        beside = {"told": told} if experts else {}
        print(json.dumps({"answer": answer, "tokens": tokens, "seconds": seconds} | beside))
    else:
        console.print()


def continued(model: Any, processor: Any, text: str, as_json: bool, console: Console) -> None:
    """Print how a text goes on, and its perplexity; or one JSON object: continuation, tokens, perplexity, seconds."""
    start = time.perf_counter()
    more, tokens, perplexity = Chat(model, processor).go_on(text, None if as_json else _printer(console))
    if as_json:
        seconds = round(time.perf_counter() - start, 3)
        print(json.dumps({"continuation": more, "tokens": tokens, "perplexity": perplexity, "seconds": seconds}))
    else:
        console.print()
        _note(console, _scored(perplexity))


def converse(
    model: Any, processor: Any, media: Sequence[Medium], console: Console, experts: Sequence[str] = ()
) -> None:
    """A conversation until /quit or the end of input; an error is shown and the conversation goes on."""
    chat = Chat(model, processor, experts=experts)
    for medium in media:
        _show(chat, medium, console)
    _note(console, HELP)
    with suppress(ImportError):
        import readline  # noqa: F401  # arrow keys and history at the prompt, where the platform has it
    while True:
        try:
            if not _command(chat, input("> ").strip(), console):
                return
        except EOFError:
            console.print()
            return
        except KeyboardInterrupt:
            console.print()
            _note(console, "/quit ends the chat")
        except IsthmusError as error:
            console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)


def _command(chat: Chat, line: str, console: Console) -> bool:
    """Do what a line says; false when the chat is over."""
    word, _, rest = line.partition(" ")
    file = rest.strip().strip("'\"")  # as a terminal pastes a file that is dropped on it
    if word == "/quit":
        return False
    if word == "/continue" and rest.strip():
        found: list[float | None] = []
        _interruptible(lambda show, stop: found.append(chat.go_on(rest.strip(), show, stop)[2]), console)
        _note(console, _scored(*found))
        return True
    if word[1:] in KINDS and word[0] == "/" and file:
        _show(chat, KINDS[word[1:]](Path(file).expanduser()), console)
        _note(console, f"{file} goes with your next question")
    elif word == "/new":
        chat.said, chat.room = [], MAX_REQUEST_PIXELS
        chat.forget()
        _note(console, "a new conversation")
    elif word.startswith("/"):
        _note(console, HELP)
    elif line:
        _interruptible(lambda show, stop: chat.ask(line, show, stop), console)
    return True


def _show(chat: Chat, medium: Medium, console: Console) -> None:
    """Show a medium, and print what experts tell of it."""
    for one in chat.show(medium):
        _note(console, "".join(char for char in str(one) if char.isprintable()))
    if chat.note:
        _note(console, chat.note)


def _interruptible(say: Callable[[Show, threading.Event], Any], console: Console) -> None:
    """Stream what `say(show, stop)` says; Ctrl-C ends it, and what was said so far stays in the conversation."""
    stop = threading.Event()
    before = signal.signal(signal.SIGINT, lambda number, frame: stop.set())
    try:
        say(_printer(console), stop)
    finally:
        signal.signal(signal.SIGINT, before)
    _note(console, " (stopped)" if stop.is_set() else "")


def _scored(perplexity: float | None) -> str:
    return "" if perplexity is None else f"perplexity of the text that was given: {perplexity:,.1f}"


def _note(console: Console, text: str) -> None:
    console.print(text, style="dim", markup=False, highlight=False, soft_wrap=True)


def _printer(console: Console) -> Show:
    def show(piece: str) -> None:
        visible = "".join(char for char in piece if char.isprintable() or char == "\n")  # no escape sequences
        console.print(visible, end="", markup=False, highlight=False, soft_wrap=True)

    return show
