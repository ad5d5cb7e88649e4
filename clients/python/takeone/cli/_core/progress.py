"""The progress of executions on standard error: bars on a terminal, else lines."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from takeone.cli._core import output
from takeone.cli._core.exits import Exit, StopError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from takeone.models import ExecutionData


class Board(Protocol):
    """Shows the latest state of each execution."""

    def show(self, execution: "ExecutionData") -> None:
        """Show a state."""
        ...


class Lines:
    """A line for each change."""

    def show(self, execution: "ExecutionData") -> None:
        output.note(f"{execution.id} {_state(execution)} {execution.progress} %")


class Bars:
    """A bar for each execution."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def show(self, execution: "ExecutionData") -> None:
        if execution.id not in self._tasks:
            self._tasks[execution.id] = self._progress.add_task(execution.id, total=100, state="")
        task = self._tasks[execution.id]
        self._progress.update(task, completed=execution.progress, state=_state(execution))
        if execution.ended:
            self._progress.stop_task(task)


class JsonLines:
    """A JSON document for each change, on standard output."""

    def show(self, execution: "ExecutionData") -> None:
        output.line(execution)


def _state(execution: "ExecutionData") -> str:
    """Return status and step in a few words."""
    if execution.waiting_for:
        return f"waits for a decision about {execution.waiting_for[0].step}"
    if execution.current_job and not execution.ended:
        return output.text(f"{execution.status}, {execution.current_job}")
    return execution.status


@contextmanager
def board() -> Generator[Board]:
    """Show progress until the end of the block."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TextColumn("{task.fields[state]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True, highlight=False)) as progress:
        yield Bars(progress)


@contextmanager
def interruptible(*ids: str) -> Generator[None]:
    """End with a note on what continues when Ctrl-C ends the block."""
    try:
        yield
    except KeyboardInterrupt:
        names = " ".join(ids)
        verb = "continues" if len(ids) == 1 else "continue"
        raise StopError(
            Exit.INTERRUPTED,
            f"Stopped watching; {names} {verb}.\n"
            f"  takeone watch {names}    watches again\n"
            f"  takeone cancel {ids[0]}    stops buying",
        ) from None
