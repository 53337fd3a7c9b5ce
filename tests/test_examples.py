"""The pages of docs/examples, run as a reader would paste them, with the real parts; what they print is what they show.

    python tests/test_examples.py            # runs every page and writes what it prints below each block
    python tests/test_examples.py driving    # that page alone
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

PAGES = {path.stem: path for path in sorted((Path(__file__).parents[1] / "docs/examples").glob("*.md"))}
BLOCK = re.compile(r"(```python\n(?P<code>.*?)```\n)(?:\n```text\n(?P<shown>.*?)```\n)?", re.DOTALL)


def run(page: Path) -> tuple[str, dict[str, Any]]:
    """The page with what its blocks print now, and the names they leave; run in the working folder, in order."""
    values: dict[str, Any] = {"__name__": page.stem}

    def ran(found: re.Match[str]) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            line = found.string[: found.start("code")].count("\n")
            exec(compile("\n" * line + found["code"], page, "exec", dont_inherit=True), values)  # errors name the page's line
        said = "".join(f"{line.rstrip()}\n" for line in printed.getvalue().splitlines())
        return found[1] + (f"\n```text\n{said}```\n" if said else "")

    return BLOCK.sub(ran, page.read_text(encoding="utf-8")), values


if __name__ == "__main__":
    for name in sys.argv[1:] or PAGES:
        with tempfile.TemporaryDirectory() as room, contextlib.chdir(room):
            written, _ = run(PAGES[name])
        PAGES[name].write_text(written, encoding="utf-8")
        print(f"written: {os.path.relpath(PAGES[name])}")
