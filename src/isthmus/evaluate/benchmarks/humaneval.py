"""HumanEval: programs that a model wrote, run against each task's tests."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from isthmus.errors import BadData
from isthmus.evaluate import programs
from isthmus.evaluate.benchmarks._rows import text
from isthmus.evaluate.files import Row, matched, rows
from isthmus.evaluate.metrics.pass_at_k import pass_at_k
from isthmus.evaluate.scored import Scored, mean

ABOUT = "does the program that a model completes pass its tests? Run in a sandbox"
SOURCE = "Chen et al., 2021, arXiv:2107.03374; github.com/openai/human-eval: 3 seconds each, pass@k without bias"
PREDICTIONS = {
    "samples, one or more a task": '{"task_id": "HumanEval/0", "completion": "    return x + 1\\n"}',
    "whole programs": '{"task_id": "HumanEval/0", "solution": "def add(x):\\n    return x + 1\\n"}',
    "samples_results.jsonl, which were run already": '{"task_id": "HumanEval/0", "completion": "...", "passed": true}',
}
REFERENCES = {
    "HumanEval.jsonl, or .gz": (
        '{"task_id": "HumanEval/0", "prompt": "def add(x):\\n", "entry_point": "add", "test": "def '
        'check(candidate): ..."}'
    ),
}
INSIDE = True  # samples that were run already say whether they passed
COMPLETIONS = ("completion", "generation", "prediction", "response", "output")
KS = (1, 10, 100)


def score(predictions: Path, references: Path | None, mode: str) -> Scored:
    """pass@1, and pass@10 and pass@100 where each task has so many samples; both modes are the same."""
    found = Scored()
    samples: dict[str, list[Row]] = defaultdict(list)
    for number, row in enumerate(rows(predictions), 1):
        if "task_id" not in row:
            raise BadData(f"{predictions}, row {number}: no task_id. It has {', '.join(row) or 'nothing'}")
        samples[text(row["task_id"])].append(row)
    if not samples:
        raise BadData(f"{predictions}: no samples in this file")
    passed = _told(samples) if references is None else _run(samples, references, found)
    if passed is None:
        raise BadData(f"humaneval needs --references: {next(iter(REFERENCES))}")
    for k in KS:
        if k == 1 or all(len(some) >= k for some in passed.values()):
            found.metrics[f"pass@{k}"] = mean([pass_at_k(len(some), sum(some), k) for some in passed.values()])
    return found


def _told(samples: dict[str, list[Row]]) -> dict[str, list[bool]] | None:
    """What the rows themselves say of each sample; None where they do not."""
    if not all(isinstance(row.get("passed"), bool) for some in samples.values() for row in some):
        return None
    return {name: [row["passed"] for row in some] for name, some in samples.items()}


def _run(samples: dict[str, list[Row]], references: Path, found: Scored) -> dict[str, list[bool]]:
    """Run every sample; what came of those that failed is counted in the notes."""
    tasks = {text(row.get("task_id")): row for row in rows(references)}
    names = matched(samples, tasks, found.unscored)
    if more := len(samples) - len(names):
        found.notes.append(f"samples of {more:,} tasks that the references do not have were left out")
    every = [(name, _program(tasks[name], row, name)) for name in names for row in samples[name]]
    passed: dict[str, list[bool]] = {name: [] for name in names}
    ends: dict[str, int] = defaultdict(int)
    for (name, _), outcome in zip(every, programs.run_all([program for _, program in every]), strict=True):
        passed[name].append(outcome.passed)
        ends[outcome.result.split(":")[0]] += 1
    found.notes.append(
        f"{len(every):,} programs ran: " + ", ".join(f"{count:,} {end}" for end, count in sorted(ends.items()))
    )
    found.notes.append(
        f"sandbox: {programs.isolation()}; {programs.SECONDS:g} seconds and {programs.MEMORY >> 30} GiB each"
    )
    return passed


def _program(task: Row, row: Row, name: str) -> str:
    """The prompt, what the model wrote, the tests, and a call of them."""
    missing = [key for key in ("prompt", "test", "entry_point") if key not in task]
    if missing:
        raise BadData(f"the task {name} has no {missing[0]}. It has {', '.join(task)}")
    key = next((key for key in COMPLETIONS if row.get(key) is not None), "")
    if not key and row.get("solution") is None:
        raise BadData(f"a sample of {name} has neither a completion nor a solution. It has {', '.join(row)}")
    written = f"{task['prompt']}{row[key]}" if key else str(row["solution"])
    return f"{written}\n{task['test']}\ncheck({task['entry_point']})"
