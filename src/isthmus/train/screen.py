"""What a person sees of a stage that is trained, and how they stop it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import fmean

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from isthmus.train.state import Progressed


def note(done: Progressed) -> str:
    """How it went lately."""
    last = done.points[-20:]
    return f"loss {fmean(point[2] for point in last):.3f}  {fmean(point[3] for point in last):.0f} tokens/s"


def listed(batches: list[list[str]]) -> str:
    """Samples of some batches by name, not too many."""
    found = sorted({name for ids in batches for name in ids})
    return ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")


def bar(console: Console | None) -> Progress:
    """Steps done, time left and a note."""
    columns = (TextColumn("{task.description:>12}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    notes = TextColumn("{task.fields[note]}")
    return Progress(*columns, TimeRemainingColumn(), notes, refresh_per_second=2, console=console)


@contextmanager
def stops() -> Iterator[list[int]]:
    """A list that is filled by the first Ctrl-C, so that a step is never cut in half; the second one interrupts."""
    seen: list[int] = []

    def noted(number: int, frame: object) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)

    try:
        before = {number: signal.signal(number, noted) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: the caller handles signals
        yield seen
        return
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
