"""What was repaired, or found to need no repair, within the last minute."""

import time
from dataclasses import dataclass, field
from typing import Final

from core.domain.ids import ExecutionId

REMEMBERED: Final = 10_000
"""The newest executions of each kind of repair."""


@dataclass(slots=True)
class RecentRepairs:
    """Executions with the time of their last repair, in the memory of one leader."""

    _times: dict[ExecutionId, float] = field(default_factory=dict[ExecutionId, float], init=False)

    def has(self, execution_id: ExecutionId, *, within_seconds: float) -> bool:
        last = self._times.get(execution_id)
        return last is not None and time.monotonic() - last < within_seconds

    def add(self, execution_id: ExecutionId) -> None:
        self._times.pop(execution_id, None)  # moves the entry to the end
        self._times[execution_id] = time.monotonic()
        while len(self._times) > REMEMBERED:
            del self._times[next(iter(self._times))]
