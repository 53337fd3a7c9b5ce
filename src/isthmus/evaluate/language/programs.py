"""Tasks whose answers are programs: these run in our sandbox (`evaluate.programs`), in place of the harness's own way.

Tasks such as HumanEval and MBPP load a metric `code_eval` from a hub, which runs programs in the open once an
environment variable allows it. While they are loaded, they are given this one instead.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from isthmus.errors import BadRecipe
from isthmus.evaluate import programs
from isthmus.evaluate.metrics.pass_at_k import pass_at_k

METRIC = "code_eval"


class Programs:
    """What `evaluate.load("code_eval")` gives, in a sandbox."""

    def compute(
        self, references: Sequence[str], predictions: Sequence[Sequence[str]], k: Sequence[int] = (1, 10, 100)
    ) -> tuple[dict[str, float], list[list[bool]]]:
        """pass@k of several programs for each test, for those k that there are enough programs for; and which passed.

        >>> Programs().compute(["assert f() == 2"], [["def f(): return 2", "def f(): return 3"]], k=[1])
        ({'pass@1': 0.5}, [[True, False]])
        """
        written = [f"{one}\n{test}" for test, some in zip(references, predictions, strict=True) for one in some]
        outcomes = iter(programs.run_all(written))
        passed = [[next(outcomes).passed for _ in some] for some in predictions]
        enough = [many for many in k if all(len(some) >= many for some in passed)]
        rates = {
            f"pass@{many}": float(np.mean([pass_at_k(len(some), sum(some), many) for some in passed]))
            for many in enough
        }
        return rates, passed


@contextlib.contextmanager
def sandboxed() -> Iterator[None]:
    """Within it, whoever loads `code_eval` gets `Programs`."""
    import evaluate

    original = evaluate.load

    def load(path: str, *args: Any, **kwargs: Any) -> Any:
        return Programs() if path == METRIC else original(path, *args, **kwargs)

    evaluate.load = load
    try:
        yield
    finally:
        evaluate.load = original


def refuse(task: Any) -> None:
    """Raises `BadRecipe` for a task that runs programs anywhere else."""
    if getattr(task, "UNSAFE_CODE", False) and not _ours(task):
        raise BadRecipe(
            f"task {task.task_name} runs programs that the model writes outside of a sandbox, so it is not asked here."
            " To run it all the same, in a machine that may be lost: python -m isthmus.evaluate.language run"
            f" --model isthmus --model_args pretrained=NAME --tasks {task.task_name} --confirm_run_unsafe_code"
        )


def isolated(tasks: Iterable[Any]) -> str:
    """What kept the programs of these tasks from the network; nothing where there were none."""
    return programs.isolation() if any(getattr(task, "UNSAFE_CODE", False) for task in tasks) else ""


def _ours(task: Any) -> bool:
    """Whether a task's metrics come from a file that was given `Programs`."""
    functions = [metric.get("metric") for metric in task.config.metric_list or []]
    spaces = [getattr(function, "__globals__", {}) for function in functions]
    return any(isinstance(value, Programs) for space in spaces for value in space.values())
