"""The wait for the end of an execution: by its stream of events, else by looking at it.

It decides by snapshots of the execution, wherever they come from. All times are of one monotonic
clock, in seconds.
"""

import math
from typing import Final

from takeone._core.streams import Following, Patience
from takeone.errors import (
    CallError,
    ConnectError,
    ProblemError,
    RequestTimeoutError,
    UnusableAnswerError,
    WaitTimeoutError,
)
from takeone.models.executions import ExecutionData

FIRST_LOOK_SECONDS: Final = 0.5
LONGEST_LOOK_SECONDS: Final = 10.0
GROWTH: Final = 1.3
FAILED_STREAM_SECONDS: Final = 2.0
"""After the second stream in a row that brought nothing, the wait looks for so long; then twice as
long after each further one. A service that restarts is followed again within seconds."""
NEXT_STREAM_SECONDS: Final = 60.0
"""The longest of these times, and the time after a stream that was refused."""
LEAST_LOOK_SECONDS: Final = 5.0
"""How long a look may take, however little is left of the wait."""
STREAM_LEFT_SECONDS: Final = 60.0
"""Closer to the time-out than this, the wait looks: a stream that is lost is noticed late."""


class Watch:
    """One wait."""

    def __init__(self, execution_id: str, timeout: float | None, now: float) -> None:
        self._execution_id = execution_id
        self._timeout = timeout
        self._end = None if timeout is None else now + timeout
        self._patience = Patience(now)
        self._pause = FIRST_LOOK_SECONDS
        self._latest: ExecutionData | None = None
        self._stream_at = now
        self._failed_streams = 0
        self._least_pause = 0.0

    def streams(self, now: float) -> bool:
        """Return whether to follow the stream of events now, rather than to look."""
        left = math.inf if self._end is None else self._end - now
        return now >= self._stream_at and left > STREAM_LEFT_SECONDS

    def changed(self, execution: ExecutionData, now: float) -> bool:
        """Take a snapshot. Return whether it differs in what `_state` has from the last one."""
        before, self._latest = self._latest, execution
        self._patience.reached(now)
        return before is None or _state(before) != _state(execution)

    def look_seconds(self, now: float) -> float:
        """Return how long a look may take: not much longer than the wait."""
        return math.inf if self._end is None else max(LEAST_LOOK_SECONDS, self._end - now)

    def missed(self, error: CallError, now: float) -> None:
        """Take the failure of a look. Raise it if waiting cannot help."""
        self._least_pause = self._patience.missed(error, now)

    def streamed(self, now: float) -> None:
        """Note that a stream has brought something."""
        self._patience.reached(now)
        self._failed_streams = 0
        self._pause = FIRST_LOOK_SECONDS

    def stream_ended(
        self, following: Following, error: CallError | None, now: float, *, empty: bool
    ) -> None:
        """Take the end of a stream. empty: it has brought nothing at all.

        Raise the error if the service has been unreachable for five minutes. A stream that is
        refused is no reason to end the wait.
        """
        self._least_pause = following.pause()
        if isinstance(error, ConnectError):
            self._patience.missed(error, now)
        elif following.over:
            self._stream_at = math.inf
        elif empty or isinstance(error, UnusableAnswerError):
            self._failed_streams += 1
            self._stream_at = now + self._until_next_stream(error)

    def _until_next_stream(self, error: CallError | None) -> float:
        """Return how many seconds to look instead of following a stream."""
        if isinstance(error, RequestTimeoutError):
            return math.inf  # a proxy keeps the stream back, and would do so again
        requested = error.retry_after if isinstance(error, ProblemError) else None
        refused = isinstance(error, ProblemError) and error.status < 500
        if requested is None and (refused or isinstance(error, UnusableAnswerError)):
            return NEXT_STREAM_SECONDS
        doublings = self._failed_streams - 2
        again = FAILED_STREAM_SECONDS * 2**doublings if doublings >= 0 else 0.0
        return max(min(again, NEXT_STREAM_SECONDS), requested or 0.0)

    def pause(self, now: float) -> float:
        """Return how many seconds to wait until the next step, or raise WaitTimeoutError."""
        pause, self._pause = self._pause, min(LONGEST_LOOK_SECONDS, self._pause * GROWTH)
        pause, self._least_pause = max(pause, self._least_pause), 0.0
        if self._end is None or self._timeout is None:
            return pause
        left = self._end - now
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
