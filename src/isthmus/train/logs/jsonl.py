"""`jsonl`: one JSON object a step, in the run's own `log.jsonl`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

ABOUT = "log.jsonl in the run's folder; always written"


class Log:
    """Lines of stage, step and values; a run that goes on has each step once."""

    def __init__(self, run: Path, recipe: Any) -> None:
        self.path, self.stage = run / "log.jsonl", ""
        run.mkdir(parents=True, exist_ok=True)
        self.file = self.path.open("a", encoding="utf-8")

    def begin(self, stage: str, step: int) -> None:
        """What an earlier sitting wrote of this stage after `step`, and was not kept, goes."""
        self.stage = stage
        self.file.close()
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines(keepends=True):
            try:
                facts = json.loads(line)
            except ValueError:  # cut off by a kill
                continue
            if facts["stage"] != stage or facts["step"] <= step:
                kept.append(line)
        new = self.path.with_suffix(".new")
        new.write_text("".join(kept), encoding="utf-8")
        os.replace(new, self.path)
        self.file = self.path.open("a", encoding="utf-8")

    def step(self, number: int, **values: float) -> None:
        """One line."""
        self.file.write(json.dumps({"stage": self.stage, "step": number, **values}) + "\n")
        self.file.flush()

    def close(self) -> None:
        """Nothing more comes."""
        self.file.close()
