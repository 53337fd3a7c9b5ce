"""What lm-evaluation-harness found, as figures, samples and predictions of a run."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Collection, Iterator
from typing import Any

from isthmus.evaluate.language.text import shown
from isthmus.evaluate.models import confidence
from isthmus.evaluate.scored import Figure, Scored

SHARES = ("acc", "exact_match", "em", "f1", "pass@", "prompt_level", "inst_level")  # between 0 and 1
WIDE = 1.96  # standard errors to both sides are a 95 % interval
INVALID = "[invalid]"  # what a filter makes of an answer in which it finds nothing
NAN = float("nan")


def scored(
    name: str, found: dict[str, Any], cut: Collection[str], chat: bool, limit: int | None, isolation: str = ""
) -> tuple[Scored, str]:
    """The figures of a task, or of a group and its tasks as parts; and which of them tables show.

    Args:
        found: what `lm_eval.evaluator.evaluate` returned.
        cut: the prompts that were longer than what the LLM reads.
        isolation: how programs were run, where any were.
    """
    figures = Scored()
    sizes = {task: int(count["effective"]) for task, count in found["n-samples"].items()}
    for task, row in sorted(found["results"].items(), key=lambda pair: pair[0] != name):
        n = sizes.get(task) or int(row.get("sample_len") or 0)
        figures.add(_figures(row, n), "" if task == name else task)
    version, own = importlib.metadata.version("lm-eval"), found["versions"].get(name)
    shots = sorted({count for task, count in found["n-shot"].items() if task in sizes})
    asked = f"{' or '.join(map(str, shots))} examples before each question"
    figures.notes.append(
        f"lm-evaluation-harness {version}{f', version {own} of the task' if isinstance(own, int | float) else ''};"
        f" {asked}, {'in the chat template' if chat else 'no chat template'}"
    )
    figures.notes.append(
        f"intervals are {WIDE} standard errors to both sides, as the harness estimates these, within 0 and 1"
    )
    some = {task: count for task, count in found["n-samples"].items() if count["effective"] < count["original"]}
    if limit is not None and some:
        whole = sum(count["original"] for count in found["n-samples"].values())
        figures.notes.append(f"the first {limit:,} questions of each task alone: {sum(sizes.values()):,} of {whole:,}")
    if cut:
        figures.notes.append(f"{len(cut):,} prompts were longer than the LLM reads and lost their beginning")
    for rule, (failed, every) in _invalid(found).items():
        figures.notes.append(f"{failed:,} of {every:,} answers could not be read by {rule}, and count as wrong there")
    if isolation:
        figures.notes.append(f"programs ran in processes of their own, with limits and {isolation}")
    return figures, next(iter(figures.metrics), "")


def _figures(row: dict[str, Any], n: int) -> dict[str, Figure]:
    """A task's metrics, under the harness's names; the filter belongs to a name where there is one."""
    figures = {}
    for key, value in row.items():
        metric, comma, rule = key.partition(",")
        if not comma or metric.endswith("_stderr") or isinstance(value, bool | str):
            continue
        error = row.get(f"{metric}_stderr,{rule}")
        wide = (
            WIDE * float(error) if isinstance(error, int | float) and error else NAN
        )  # 0: all alike, which says nothing
        try:
            own = float(value)
        except (TypeError, ValueError):
            continue  # a metric of several values has no interval and no place in a table
        low, high = own - wide, own + wide
        if metric.startswith(SHARES):
            low, high = max(low, 0.0), min(high, 1.0)
        figures[metric if rule == "none" else key] = Figure(own, low, high, n)
    return figures


def _invalid(found: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """By filter, how many answers it found nothing in, of how many."""
    counts: dict[str, tuple[int, int]] = {}
    for own in found["samples"].values():
        for sample in own:
            failed, every = counts.get(sample["filter"], (0, 0))
            counts[sample["filter"]] = failed + (sample["filtered_resps"] == [INVALID]), every + 1
    return {rule: count for rule, count in counts.items() if count[0]}


def predictions(found: dict[str, Any]) -> str:
    """The samples as the harness logs them, a line for each and for each filter, with the task that it belongs to."""
    lines = []
    for task, own in found["samples"].items():
        for sample in own:
            arguments = [
                [shown(one) if isinstance(one, str) else one for one in given] for given in sample["arguments"]
            ]
            row = {"task": task} | sample | {"arguments": arguments}
            lines.append(json.dumps(row, ensure_ascii=False, default=_plain) + "\n")
    return "".join(lines)


def _plain(value: Any) -> Any:
    """Numbers of numpy as Python's; of anything else, its text."""
    return value.item() if hasattr(value, "item") else str(value)


def samples(name: str, found: dict[str, Any], headline: str) -> str:
    """A line for each question: what was asked and said, the truth, and its own score where it has one."""
    metric, _, rule = headline.rpartition("/")[2].partition(",")
    lines = []
    for task, own in found["samples"].items():
        for sample in _once(own, rule):
            question = _question(sample)
            number = str(sample["doc_id"])
            own_id = number if task == name else f"{task}/{number}"
            score = sample.get(metric)
            score = float(score) if isinstance(score, bool | int | float) and 0 <= score <= 1 else None
            parts = [] if task == name else [task]
            row = {"id": own_id, **question, "score": score, "parts": parts, "image": own_id, "media": []}
            lines.append(json.dumps(row, ensure_ascii=False, default=_plain) + "\n")
    return "".join(lines)


def _once(some: list[dict[str, Any]], rule: str) -> Iterator[dict[str, Any]]:
    """Of the samples of several filters those of one: the headline's, or else the first."""
    rules = [sample["filter"] for sample in some]
    kept = rule if rule in rules else next(iter(rules), "")
    return (sample for sample in some if sample["filter"] == kept)


def _question(sample: dict[str, Any]) -> dict[str, Any]:
    """The prompt, what was said, and the truth, as texts. Of options the likeliest was said, with its probability."""
    arguments, target = sample["arguments"], sample["target"]
    logs = [one[0] for one in sample["filtered_resps"] if isinstance(one, tuple | list) and len(one) == 2]
    if len(logs) == len(arguments) > 1:
        # of several contexts with one ending, which is said lies in the context
        place = 1 if len({given[1] for given in arguments}) > 1 else 0
        options = [str(given[place]).strip() for given in arguments]
        best = max(range(len(logs)), key=logs.__getitem__)
        truth = options[target] if isinstance(target, int) and 0 <= target < len(options) else target
        prompt = arguments[0][0] if place else arguments[0][1]
        own = {"prompt": shown(prompt), "answer": options[best], "truth": _text(truth)}
        return own | {"confidence": round(confidence(logs, best), 6)}
    prompt = arguments[0][0]
    if logs:  # one continuation: whether greedy decoding says it
        greedy = bool(sample["filtered_resps"][0][1])
        return {"prompt": shown(prompt), "answer": _text(target) if greedy else None, "truth": _text(target)}
    said = sample["resps"][0][0] if len(arguments[0]) > 1 else None  # of a whole text, nothing
    return {"prompt": shown(prompt), "answer": None if said is None else str(said), "truth": _text(target)}


def _text(target: Any) -> str:
    return " | ".join(map(str, target)) if isinstance(target, list | tuple) else str(target)
