"""Progress bars on a terminal. This module imports rich, so it is imported at its first use."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from takeone.cli._core.progress import left, state_of

if TYPE_CHECKING:
    from takeone.models import ExecutionData


class _LeftColumn(ProgressColumn):
    """The estimated time to the end, counted down between two reads of it."""

    def render(self, task: Task) -> Text:
        ends_at: float | None = task.fields["ends_at"]
        return Text("" if ends_at is None else left(ends_at - time.monotonic()), style="dim")


class Bars:
    """A bar for each execution."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def show(self, execution: "ExecutionData") -> None:
        """Show a state."""
        if execution.id not in self._tasks:
            self._tasks[execution.id] = self._progress.add_task(
                execution.id, total=100, state="", ends_at=None
            )
        task = self._tasks[execution.id]
        eta = None if execution.ended else execution.eta
        self._progress.update(
            task,
            completed=execution.progress,
            state=state_of(execution),
            ends_at=None if eta is None else time.monotonic() + eta.seconds,
        )
        if execution.ended:
            self._progress.stop_task(task)


@contextmanager
def bars() -> Generator[Bars]:
    """Show bars on standard error until the end of the block."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TextColumn("{task.fields[state]}", markup=False),
        TimeElapsedColumn(),
        _LeftColumn(),
    )
    with Progress(*columns, console=Console(stderr=True, highlight=False)) as progress:
        yield Bars(progress)
