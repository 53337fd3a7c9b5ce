"""One call of `isthmus eval` with benchmarks: who works, what is asked, what is told at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from isthmus.bulk.pool import Pool
from isthmus.command import again
from isthmus.evaluate.harness import RESULTS, How, evaluate
from isthmus.extras import need
from isthmus.train.world import world


@dataclass(frozen=True)
class Session:
    """What a model is asked with, and where to."""

    model: str
    out: Path
    how: How
    data: str | None
    tolerate: float
    resume: bool
    as_json: bool = False  # standard output is for the program that asked

    def run(
        self, benchmarks: Sequence[str], tasks: Sequence[str], shots: int | None, chat: bool, folder: Path | None,
        workers: int, gpus: float, threads: int | None, address: str | None,
    ) -> dict[str, Any]:  # fmt: skip
        """Ask all of them; nothing is returned in a process of several that is not the first."""
        found: dict[str, Any] = {}
        with world() as here:
            console = Console(stderr=self.as_json, quiet=not here.first)
            alone = workers == 1 and address is None and here.size == 1
            own = 1.0 if alone and here.device.type == "cuda" and not gpus else gpus
            pool = Pool(workers, own, threads or max(1, torch.get_num_threads() // workers), address, here)
            if benchmarks:
                found = evaluate(
                    self.model, benchmarks, self.out, pool, self.how, data=self.data, tolerate=self.tolerate,
                    resume=self.resume, command=again(), console=console,
                )  # fmt: skip
            if tasks and here.first:
                need("lm_eval", "lm-eval")
                from isthmus.evaluate.language.run import language

                found = language(self.model, tasks, self.out, self.how.limit, shots, folder, console, chat)
            if here.first:
                console.print(
                    f"{self.out / RESULTS}    look at it: isthmus report {self.out}", markup=False, soft_wrap=True
                )
        return found
