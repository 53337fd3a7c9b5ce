"""A client of an OpenAI-compatible server, such as vLLM, llama.cpp, transformers serve or a hosted one.

What may pass (429, 5xx, a reset, a hang, a reply that is no JSON or empty) is tried again after a bounded wait, by
tenacity; what will not (a refusal, a text that is too long) is told at once. Either way there is an answer or a reason.
The key is read from the environment, goes into the request's header, and is in no text that leaves this module.
"""

from __future__ import annotations

import email.utils
import json
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from isthmus.errors import BadRecipe, IsthmusError
from isthmus.evaluate.chat_parts import NoPart, said
from isthmus.extras import need
from isthmus.types import Message

KEY = "OPENAI_API_KEY"
TIMEOUT = 120.0  # seconds that a reply may take
ATTEMPTS = 6
LONGEST_WAIT = 60.0  # seconds, whatever Retry-After says
PASSES = {408, 409, 425, 429}  # and all from 500 on
LARGEST = 16 * 2**20  # bytes of a reply
NEWER = "max_completion_tokens"
SHOWN = 200  # characters of a server's error that are told


class Unanswered(IsthmusError):
    """There is no reply, and why; `again` where another try at another time may bring one."""

    def __init__(self, reason: str, again: bool = False) -> None:
        super().__init__(reason)
        self.again = again


class Refused(Unanswered):
    """The model, or a filter before it, will not answer this."""


class Reply(NamedTuple):
    """What was said; the model that says it did; whether it was cut off at the longest."""

    text: str
    model: str
    cut: bool = False


class _Later(Exception):
    """A failure that may pass, and the seconds that the server asks to wait; `hung` where it cost the whole time."""

    def __init__(self, reason: str, seconds: float | None = None, hung: bool = False) -> None:
        super().__init__(reason)
        self.seconds, self.hung = seconds, hung


@dataclass
class Endpoint:
    """A model on a server.

    Args:
        url: up to `/v1`.
        model: as the server calls it; by default its only one.
        key_from: the environment variable that holds the key, if there is one.
        at_once: requests under way together.
        sleep: waits so many seconds; another one in tests.
    """

    url: str
    model: str = ""
    key_from: str = KEY
    timeout: float = TIMEOUT
    attempts: int = ATTEMPTS
    at_once: int = 8
    sleep: Callable[[float], None] = time.sleep
    _client: Any = field(default=None, init=False, repr=False)
    _limit: str = field(default="max_tokens", init=False, repr=False)  # what the server calls the longest
    _lock: Any = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        """Raises `BadRecipe` where a key stands in what will be printed, without saying it, and `PartUnavailable`."""
        if "@" in self.url.partition("://")[2].partition("/")[0] or "?" in self.url:
            raise BadRecipe("a server's URL holds no user, password or query: put the key into an environment variable")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.key_from):
            raise BadRecipe("the key is taken from an environment variable: give the variable's name, not the key")
        for module in ("httpx", "tenacity"):  # told before anything is begun
            need(module, "eval")

    @classmethod
    def named(cls, name: str, **options: Any) -> Endpoint:
        """From `http://HOST/v1#MODEL`.

        >>> Endpoint.named("http://localhost:8000/v1#qwen").model
        'qwen'
        """
        url, _, model = name.partition("#")
        return cls(url.rstrip("/"), model, **options)

    def models(self) -> list[str]:
        """The models that the server has. Raises `IsthmusError` where it cannot be asked."""
        try:
            held = self._tried("GET", "models", None)
            return [str(one["id"]) for one in held["data"]]
        except (Unanswered, KeyError, TypeError) as error:
            raise IsthmusError(
                f"{self.url}: its models cannot be listed ({error}). Name one: {self.url}#NAME"
            ) from error

    def named_model(self) -> str:
        """The model's name: the one given, or the server's only one."""
        if not self.model:
            if len(found := self.models()) != 1:
                known = ", ".join(found) or "none"
                raise BadRecipe(f"{self.url} has several models, or none: {known}. Name one: {self.url}#NAME")
            (self.model,) = found
        return self.model

    def reply(
        self, messages: Sequence[Message], *, longest: int, temperature: float = 0.0, seed: int | None = None
    ) -> Reply:
        """What the model says next.

        Raises `Unanswered` after the last attempt or for what will not pass, and `IsthmusError` for what would befall
        every request: a key that is refused, a model that is not there.
        """
        try:
            body: dict[str, Any] = {"model": self.named_model(), "messages": [said(own) for own in messages]}
        except NoPart as error:
            raise Unanswered(str(error)) from None
        body |= {"temperature": temperature} | ({} if seed is None else {"seed": seed})
        try:
            return self._completed(body, longest)
        except Unanswered as error:  # newer models of OpenAI know the limit by another name only
            if self._limit != "max_tokens" or not str(error).startswith("status 400") or NEWER not in str(error):
                raise
            self._limit = NEWER
            return self._completed(body, longest)

    def stream(
        self, asked: Sequence[Sequence[Message]], *, longest: Sequence[int] | int, temperature: float = 0.0
    ) -> Iterator[tuple[int, Reply | Unanswered]]:
        """The replies to several conversations as they come, each with its conversation's number.

        Whoever leaves early, as by Ctrl-C, does not wait for those under way: the threads are daemons.
        """
        self.named_model()
        each = [longest] * len(asked) if isinstance(longest, int) else list(longest)
        todo: queue.SimpleQueue[int] = queue.SimpleQueue()
        done: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        left = threading.Event()
        for number in range(len(asked)):
            todo.put(number)

        def work() -> None:
            while not left.is_set():
                try:
                    number = todo.get_nowait()
                except queue.Empty:
                    return
                try:
                    done.put((number, self.reply(asked[number], longest=each[number], temperature=temperature)))
                except Exception as error:  # raised where the replies are read
                    done.put((number, error))

        for _ in range(min(self.at_once, len(asked))):
            threading.Thread(target=work, daemon=True).start()
        try:
            for _ in asked:
                number, found = done.get()
                if not isinstance(found, Reply | Unanswered):
                    raise found
                yield number, found
        finally:
            left.set()

    def replies(
        self, asked: Sequence[Sequence[Message]], *, longest: Sequence[int] | int, temperature: float = 0.0
    ) -> list[Reply | Unanswered]:
        """The replies to several conversations, in their order, some of them at once."""
        found = dict(self.stream(asked, longest=longest, temperature=temperature))
        return [found[number] for number in range(len(asked))]

    def close(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _completed(self, body: dict[str, Any], longest: int) -> Reply:
        """One completion, with the limit of tokens by the name that this server knows."""
        return self._tried("POST", "chat/completions", body | {self._limit: longest}, _read)  # type: ignore[no-any-return]

    def _tried(self, method: str, path: str, body: Any, read: Callable[[Any], Any] = lambda held: held) -> Any:
        """What `read` makes of the server's answer, after as many attempts as it takes."""
        tenacity = need("tenacity", "eval")
        attempts = tenacity.Retrying(
            stop=_stop(self.attempts),
            wait=_wait(tenacity.wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT)),
            retry=tenacity.retry_if_exception_type(_Later),
            sleep=self.sleep,
            reraise=True,
        )
        try:
            return attempts(lambda: read(self._asked(method, path, body)))
        except _Later as error:
            tried = attempts.statistics["attempt_number"]
            raise Unanswered(f"{error}, {tried} times", again=True) from None

    def _asked(self, method: str, path: str, body: Any) -> Any:
        """What the server's answer holds. Raises `_Later` for what may pass."""
        status, headers, text = self._sent(method, path, body)
        if status >= 500 or status in PASSES:
            raise _Later(f"status {status}", _seconds(headers.get("retry-after")))
        if status in (401, 403):
            told = f"the key in {self.key_from}" if os.environ.get(self.key_from) else f"no key in {self.key_from}"
            raise IsthmusError(f"{self.url} refuses {told} (status {status})")
        if status == 404:
            raise IsthmusError(f"{self.url}/{path}: not there (status 404), or it has no model {self.model!r}")
        if 300 <= status < 400:
            raise IsthmusError(f"{self.url} sends on to {headers.get('location')} (status {status}): give that URL")
        if status >= 400:
            raise Unanswered(f"status {status}: {self._without_key(text.decode(errors='replace'))}")
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise _Later("a reply that is no JSON") from None

    def _sent(self, method: str, path: str, body: Any) -> tuple[int, Any, bytes]:
        """Status, headers and body of the server's answer, the whole of it within `timeout`.

        httpx limits each read, so that a server which sends a byte now and then would never be too late.
        """
        httpx = need("httpx", "eval")
        ends, late = time.monotonic() + self.timeout, f"no reply within {self.timeout:g} s"
        data = None if body is None else json.dumps(body).encode()  # in ASCII: a text may hold half a character
        held = bytearray()
        with self._lock:
            self._client = self._client or httpx.Client(timeout=self.timeout)
        try:
            with self._client.stream(method, f"{self.url}/{path}", content=data, headers=self._headers()) as answer:
                for chunk in answer.iter_bytes():
                    held += chunk
                    if time.monotonic() > ends:
                        raise _Later(late, hung=True)
                    if len(held) > LARGEST:
                        raise Unanswered(f"a reply of more than {LARGEST:,} bytes")
        except httpx.TimeoutException:
            raise _Later(late, hung=True) from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise IsthmusError(f"{self.url}: no URL of a server ({error})") from None
        except httpx.RequestError as error:  # its text may hold a header
            raise _Later(f"no connection ({type(error).__name__})") from None
        return answer.status_code, answer.headers, bytes(held)

    def _key(self) -> str:
        key = os.environ.get(self.key_from, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise BadRecipe(
                f"the key in {self.key_from} holds what no key holds, such as a line's end or a letter with accents"
            )
        return key

    def _headers(self) -> dict[str, str]:
        key = self._key()
        return {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})

    def _without_key(self, text: str) -> str:
        key = self._key()
        return " ".join((text.replace(key, "***") if key else text).split())[:SHOWN]


def _read(held: Any) -> Reply:
    """The reply in a chat completion. Raises `Unanswered` for a refusal, and asks again for one that is not whole."""
    try:
        choice = held["choices"][0]
        message, ended = choice["message"], choice.get("finish_reason")
        text, refused = message.get("content"), message.get("refusal")
        model = str(held.get("model", ""))
    except (KeyError, IndexError, TypeError, AttributeError):
        raise _Later("a reply without an answer in it") from None
    if refused or ended == "content_filter":
        raise Refused(f"refused: {' '.join(str(refused or 'by a content filter').split())[:SHOWN]}")
    if isinstance(text, list):  # some servers give parts
        text = "".join(str(part.get("text", "")) for part in text if isinstance(part, dict))
    if not isinstance(text, str) or not text.strip():
        if ended == "length":
            raise Unanswered("cut off before anything was said, as when a model thinks first")
        raise _Later("an empty reply")
    return Reply(text.strip(), model, ended == "length")


def _stop(attempts: int) -> Callable[[Any], bool]:
    """After so many attempts, or the half of them where the last one cost the whole time."""
    return lambda state: state.attempt_number >= (attempts // 2 if state.outcome.exception().hung else attempts)


def _wait(otherwise: Any) -> Callable[[Any], float]:
    """What the server asks for, up to `LONGEST_WAIT`; else what `otherwise` says."""

    def seconds(state: Any) -> float:
        asked = getattr(state.outcome.exception(), "seconds", None)
        return min(asked, LONGEST_WAIT) if asked is not None else float(otherwise(state))

    return seconds


def _seconds(header: str | None) -> float | None:
    """Retry-After: seconds, or a date.

    >>> _seconds("7"), _seconds(None), _seconds("soon")
    (7.0, None, None)
    """
    if not header:
        return None
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", header):
        return float(header)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
