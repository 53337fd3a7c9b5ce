"""A progress bar with percent and time left on standard error; rich is imported only when one is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Tick = Callable[[int], None]
"""Called with how much of the total is done so far."""


@contextmanager
def bar(title: str, total: int, *, show: bool) -> Iterator[Tick]:
    """Show a bar of `total` bytes while the block runs; the block calls the given function with the bytes done.

    If the block raises, the bar stays where it was.
    """
    if not show:
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), DownloadColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done: progress.update(task, completed=min(done, total))
        progress.update(task, completed=total)
