"""Waits of a few seconds within a submit, for the end of a job whose model is quick.

They save the workflow a task and an activity per job. A wait that does not see the end in time
changes nothing: the workflow then waits as for any other job, and reads the end from its row.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from temporalio import activity

from core.domain.look_times import first_look_seconds
from core.domain.messages.jobs import JobRef, SettleJobResult
from core.domain.states import JobState
from core.jobs.settlement import settle_job
from core.jobs.waiting.wakeups import End, Wakeups
from core.platform.clock import boot_seconds
from core.platform.observability.logging import get_logger
from core.platform.temporal.policies import BRIEF_WAIT_SECONDS
from core.providers.registry import Providers
from core.store.database import Database
from core.store.jobs.jobs import JobRecord, get_job

log = get_logger(__name__)

BRIEF_USUAL_SECONDS: Final = 15.0
"""A model that usually takes longer is not waited for in its submit."""


def is_brief(job: JobRecord) -> bool:
    return job.usual_seconds <= BRIEF_USUAL_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class BriefWaits:
    """Waits for the ends of jobs whose models are quick.

    limit: per task queue in this process, so that other submits always have slots.
    """

    database: Database
    providers: Providers
    wakeups: Wakeups
    limit: int
    _number: Counter[str] = field(default_factory=Counter[str], init=False)

    async def settled(self, ref: JobRef, job: JobRecord, end: End) -> SettleJobResult | None:
        """Wait for the settlement of a job that was submitted, if its model is quick.

        end: of `Wakeups.of_end`, entered before the job was sent, or its end could be missed.
        Return None if it does not end in time, and at once if its execution or this activity is
        cancelled or the worker stops.
        """
        queue = activity.info().task_queue
        if not is_brief(job) or self._number[queue] >= self.limit:
            return end.settled
        self._number[queue] += 1
        try:
            seconds = min(BRIEF_WAIT_SECONDS, first_look_seconds(job.usual_seconds, None))
            return await self._wait(ref, end, seconds)
        except asyncio.CancelledError:  # the job is submitted: that is the result either way
            return end.settled
        except Exception as error:  # recorded: nothing may hide that the job is submitted
            log.exception("job.brief_wait_failed", job_id=ref.job_id, reason=repr(error))
            return end.settled
        finally:
            self._number[queue] -= 1

    async def _wait(self, ref: JobRef, end: End, seconds: float) -> SettleJobResult | None:
        until = boot_seconds() + seconds
        stopping = asyncio.create_task(activity.wait_for_worker_shutdown())
        try:
            while end.settled is None:
                woken = asyncio.create_task(end.event.wait())
                try:
                    await asyncio.wait(
                        {woken, stopping},
                        timeout=max(0.0, until - boot_seconds()),
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                finally:
                    woken.cancel()
                if not end.event.is_set():
                    break
                end.event.clear()
                if end.settled is None and await self._read(ref, end):
                    break
        finally:
            stopping.cancel()
        return end.settled

    async def _read(self, ref: JobRef, end: End) -> bool:
        """Read the row after another process changed it; return whether the wait is over."""
        async with self.database.as_user(ref.user_id) as conn:
            job = await get_job(conn, ref.job_id)
            if job.state.ended or job.state is JobState.WAITING:
                end.settled = await settle_job(conn, self.providers, job, generation=ref.generation)
            return end.settled is not None or job.cancel_requested or job.report is not None
