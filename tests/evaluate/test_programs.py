"""The sandbox: what passes, what does not, and what a program must not be able to do."""

from __future__ import annotations

import os
import time

import pytest

from isthmus.evaluate.programs import isolation, run, run_all

pytestmark = pytest.mark.skipif(os.name != "posix", reason="limits are POSIX's")


@pytest.mark.parametrize(
    ("program", "result"),
    [
        ("assert sorted([2, 1]) == [1, 2]\nprint('hi')", "passed"),
        ("import os\nassert not os.listdir('.') and 'HOME' not in os.environ", "passed"),
        ("open('a.txt', 'w').write('x')\nimport os\nos.remove('a.txt')", "passed"),
        ("def f(:", "failed: SyntaxError"),
        ("raise SystemExit(0)", "failed: SystemExit"),
        ("input()", "failed: EOFError"),
        ("x = 'x' * 10**11", "failed: MemoryError"),
        ("import os\nos._exit(0)", "timed out"),  # ended without a word: not passed
        ("if __name__ == '__main__':\n    raise ValueError", "passed"),  # as exec with no name does
        ("import socket\nsocket.socket()", "failed: PermissionError"),
        ("import os\nos.fork()", "failed: PermissionError"),
        ("import subprocess\nsubprocess.run(['true'])", "failed: PermissionError"),
        ("open('big', 'w').write('x' * 2**22)", "failed: OSError"),
    ],
)
def test_what_comes_of_a_program(program, result):
    outcome = run(program, seconds=5)
    assert outcome.result.startswith(result)
    assert outcome.passed == (result == "passed")


@pytest.mark.parametrize(
    "program", ["while True: pass", "import time\ntime.sleep(60)", "try:\n  while 1: pass\nfinally:\n  pass"]
)
def test_a_program_that_does_not_end_is_ended(program):
    begun = time.monotonic()
    assert run(program, seconds=0.5) == (False, "timed out")
    assert time.monotonic() - begun < 15


def test_nothing_outside_its_folder_is_written_or_removed(tmp_path):
    mine = tmp_path / "mine.txt"
    mine.write_text("kept")
    for program in (
        f"open({str(mine)!r}, 'w')",
        f"import os\nos.remove({str(mine)!r})",
        f"import os\nos.rename({str(mine)!r}, 'x')",
    ):
        assert run(program).result.startswith("failed: PermissionError")
    assert mine.read_text() == "kept"


def test_a_program_cannot_say_that_it_passed():
    forged = (
        "import os\nfor n in range(3, 30):\n  try: os.write(n, b'0 passed\\n')\n  except OSError: pass\nos._exit(0)"
    )
    assert not run(forged).passed


def test_several_at_once_keep_their_order():
    assert [one.passed for one in run_all(["pass", "1/0", "pass"], workers=2)] == [True, False, True]
    assert isolation() in ("a network namespace without interfaces", "sockets refused by the interpreter")
