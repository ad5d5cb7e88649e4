"""The progress of executions on standard error: bars on a terminal, else lines."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from takeone.cli._core import output
from takeone.cli._core.exits import Exit, StopError

if TYPE_CHECKING:
    from takeone.models import ExecutionData
    from takeone.models.executions import Queue


class Board(Protocol):
    """Shows the latest state of each execution."""

    def show(self, execution: "ExecutionData") -> None:
        """Show a state."""
        ...


class Lines:
    """A line for each change."""

    def show(self, execution: "ExecutionData") -> None:
        rest = f", {left(execution.eta.seconds)}" if execution.eta and not execution.ended else ""
        output.note(f"{execution.id} {state_of(execution)} {execution.progress} %{rest}")


class JsonLines:
    """A JSON document for each change, on standard output."""

    def show(self, execution: "ExecutionData") -> None:
        output.line(execution)


def state_of(execution: "ExecutionData") -> str:
    """Return status and step, or what the execution waits for, in a few words."""
    if execution.ended:
        return execution.status
    if execution.waiting_for:
        return output.text(f"waits for a decision about {execution.waiting_for[0].step}")
    if execution.queue is not None:
        return output.text(f"{execution.status}, {_queue(execution.queue)}")
    if execution.current_job:
        return output.text(f"{execution.status}, {execution.current_job}")
    return execution.status


def _queue(queue: "Queue") -> str:
    """Return what a queued execution waits for."""
    match queue.reason:
        case "running_limit" if queue.position is not None:
            return f"number {queue.position} of your queue"
        case "provider_slot":
            ahead = f", {queue.ahead} of yours ahead" if queue.ahead else ""
            return f"{queue.step} waits for {queue.provider}{ahead}"
        case _:
            return queue.reason.replace("_", " ")


def left(seconds: float) -> str:
    """Return an estimated time to the end; it is never exact to the second."""
    if seconds < 1:
        return "ends soon"
    if seconds < 90:
        return f"about {seconds:.0f} s left"
    if seconds < 90 * 60:
        return f"about {seconds / 60:.0f} min left"
    return f"about {seconds / 3600:.1f} h left"


@contextmanager
def board() -> Generator[Board]:
    """Show progress until the end of the block."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from takeone.cli._core.bars import bars

    with bars() as shown:
        yield shown


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
