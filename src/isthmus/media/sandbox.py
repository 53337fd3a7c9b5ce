"""Decoders of native code run in a process of their own, under limits of memory and time.

A decoder is a function `decode(data, **options)` of a module of this folder that returns a dictionary of arrays and
plain facts. It runs in a worker, which is started when it is first needed and then decodes one medium after another. A
medium that makes its decoder crash, eat memory or hang ends its worker and is `BadMedia`; the next one gets a new one.
Requests and answers are JSON and raw arrays: nothing that the worker sends is unpickled or run.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.errors import BadMedia, IsthmusError
from isthmus.media import caps

# Arenas and thread pools reserve address space, which is what the limit counts.
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
KEPT = 2  # idle workers
_START = "import sys; sys.path.insert(0, sys.argv[1]); from isthmus.media.worker import main; main()"


class _Died(Exception):
    """The worker is gone; the text says how."""


class _Worker:
    """One process that decodes; not for two threads at once."""

    def __init__(self) -> None:
        self.used = False
        self.timed_out = False
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, str(Path(__file__).parents[2])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | ENVIRONMENT,
        )

    def decode(self, kind: str, data: bytes, options: dict[str, Any]) -> dict[str, Any]:
        """The decoder's answer. Raises `BadMedia` with what the decoder said, or `_Died`."""
        timer = threading.Timer(caps.WALL_SECONDS, self._too_long)
        timer.daemon = True
        timer.start()
        try:
            return self._ask(kind, data, options)
        except (OSError, EOFError) as error:
            raise _Died(self._death()) from error
        finally:
            timer.cancel()

    def _ask(self, kind: str, data: bytes, options: dict[str, Any]) -> dict[str, Any]:
        to, back = self.process.stdin, self.process.stdout
        assert to is not None
        assert back is not None
        to.write(json.dumps({"kind": kind, "size": len(data), "options": options}).encode() + b"\n")
        to.write(data)
        to.flush()
        self.used = True
        if not (line := back.readline()):
            raise EOFError
        answer = json.loads(line)
        if "died" in answer:
            raise _Died(answer["died"])
        if "bad" in answer:
            raise BadMedia(answer["bad"])
        found: dict[str, Any] = answer["facts"]
        for name, dtype, shape in answer["arrays"]:
            found[name] = array = np.empty(shape, np.dtype(dtype))
            view = memoryview(array.reshape(-1).view(np.uint8).data)
            while view:
                if not (count := back.readinto(view)):  # type: ignore[attr-defined]
                    raise EOFError
                view = view[count:]
        return found

    def _too_long(self) -> None:
        self.timed_out = True
        self.process.kill()

    def _death(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        if self.timed_out:
            return f"decoding took more than {caps.WALL_SECONDS} seconds and was ended"
        if self.process.returncode == -getattr(signal, "SIGXCPU", 0) != 0:
            self.timed_out = True
            return f"decoding took more than {caps.CPU_SECONDS} seconds of a processor and was ended"
        return "damaged, it makes its decoder crash"

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        self.forget()

    def forget(self) -> None:
        """Let go of the process, which is another's to end."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        if self.process.returncode is None:
            self.process.returncode = 0


_idle: list[_Worker] = []
_lock = threading.Lock()


def decode(kind: str, data: bytes, name: str, **options: Any) -> dict[str, Any]:
    """What `isthmus.media.KIND.decode(data, **options)` returns, run in a worker; from any thread.

    Raises `BadMedia`, beginning with the medium's `name`, for what the decoder refuses and for whatever ends the worker
    (a crash, `caps.MEMORY`, `caps.CPU_SECONDS`, `caps.WALL_SECONDS`); `IsthmusError` when no worker can be started.
    """
    while True:
        worker = _take()
        before = worker.used
        try:
            found = worker.decode(kind, data, options)
        except BadMedia as error:
            _give_back(worker)
            raise BadMedia(f"{name}: {error}") from None
        except _Died as error:
            worker.close()
            if before and not worker.timed_out:
                continue  # what an earlier medium left behind may have ended it: once more, in a new one
            raise BadMedia(f"{name}: {error}") from None
        except BaseException:  # Ctrl-C in between: the answer still to come would be taken for the next one's
            worker.close()
            raise
        _give_back(worker)
        return found


def _take() -> _Worker:
    with _lock:
        if _idle:
            return _idle.pop()
    try:
        return _Worker()
    except OSError as error:
        raise IsthmusError(f"no process can be started to decode media ({error.strerror})") from error


def _give_back(worker: _Worker) -> None:
    with _lock:
        if len(_idle) < KEPT:
            _idle.append(worker)
            return
    worker.close()


@atexit.register
def close() -> None:
    """End all idle workers; the next medium starts a new one."""
    with _lock:
        ended = _idle[:]
        _idle.clear()
    for worker in ended:
        worker.close()


def _in_a_fork() -> None:
    global _lock
    _lock = threading.Lock()
    for worker in _idle:  # the parent's: two processes must not talk to one worker
        worker.forget()
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_a_fork)
