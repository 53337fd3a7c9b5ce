"""A client of an OpenAI-compatible server, such as vLLM, llama.cpp, transformers serve or a hosted one.

What may pass (429, 5xx, a reset, a hang, a reply that is no JSON or empty) is tried again after a bounded wait, by
tenacity; what will not (a refusal, a text that is too long) is told at once. Either way there is an answer or a reason.
The key is read from the environment, goes into the request's header, and is in no text that leaves this module.
"""

from __future__ import annotations

import base64
import email.utils
import io
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from isthmus.errors import BadRecipe, IsthmusError
from isthmus.extras import need
from isthmus.media import load
from isthmus.types import Audio, Image, Medium, Message, Video

KEY = "OPENAI_API_KEY"
TIMEOUT = 120.0  # seconds that a reply may take
ATTEMPTS = 6
LONGEST_WAIT = 60.0  # seconds, whatever Retry-After says
PASSES = {408, 409, 425, 429}  # and all from 500 on
FRAMES = 8  # of a video, as pictures
SHOWN = 200  # characters of a server's error that are told


class Unanswered(IsthmusError):
    """There is no reply, and why; `again` where another try at another time may bring one."""

    def __init__(self, reason: str, again: bool = False) -> None:
        super().__init__(reason)
        self.again = again


class Reply(NamedTuple):
    """What was said; the model that says it did; whether it was cut off at the longest."""

    text: str
    model: str
    cut: bool = False


class _Later(Exception):
    """A failure that may pass, and the seconds that the server asks to wait."""

    def __init__(self, reason: str, seconds: float | None = None) -> None:
        super().__init__(reason)
        self.seconds = seconds


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
        body: dict[str, Any] = {"model": self.named_model(), "messages": [_said(own) for own in messages]}
        body |= {"max_tokens": longest, "temperature": temperature} | ({} if seed is None else {"seed": seed})
        return self._tried("POST", "chat/completions", body, _read)  # type: ignore[no-any-return]

    def replies(
        self, asked: Sequence[Sequence[Message]], *, longest: Sequence[int] | int, temperature: float = 0.0
    ) -> list[Reply | Unanswered]:
        """The replies to several conversations, in their order, some of them at once."""
        self.named_model()
        each = [longest] * len(asked) if isinstance(longest, int) else list(longest)

        def one(number: int) -> Reply | Unanswered:
            try:
                return self.reply(asked[number], longest=each[number], temperature=temperature)
            except Unanswered as error:
                return error

        with ThreadPoolExecutor(self.at_once) as pool:
            return list(pool.map(one, range(len(asked))))

    def close(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _tried(self, method: str, path: str, body: Any, read: Callable[[Any], Any] = lambda held: held) -> Any:
        """What `read` makes of the server's answer, after as many attempts as it takes."""
        tenacity = need("tenacity", "eval")
        attempts = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.attempts),
            wait=_wait(tenacity.wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT)),
            retry=tenacity.retry_if_exception_type(_Later),
            sleep=self.sleep,
            reraise=True,
        )
        try:
            return attempts(lambda: read(self._asked(method, path, body)))
        except _Later as error:
            raise Unanswered(f"{error}, {self.attempts} times", again=True) from None

    def _asked(self, method: str, path: str, body: Any) -> Any:
        httpx = need("httpx", "eval")
        try:
            if self._client is None:
                self._client = httpx.Client(timeout=self.timeout)
            answer = self._client.request(method, f"{self.url}/{path}", json=body, headers=self._headers())
        except httpx.TimeoutException:
            raise _Later(f"no reply within {self.timeout:g} s") from None
        except httpx.InvalidURL as error:
            raise IsthmusError(f"{self.url}: no URL ({error})") from None
        except httpx.TransportError as error:
            raise _Later(f"no connection ({type(error).__name__})") from None
        if answer.status_code >= 500 or answer.status_code in PASSES:
            raise _Later(f"status {answer.status_code}", _seconds(answer.headers.get("retry-after")))
        if answer.status_code in (401, 403):
            told = f"the key in {self.key_from}" if os.environ.get(self.key_from) else f"no key in {self.key_from}"
            raise IsthmusError(f"{self.url} refuses {told} (status {answer.status_code})")
        if answer.status_code == 404:
            raise IsthmusError(f"{self.url}/{path}: not there (status 404), or it has no model {self.model!r}")
        if answer.status_code >= 400:
            raise Unanswered(f"status {answer.status_code}: {self._without_key(answer.text)}")
        try:
            return answer.json()
        except ValueError:
            raise _Later("a reply that is no JSON") from None

    def _headers(self) -> dict[str, str]:
        key = os.environ.get(self.key_from, "")
        return {"Authorization": f"Bearer {key}"} if key else {}

    def _without_key(self, text: str) -> str:
        key = os.environ.get(self.key_from, "")
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
        raise Unanswered(f"refused: {' '.join(str(refused or 'by a content filter').split())[:SHOWN]}")
    if not isinstance(text, str) or not text.strip():
        raise _Later("an empty reply")
    return Reply(text.strip(), model, ended == "length")


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
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None


def _said(message: Message) -> dict[str, Any]:
    """A message as the server takes it: media first, then the text."""
    parts = [part for medium in message.media for part in _parts(medium)]
    return {
        "role": message.role,
        "content": [*parts, {"type": "text", "text": message.text}] if parts else message.text,
    }


def _parts(medium: Any) -> list[dict[str, Any]]:
    if isinstance(medium, Image):
        return [_picture(load(medium))]
    if isinstance(medium, Video):
        import dataclasses

        import PIL.Image

        clip = load(medium if medium.frames else dataclasses.replace(medium, frames=FRAMES, sound=False))
        return [_picture(PIL.Image.fromarray(frame)) for frame in clip.frames]
    if isinstance(medium, Audio):
        import soundfile

        sound, file = load(medium), io.BytesIO()
        soundfile.write(file, sound.samples, sound.rate, format="WAV", subtype="PCM_16")
        data = base64.b64encode(file.getvalue()).decode()
        return [{"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}]
    raise Unanswered(f"a server takes no {_kind(medium)}")


def _kind(medium: Medium) -> str:
    return medium.kind


def _picture(picture: Any) -> dict[str, Any]:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return {
        "type": "image_url",
        "image_url": {"url": f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"},
    }
