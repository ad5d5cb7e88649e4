"""The wait for the end of an execution: when to look, what is progress, and when it is over.

It decides by snapshots of the execution, wherever they come from.
"""

from typing import Final

from takeone.errors import CallError, ProblemError, WaitTimeoutError
from takeone.models.executions import ExecutionData

FIRST_LOOK_SECONDS: Final = 0.5
LONGEST_LOOK_SECONDS: Final = 10.0
GROWTH: Final = 1.3
PATIENCE_SECONDS: Final = 300.0
"""How long the service may be unreachable before the wait ends with its failure."""


class Watch:
    """One wait. All times are of one monotonic clock, in seconds."""

    def __init__(self, execution_id: str, timeout: float | None, now: float) -> None:
        self._execution_id = execution_id
        self._timeout = timeout
        self._begun = now
        self._reached_at = now
        self._pause = FIRST_LOOK_SECONDS
        self._latest: ExecutionData | None = None

    def changed(self, execution: ExecutionData, now: float) -> bool:
        """Take a snapshot. Return whether it differs in what `_state` has from the last one."""
        before, self._latest = self._latest, execution
        self._reached_at = now
        return before is None or _state(before) != _state(execution)

    def missed(self, error: CallError, now: float) -> None:
        """Take the failure of a look. Raise it if waiting cannot help."""
        refused = isinstance(error, ProblemError) and error.status < 500 and not error.retryable
        if refused or now - self._reached_at > PATIENCE_SECONDS:
            raise error

    def next_look(self, now: float) -> float:
        """Return how many seconds to wait until the next look, or raise WaitTimeoutError."""
        pause, self._pause = self._pause, min(LONGEST_LOOK_SECONDS, self._pause * GROWTH)
        if self._timeout is None:
            return pause
        left = self._begun + self._timeout - now
        if left <= 0:
            raise WaitTimeoutError(self._execution_id, self._timeout)
        return min(pause, left)


def _state(execution: ExecutionData) -> tuple[object, ...]:
    return (
        execution.generation,
        execution.status,
        execution.progress,
        execution.current_job,
        [waiting.step for waiting in execution.waiting_for],
    )
