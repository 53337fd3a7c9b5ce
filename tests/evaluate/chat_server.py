"""A chat server in a thread that can fail in the ways that servers do."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = ("429", "500", "reset", "hang", "no json", "empty", "no choices")


@dataclass
class Server:
    """`says` makes a reply of the last message; `faults` is the share of requests that fail, in the ways of `ways`."""

    says: Callable[[Any], Any]
    faults: float = 0.0
    ways: tuple[str, ...] = FAULTS
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def fault(self) -> str:
        """Which way this request fails, if it does."""
        with self.lock:
            way = self.rng.choice(self.ways) if self.rng.random() < self.faults else ""
            if way:
                self.failed.append(way)
            return way


def completion(text: str | None, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text} | more.pop("message", {})
    return {"model": "tiny", "choices": [{"message": message, "finish_reason": "stop"} | more]}


@contextmanager
def served(says: Callable[[Any], Any], **options: Any) -> Iterator[Server]:
    """The server, for as long as the block lasts."""
    server = Server(says, **options)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            """Nothing is printed."""

        def do_GET(self) -> None:
            self.send(200, {"data": [{"id": "tiny"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with server.lock:
                server.asked.append(body)
                server.keys.append(self.headers.get("authorization"))
            way = server.fault()
            if way == "reset":
                self.connection.close()
            elif way == "hang":
                time.sleep(0.6)
            elif way in ("429", "500"):
                self.send(int(way), {"error": "later"}, {"Retry-After": "0"})
            elif way:
                self.send(200, {"no json": "{oops", "empty": completion(""), "no choices": {}}[way])
            else:
                said = server.says(body["messages"][-1]["content"])
                status, held = said if isinstance(said, tuple) else (200, said)
                self.send(status, completion(held) if isinstance(held, str) and status == 200 else held)

        def send(self, status: int, held: Any, headers: dict[str, str] | None = None) -> None:
            data = held.encode() if isinstance(held, str) else json.dumps(held).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *arguments: Any) -> None:
            """A connection that was closed on purpose is no news."""

    http = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_port}/v1"
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
