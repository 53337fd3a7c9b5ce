"""The process that runs one program (see `isthmus.evaluate.programs`): a script, alone, that imports nothing of ours.

It reads a token and the program from its standard input, goes into namespaces of its own where it may, sets its limits,
runs the program with its output going nowhere, and writes the token and what came of it as its last line.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from typing import Any

NAMESPACES = 0x10000000 | 0x40000000 | 0x20000000 | 0x08000000  # Linux: user, network, processes, IPC
DIE_WITH_PARENT = 1  # of prctl
NETWORK = ("socket.",)
PROCESSES = (
    "subprocess.",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.kill",
    "signal.pthread",
)
CHANGES = (
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.chmod",
    "os.chown",
    "os.link",
    "os.symlink",
    "os.truncate",
)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def main() -> None:
    """Run the program of the standard input under the arguments' limits: seconds, memory, size of files, processes."""
    seconds, memory, size, processes = float(sys.argv[1]), *map(int, sys.argv[2:5])
    token, _, program = sys.stdin.buffer.read().decode().partition("\n")
    report = os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    _apart()
    bounds = {"CPU": int(seconds) + 2, "AS": memory, "FSIZE": size, "NPROC": processes, "CORE": 0}
    for name, bound in bounds.items():
        _limit(getattr(resource, f"RLIMIT_{name}"), bound)
    folder = os.path.realpath(os.getcwd())
    sys.argv[1:] = []
    sys.addaudithook(lambda event, arguments: _refuse(event, arguments, folder))

    def tell(result: str) -> None:
        os.write(report, f"{token} {result}\n".encode("utf-8", "replace"))
        os._exit(0)

    signal.signal(signal.SIGALRM, lambda *_: tell("timed out"))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        exec(compile(program, "<program>", "exec"), {})
    except BaseException as error:  # SystemExit too: a program that leaves has not passed its tests
        text = f"{type(error).__name__}: {error}".rstrip(": ").replace("\n", " ")
        tell(f"failed: {text[:200]}")
    tell("passed")


def _apart() -> None:
    """Go into namespaces of its own; the process that stays outside waits for the one inside, and ends with it."""
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    if libc.unshare(NAMESPACES) != 0:
        return
    inside = os.fork()  # the first process of the new namespace: when it ends, the kernel ends all others there
    if inside:
        os.waitpid(inside, 0)
        os._exit(0)
    libc.prctl(DIE_WITH_PARENT, signal.SIGKILL)


def _limit(which: int, bound: int) -> None:
    _, hard = resource.getrlimit(which)
    low = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
    resource.setrlimit(which, (low, low))


def _refuse(event: str, arguments: Any, folder: str) -> None:
    """Refuse sockets, other processes and changes of files outside the folder, as the interpreter reports them."""
    if event.startswith((*NETWORK, *PROCESSES)) and event != "socket.if_nameindex":
        raise PermissionError(f"{event} is refused to programs under test")
    paths: tuple[Any, ...] = ()
    if event == "open":
        paths = arguments[:1] if isinstance(arguments[2], int) and arguments[2] & WRITES else ()
    elif event.startswith(CHANGES):
        paths = arguments[:2] if event.startswith(("os.rename", "os.link")) else arguments[:1]
    for path in paths:
        if isinstance(path, str | bytes | os.PathLike):
            whole = os.path.realpath(os.fsdecode(path))
            if whole != os.devnull and os.path.commonpath([whole, folder]) != folder:
                raise PermissionError(f"{event} outside its own folder is refused to programs under test")


if __name__ == "__main__":
    main()
