"""In-process wake-ups of the poller and of activities that wait for a job.

One LISTEN connection serves the whole worker process; Temporal is not involved, so wake-ups cost no
history.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from core.domain.ids import JobId
from core.domain.messages.jobs import SettleJobResult
from core.platform.observability.logging import get_logger
from core.store.database import DATABASE_ERRORS, Database
from core.store.jobs.callbacks import CHANNEL, ENDS_CHANNEL

log = get_logger(__name__)

RECONNECT_SECONDS = 1.0
CHECK_SECONDS = 10.0
"""How often the listening connection is checked: a half-open one would stay silent. Polling covers
the time until it is replaced.
"""


@dataclass(slots=True, kw_only=True)
class End:
    """The end of a job, as far as this process has it.

    settled: by the poller of this process. The event without it: another process settled the job,
    or its execution is cancelled; the row decides.
    """

    event: asyncio.Event = field(default_factory=asyncio.Event)
    settled: SettleJobResult | None = None


class Wakeups:
    """Notifications carry job ids; an activity that waits for one is woken and reads the row."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._waiting_for_any: set[asyncio.Event] = set()
        self._ends: defaultdict[str, list[End]] = defaultdict(list)

    @contextmanager
    def of(self, job_id: JobId) -> Generator[asyncio.Event]:
        """Yield an event that is set when the job has changed.

        Enter the context before reading the row, or a wake-up may be missed.
        """
        event = asyncio.Event()
        self._waiting[job_id].add(event)
        try:
            yield event
        finally:
            self._waiting[job_id].discard(event)
            if not self._waiting[job_id]:
                del self._waiting[job_id]

    @contextmanager
    def of_end(self, job_id: JobId) -> Generator[End]:
        """Yield the end of a job, to be set by `hand_over` or a notification."""
        end = End()
        self._ends[job_id].append(end)
        try:
            yield end
        finally:
            self._ends[job_id].remove(end)
            if not self._ends[job_id]:
                del self._ends[job_id]

    def expects_end(self, job_id: JobId) -> bool:
        """Return whether an activity in this process waits for `hand_over`."""
        return job_id in self._ends

    def hand_over(self, job_id: JobId, settled: SettleJobResult) -> bool:
        """Give the settlement of a job to the activities of this process that expect it.

        Return whether there are any.
        """
        ends = self._ends.get(job_id, ())
        for end in ends:
            end.settled = settled
            end.event.set()
        return bool(ends)

    def _end(self, job_id: str) -> None:
        for end in self._ends.get(job_id, ()):
            end.event.set()

    @contextmanager
    def of_any(self) -> Generator[asyncio.Event]:
        """Yield an event that is set when another process has changed a job."""
        event = asyncio.Event()
        self._waiting_for_any.add(event)
        try:
            yield event
        finally:
            self._waiting_for_any.discard(event)

    def wake(self, job_id: str) -> None:
        """Wake what waits for this job in this process."""
        for event in self._waiting.get(job_id, ()):
            event.set()

    def wake_all(self) -> None:
        """Wake everything: notifications may have been lost."""
        for job_id in tuple(self._waiting):
            self.wake(job_id)
        for job_id in tuple(self._ends):
            self._end(job_id)
        self._wake_any()

    def _notify(self, job_id: str) -> None:
        self.wake(job_id)
        self._wake_any()

    def _wake_any(self) -> None:
        for event in self._waiting_for_any:
            event.set()

    @asynccontextmanager
    async def listening(self, database: Database) -> AsyncGenerator[None]:
        """Listen in the background while the context is open; reconnect after an error."""
        listener = asyncio.create_task(self._listen(database))
        try:
            yield
        finally:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)

    async def _listen(self, database: Database) -> None:
        while True:
            try:
                async with database.listening_connection() as connection:
                    await connection.add_listener(
                        CHANNEL, lambda _c, _p, _ch, payload: self._notify(str(payload))
                    )
                    await connection.add_listener(
                        ENDS_CHANNEL, lambda _c, _p, _ch, payload: self._end(str(payload))
                    )
                    self.wake_all()  # notifications sent before are lost; the rows have the changes
                    while True:
                        await asyncio.sleep(CHECK_SECONDS)
                        await connection.fetchval("SELECT 1", timeout=CHECK_SECONDS)
            except DATABASE_ERRORS as error:
                log.warning("wakeups.listener_interrupted", reason=type(error).__name__)
            except Exception as error:  # recorded: without the listener every callback waits
                log.exception("wakeups.listener_crashed", reason=repr(error))
            await asyncio.sleep(RECONNECT_SECONDS)
