"""The process that decodes: it reads requests from its standard input until that ends (see `isthmus.media.sandbox`)."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
import warnings
from typing import Any, BinaryIO

import numpy as np

from isthmus.errors import BadMedia
from isthmus.media import caps

DECODERS = ("audio", "video", "animation", "pdf", "raster", "points", "parquet")


def main() -> None:
    """Answer requests. Nothing else comes out of the process: decoders that print, print to nowhere."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches all its processes; the parent decides
    warnings.simplefilter("ignore")
    out = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    requests = sys.stdin.buffer
    while line := requests.readline():
        request = json.loads(line)
        data = requests.read(request["size"])
        if not _answer(request, data, out):
            return


def _answer(request: dict[str, Any], data: bytes, out: BinaryIO) -> bool:
    """Decode and send; false when this process is not fit to go on."""
    if request["kind"] not in DECODERS:
        return _send(out, {"bad": f"no decoder {request['kind']!r}"})
    module = importlib.import_module(f"isthmus.media.{request['kind']}")
    try:
        _limit()
        found = module.decode(data, **request["options"])
        arrays = {name: np.ascontiguousarray(value) for name, value in found.items() if isinstance(value, np.ndarray)}
        _soft("RLIMIT_AS", None)  # room to answer in
    except BadMedia as error:
        return _send(out, {"bad": str(error)})
    except MemoryError:
        _soft("RLIMIT_AS", None)
        _send(out, {"died": f"decoding takes more than {caps.MEMORY:,} bytes of memory"})
        return False
    except BaseException as error:  # a damaged file can raise almost anything inside a decoder, a Rust panic too
        return _send(out, {"bad": f"damaged, it ends early or does not decode ({type(error).__name__})"})
    facts = {name: value for name, value in found.items() if name not in arrays}
    shapes = [(name, array.dtype.str, array.shape) for name, array in arrays.items()]
    _send(out, {"facts": facts, "arrays": shapes}, *arrays.values())
    return True


def _send(out: BinaryIO, answer: dict[str, Any], *arrays: np.ndarray[Any, Any]) -> bool:
    out.write(json.dumps(answer).encode() + b"\n")
    for array in arrays:
        out.write(array.reshape(-1).view(np.uint8).data)
    out.flush()
    return True


def _limit() -> None:
    """Memory and processor time for one request, beyond what earlier ones took."""
    _soft("RLIMIT_CPU", int(time.process_time()) + 1 + caps.CPU_SECONDS)
    if os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm") as file:
            _soft("RLIMIT_AS", int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE") + caps.MEMORY)


def _soft(name: str, limit: int | None) -> None:
    """Set a limit that can be set again; none is as far as it goes. Where there are none (Windows), do nothing."""
    try:
        import resource
    except ImportError:
        return
    which = getattr(resource, name)
    _, hard = resource.getrlimit(which)
    bound = hard if limit is None or (hard != resource.RLIM_INFINITY and limit > hard) else limit
    resource.setrlimit(which, (bound, hard))
