"""Talking to a model in the terminal: one question, or a conversation with several media and streamed answers."""

from __future__ import annotations

import json
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from isthmus.errors import IsthmusError
from isthmus.types import Image, Message

LONGEST = 64  # tokens of an answer
HELP = "/image FILE shows another picture, /new starts over, /quit ends. Ctrl-C stops an answer."


@dataclass
class Chat:
    """A conversation with a model: what was said, and the pictures that wait for the next question."""

    model: Any
    processor: Any
    said: list[Message] = field(default_factory=list)
    waiting: list[Image] = field(default_factory=list)

    def show(self, path: str | Path) -> None:
        """Put a picture before the next question; one that cannot be read raises `BadMedia` at once."""
        image = Image(path)
        self.processor.preprocess([image])
        self.waiting.append(image)

    def ask(self, question: str, show: Any = None, stop: threading.Event | None = None) -> tuple[str, int]:
        """The answer and its number of tokens; both turns join the conversation.

        Args:
            show: called with each piece of text as it comes.
            stop: when set, the answer ends after the token under way.
        """
        turn = Message("user", question, tuple(self.waiting))
        inputs = self.processor.encode([[*self.said, turn]])
        streamer = _Streamer(self.processor, show, stop or threading.Event())
        with torch.inference_mode():
            self.model.generate(
                **inputs,
                max_new_tokens=LONGEST,
                do_sample=False,
                streamer=streamer,
                stopping_criteria=[lambda ids, scores, **_: torch.full((len(ids),), streamer.stop.is_set())],
            )
        answer = self.processor.decode(streamer.tokens)
        self.said += [turn, Message("assistant", answer)]
        self.waiting = []
        return answer, len(streamer.tokens)


class _Streamer:
    """What `generate` hands its tokens to; only whole characters are shown."""

    def __init__(self, processor: Any, show: Any, stop: threading.Event) -> None:
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
        if self.show and not text.endswith("\ufffd"):
            self.show(text[len(self.shown) :])
            self.shown = text

    def end(self) -> None:
        """Nothing is held back."""


def once(model: Any, processor: Any, images: list[str], question: str, as_json: bool, console: Console) -> None:
    """Answer one question and print it, or one JSON object: answer, tokens, seconds."""
    chat = Chat(model, processor)
    for image in images:
        chat.show(image)
    start = time.perf_counter()
    if as_json:
        answer, tokens = chat.ask(question)
        seconds = round(time.perf_counter() - start, 3)
        print(json.dumps({"answer": answer, "tokens": tokens, "seconds": seconds}))
        return
    chat.ask(question, _printer(console))
    console.print()


def converse(model: Any, processor: Any, images: list[str], console: Console) -> None:
    """A conversation until /quit or the end of input."""
    chat = Chat(model, processor)
    for image in images:
        chat.show(image)
    console.print(f"[dim]{HELP}[/]")
    while True:
        try:
            line = console.input("[bold]> [/]").strip()
        except EOFError:
            return
        except KeyboardInterrupt:
            console.print("\n[dim]/quit ends the chat[/]")
            continue
        try:
            if not _command(chat, line, console):
                return
        except IsthmusError as error:
            console.print(f"{error}", style="red", markup=False)


def _command(chat: Chat, line: str, console: Console) -> bool:
    """Do what a line says; false when the chat is over."""
    word, _, rest = line.partition(" ")
    if word == "/quit":
        return False
    if word == "/image":
        chat.show(rest.strip())
        console.print(f"[dim]{rest.strip()} goes with your next question[/]", highlight=False)
    elif word == "/new":
        chat.said, chat.waiting = [], []
        console.print("[dim]a new conversation[/]")
    elif word.startswith("/"):
        console.print(f"[dim]{HELP}[/]")
    elif line:
        _interruptible(chat, line, console)
    return True


def _interruptible(chat: Chat, line: str, console: Console) -> None:
    """Stream the answer; Ctrl-C ends it and what was said so far stays in the conversation."""
    stop = threading.Event()
    before = signal.signal(signal.SIGINT, lambda number, frame: stop.set())
    try:
        chat.ask(line, _printer(console), stop)
    finally:
        signal.signal(signal.SIGINT, before)
    console.print(" [dim](stopped)[/]" if stop.is_set() else "")


def _printer(console: Console) -> Any:
    return lambda piece: console.print(piece, end="", markup=False, highlight=False, soft_wrap=True)
