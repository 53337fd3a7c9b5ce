"""One run of a comparison, in a process of its own: `python -m isthmus.compare_run FOLDER` trains and asks.

`FOLDER/job.json` says what; `answers.jsonl` and then `facts.json` are there whole when it is done. The last line of
standard output is a JSON object, {} or the error; progress goes to standard error.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from isthmus.demo import write_answers
from isthmus.errors import Interrupted, IsthmusError
from isthmus.evaluate.run import ask_all
from isthmus.train.cost import first_token, peak_memory
from isthmus.train.recipe import Recipe
from isthmus.train.run import train


def work(folder: Path, console: Console) -> None:
    """Train as `job.json` says, or go on with it; ask; write the answers and the facts.

    Raises what `train.run.train` raises.
    """
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    recipe, command = Recipe.model_validate(job["recipe"]), job["command"]
    begun = (folder / "recipe.json").exists()
    try:
        run = train(recipe, folder, resume=begun, command=command, console=console)
    finally:
        peak = _peak(folder)
    checks = recipe.evaluate
    if not job["swapped"]:  # a medium alone has no other to be swapped with, so none is asked about twice
        checks = {name: check.model_copy(update={"swapped": 1}) for name, check in checks.items()}
    try:
        start = time.monotonic()
        answers, shown = ask_all(run, checks, job["seed"])
        asked = time.monotonic() - start
        from_features, from_picture = first_token(run, next(iter(shown.values())))
    except KeyboardInterrupt:
        raise Interrupted(f"stopped; what was trained is in {folder}. Go on: {command}") from None
    facts = {
        "stages": {
            name: {"steps": done.step, "seconds": done.seconds, "losses": [point[2] for point in done.points]}
            for name, done in run.stages.items()
        },
        "peak_bytes": peak,
        "first_token_seconds": {"features": from_features, "picture": from_picture},
        "asking_seconds": asked,
    }
    write_answers(answers, new := folder / "answers.new")
    _flush(new).replace(folder / "answers.jsonl")
    write_json(folder / "facts.json", facts)


def write_json(path: Path, value: Any) -> None:
    """The value as JSON, there whole or not at all, after a power failure too."""
    (new := path.with_suffix(".new")).write_text(json.dumps(value, indent=1), encoding="utf-8")
    _flush(new).replace(path)


def _flush(path: Path) -> Path:
    """The path, once what it holds is on the disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())
    return path


def _peak(folder: Path) -> int | None:
    """The largest peak memory of all sittings of the training, which is kept beside it."""
    path, peak = folder / "peak.json", peak_memory()
    with suppress(OSError, ValueError):
        peak = max(peak or 0, int(json.loads(path.read_text(encoding="utf-8"))))
    if peak and folder.is_dir():
        write_json(path, peak)
    return peak


def _stop_with_the_parent() -> None:
    """Standard input ends when the process that started this one has gone; a stage under way then saves and stops."""
    os.read(0, 1)  # not `sys.stdin`, whose lock this thread would hold when the process ends
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> int:
    """Do one run; the exit code is that of the command line."""
    import rich

    rich.reconfigure(stderr=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # between stages too, it stops as by Ctrl-C
    threading.Thread(target=_stop_with_the_parent, daemon=True).start()
    try:
        work(Path(sys.argv[1]), Console(stderr=True))
    except (IsthmusError, OSError) as error:
        print(json.dumps({"error": str(error)}))
        return getattr(error, "exit_code", 1)
    except KeyboardInterrupt:
        return Interrupted.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
