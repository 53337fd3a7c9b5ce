"""Programs that a model wrote run in a process of their own, with limits and without a network.

The process (`isthmus.evaluate._program`) is given limits of processor time, memory, processes and the size of files, no
environment and an empty folder. Where the kernel lets any user do so, it has namespaces of its own: a network without
interfaces, and processes that all end with it. Elsewhere sockets are refused by the interpreter itself; `isolation`
says which. Whatever it leaves running in its process group is killed.

This keeps accidents in. It is no proof against a program that is written to break out.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from isthmus.errors import IsthmusError

SECONDS = 3.0  # of a program, as in HumanEval
MEMORY = 4 * 2**30  # bytes of address space: libraries reserve more than they use
FILE_BYTES = 2**20
PROCESSES = 32
GRACE = 20.0  # seconds for the interpreter to start on a busy machine, beyond the program's own
_RUNNER = Path(__file__).with_name("_program.py")
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


class Outcome(NamedTuple):
    """Whether a program came to its end without an error, and what happened otherwise."""

    passed: bool
    result: str


def run(program: str, seconds: float = SECONDS, memory: int = MEMORY) -> Outcome:
    """Run a Python program; it passes when it comes to its end, so tests are to raise.

    Raises `IsthmusError` where no process can be started, and on systems without POSIX's limits.

    >>> run("assert 1 + 1 == 2")
    Outcome(passed=True, result='passed')
    >>> run("assert 1 + 1 == 3"), run("import sys; sys.exit(0)").passed
    (Outcome(passed=False, result='failed: AssertionError'), False)
    """
    if os.name != "posix":
        raise IsthmusError("programs of models are run on POSIX systems only: elsewhere there are no limits to set")
    token = secrets.token_hex(16)
    limits = [str(one) for one in (seconds, memory, FILE_BYTES, PROCESSES)]
    with tempfile.TemporaryDirectory(prefix="isthmus-program-") as folder:
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", str(_RUNNER), *limits],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env=_ENVIRONMENT,
                start_new_session=True,
            )
        except OSError as error:
            raise IsthmusError(f"no process can be started to run a program ({error.strerror})") from error
        try:
            said, _ = process.communicate(f"{token}\n{program}".encode("utf-8", "replace"), seconds + GRACE)
        except subprocess.TimeoutExpired:
            return Outcome(False, "timed out")
        finally:
            _end(process)
    return _outcome(said.decode("utf-8", "replace"), token)


def run_all(programs: Sequence[str], seconds: float = SECONDS, workers: int | None = None) -> list[Outcome]:
    """Run programs, several at once: by default as many as this process may use cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(workers or cores) as pool:
        return list(pool.map(functools.partial(run, seconds=seconds), programs))


@functools.cache
def isolation() -> str:
    """What keeps programs from the network here, in words: namespaces of their own, or sockets refused."""
    probe = "import socket, os\nassert os.path.exists('/proc/self/ns/net')\nassert len(socket.if_nameindex()) <= 1"
    outcome = run(f"{probe}\nraise SystemError(os.readlink('/proc/self/ns/net'))")
    here = os.readlink("/proc/self/ns/net") if os.path.exists("/proc/self/ns/net") else ""
    own = outcome.result.startswith("failed: SystemError: net:") and here not in outcome.result
    return "a network namespace without interfaces" if own else "sockets refused by the interpreter"


def _outcome(said: str, token: str) -> Outcome:
    """What the runner reported in its last line; a process that ended without a report was ended by a limit."""
    lines = said.rstrip("\n").split("\n")
    mark, _, result = lines[-1].partition(" ")
    if mark != token:
        return Outcome(False, "timed out")
    return Outcome(result == "passed", result)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and whatever is left in its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
