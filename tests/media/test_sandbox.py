"""Decoders that crash, hang, eat memory or talk: the medium is bad, the process and the next medium are not harmed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from media_files import sound

from isthmus.errors import BadMedia, IsthmusError
from isthmus.media import caps, load, sandbox
from isthmus.types import Audio

DECODER = """
import ctypes, os, sys, time
import numpy as np

def decode(data, **options):
    if data == b"crash":
        ctypes.string_at(0)
    if data == b"exit":
        sys.exit(3)
    if data == b"spin":
        while True:
            pass
    if data == b"sleep":
        time.sleep(100)
    if data == b"memory":
        return {"array": np.ones(2**28)}
    if data == b"talk":
        print("hello"); os.write(1, b"hello"); os.write(2, b"hello")
    if data == b"raise":
        raise ValueError(f"at {hex(id(data))}")
    array = np.arange(6, dtype=np.int16).reshape(2, 3).T
    return {"array": array, "empty": np.zeros((0, 3)), "pid": os.getpid(), **options}
"""


@pytest.fixture
def decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`sandbox.decode("audio", ...)` runs `DECODER`, and no limit is longer than seconds."""
    start = f"""
import sys; sys.path.insert(0, sys.argv[1])
from isthmus.media import caps, worker
caps.CPU_SECONDS = 1
exec({DECODER!r}, (module := type(sys)("isthmus.media.audio")).__dict__)
sys.modules["isthmus.media.audio"] = module
worker.main()
"""
    sandbox.close()
    monkeypatch.setattr(sandbox, "_START", start)
    monkeypatch.setattr(caps, "WALL_SECONDS", 60)
    yield
    sandbox.close()


def ask(data: bytes = b"", **options: object) -> dict[str, object]:
    return sandbox.decode("audio", data, "a.wav", **options)


def test_what_comes_back(decoder: None) -> None:
    found = ask(answer=42, text="ä")
    assert np.array_equal(found["array"], [[0, 3], [1, 4], [2, 5]])
    assert found["array"].dtype == np.int16  # type: ignore[attr-defined]
    assert found["empty"].shape == (0, 3)  # type: ignore[attr-defined]
    assert (found["answer"], found["text"]) == (42, "ä")
    assert ask()["pid"] == found["pid"] != os.getpid(), "one process decodes many"
    assert "array" in ask(b"talk"), "what decoders print goes nowhere"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"crash", "a.wav: damaged, it makes its decoder crash"),
        (b"spin", "a.wav: decoding took more than 30 seconds of a processor and was ended"),
        (b"memory", "a.wav: decoding takes more than 1,073,741,824 bytes of memory"),
        (b"raise", r"a.wav: damaged, it ends early or does not decode \(ValueError\)$"),
        (b"exit", r"a.wav: damaged, it ends early or does not decode \(SystemExit\)$"),
    ],
)
@pytest.mark.parametrize("warm", [False, True])
def test_what_goes_wrong_is_the_mediums_fault_and_nobody_elses(
    decoder: None, data: bytes, says: str, warm: bool
) -> None:
    if warm:
        ask()
    with pytest.raises(BadMedia, match=says) as error:
        ask(data)
    assert error.value.__cause__ is None
    assert "array" in ask()


def test_one_that_hangs_is_ended(decoder: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caps, "WALL_SECONDS", 0.5)
    began = time.perf_counter()
    with pytest.raises(BadMedia, match=r"decoding took more than 0.5 seconds and was ended"):
        ask(b"sleep")
    assert time.perf_counter() - began < 30
    monkeypatch.setattr(caps, "WALL_SECONDS", 60)
    assert "array" in ask()


def test_a_worker_that_died_meanwhile_is_replaced(decoder: None) -> None:
    os.kill(ask()["pid"], signal.SIGKILL)  # type: ignore[arg-type]
    assert "array" in ask()


def test_ctrl_c_ends_the_worker_that_was_asked(decoder: None) -> None:
    ask()
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        ask(b"sleep")
    assert "array" in ask(), "a fresh worker; the late answer is nobody's"


def test_threads_do_not_mix_their_answers(decoder: None) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda number: ask(number=number)["number"], range(40)))
    assert answers == list(range(40))
    assert len(sandbox._idle) <= sandbox.KEPT


def _in_a_child(queue: multiprocessing.Queue[object]) -> None:
    queue.put((len(sandbox._idle), len(load(Audio(sound())).samples)))
    sandbox.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_workers_of_its_own() -> None:
    load(Audio(sound()))
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[object] = context.Queue()
    child = context.Process(target=_in_a_child, args=(queue,))
    child.start()
    assert queue.get(timeout=30) == (0, 16_000)
    child.join(30)
    assert child.exitcode == 0
    assert len(load(Audio(sound())).samples) == 16_000


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(sound())
    code = (
        "from isthmus import Audio; from isthmus.media import load, sandbox; load(Audio('a.wav'));"
        "print(sandbox._idle[0].process.pid)"
    )
    env = os.environ | {"PYTHONPATH": str(Path(sandbox.__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=tmp_path, env=env, check=True
    )
    assert done.stderr == ""
    assert not Path(f"/proc/{int(done.stdout)}").exists()


def test_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.close()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(IsthmusError, match=r"no process can be started to decode media \(No such file or directory\)"):
        load(Audio(sound()))


def test_unknown_decoders(decoder: None) -> None:
    with pytest.raises(BadMedia, match="no decoder 'os'"):
        sandbox.decode("os", b"", "a")


def test_missing_extras_are_named() -> None:
    with pytest.raises(BadMedia, match=r"a PDF needs no_such_library: pip install 'isthmus\[media\]'"):
        caps.need("no_such_library.part", "a PDF")
