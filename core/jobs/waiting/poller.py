"""The poller: reads due jobs at their providers and completes the activities that wait for them.

It runs in every worker process. A job's row is its schedule and its lease, so a killed or stopped
process delays only the jobs that it was reading, and only until their leases expire.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from random import random
from typing import Final

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from core.domain.ids import JobId
from core.domain.messages.jobs import (
    JobReport,
    ProviderHandle,
    SettleJobResult,
    WaitJobResult,
)
from core.domain.states import ExecutionStatus, JobState
from core.jobs.key_ring import KeyRing, known_model
from core.jobs.settlement import settle_job, wait_result
from core.jobs.submission.brief_waits import is_brief
from core.jobs.waiting import poll_schedule
from core.jobs.waiting.wakeups import Wakeups
from core.platform.observability import metrics
from core.platform.observability.logging import get_logger
from core.platform.temporal.client import RPC_TIMEOUT, UNREACHABLE
from core.platform.temporal.policies import wait_activity_id
from core.providers.port import ProviderUnavailableError
from core.providers.registry import Providers
from core.store.database import DATABASE_DOWN, DATABASE_ERRORS, Connection, Database
from core.store.jobs.callbacks import notify_end
from core.store.jobs.failovers import lock_before_end
from core.store.jobs.jobs import JobRecord, mark_reported
from core.store.jobs.looks import Claim, Look, claim_looks, end_looks, release_look, schedule_look

log = get_logger(__name__)

MAX_LOOKS: Final = 64
"""Concurrent looks of a process."""
MAX_LOOKS_OF_KEY: Final = 32
"""Concurrent looks with one provider key: a provider that hangs leaves the other half."""
LEASE_SECONDS: Final = 10.0
"""What the end of a process adds to the jobs that it was reading."""
LOOK_SECONDS: Final = 30.0
"""The limit of one look, which may take several requests. A lease that expires before costs one
more read: the first report stays.
"""
IDLE_SECONDS: Final = 1.0
"""Between rounds in which nothing is due: how late a look is noticed that another process made due.
"""
MIN_IDLE_SECONDS: Final = 0.1
COMPLETED_AGAIN_SECONDS: Final = 5.0
"""A wait whose completion is not certain after this time is completed again."""
NOT_WAITING_LOOKS: Final = 4
"""How often the completion of a wait is repeated that has not begun, or was completed before. It
will read the job's row, unless its only try is lost with a worker: nothing else would end it before
its time-out.
"""
STOP_SECONDS: Final = 5.0
"""How long running looks may take to end when the process stops."""
NOT_PENDING: Final = (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT)
"""The activity was completed before, or the workflow has not scheduled it."""
ACCEPTED: Final = "accepted"
UNREACHED: Final = "unreachable"
NOT_WAITING: Final = "not_pending"
for _outcome in (ACCEPTED, UNREACHED, NOT_WAITING):
    metrics.WAITS_COMPLETED.labels(_outcome)  # start at zero, so that the first is an increase


def wait_activity_ids(job: JobRecord) -> tuple[str, ...]:
    """Return the ids of the activities that may wait for this job.

    A late completion never reaches another wait: each send has its own, and so has the grace period
    after a cancel. A job that is past its deadline has it even if its cancel could not be sent.
    """
    first = wait_activity_id(job.job_id, job.send_number)
    if job.cancel_sent_at is None and not job.late:
        return (first,)
    return first, wait_activity_id(job.job_id, job.send_number, after_cancel=True)


@dataclass(slots=True, kw_only=True)
class JobPoller:
    """Looks at jobs that are due. reads_per_minute: by provider, the rate of each of its keys."""

    client: Client
    database: Database
    providers: Providers
    keys: KeyRing
    wakeups: Wakeups
    reads_per_minute: Mapping[str, int]
    _looks: dict[asyncio.Task[None], Look] = field(
        default_factory=dict["asyncio.Task[None]", Look], init=False
    )
    _completed: list[tuple[JobId, datetime]] = field(
        default_factory=list[tuple[JobId, datetime]], init=False
    )
    _limited_until: dict[str, float] = field(default_factory=dict[str, float], init=False)

    async def run(self) -> None:
        """Look at due jobs until cancelled."""
        try:
            with self.wakeups.of_any() as wake:
                while True:
                    pause = await self._start_due()
                    await wait(wake, pause)
        finally:
            await self._stop()

    async def _start_due(self) -> float:
        """Start a look at each due job, as far as there are free slots; return the pause."""
        free = MAX_LOOKS - len(self._looks)
        if free <= 0:
            return MIN_IDLE_SECONDS
        try:
            claim = await self._claim(free)
        except DATABASE_ERRORS as error:
            log.warning("poller.claim_failed", reason=type(error).__name__)
            return IDLE_SECONDS
        for look in claim.looks:
            metrics.LOOK_DELAY.labels(look.job.provider).observe(look.late_seconds)
            task = asyncio.create_task(self._look_safely(look))
            self._looks[task] = look
            task.add_done_callback(self._looks.pop)
        next_seconds = IDLE_SECONDS if claim.next_seconds is None else claim.next_seconds
        return min(IDLE_SECONDS, max(MIN_IDLE_SECONDS, next_seconds))

    async def _claim(self, limit: int) -> Claim:
        busy = Counter(look.job.scope for look in self._looks.values())
        now = time.monotonic()
        self._limited_until = {
            scope: until for scope, until in self._limited_until.items() if until > now
        }
        full = [scope for scope, number in busy.items() if number >= MAX_LOOKS_OF_KEY]
        async with self.database.as_system() as conn:
            await self._end_completed(conn)
            claim = await claim_looks(
                conn,
                limit=min(limit, MAX_LOOKS_OF_KEY),
                lease_seconds=LEASE_SECONDS,
                without=[*full, *self._limited_until],
                reads_per_minute=self.reads_per_minute,
            )
        for scope, seconds in claim.limited.items():
            self._limited_until[scope] = now + max(MIN_IDLE_SECONDS, seconds)
            metrics.LOOKS_LIMITED.labels(scope.split("/")[0]).inc()
        return claim

    async def _end_completed(self, conn: Connection) -> None:
        """Write which jobs need no further look. If it is lost, their waits are completed again."""
        completed, self._completed = self._completed, []
        if completed:
            await end_looks(conn, completed)

    async def _look_safely(self, look: Look) -> None:
        job = look.job
        try:
            await self._look(look)
        except DATABASE_ERRORS as error:
            # The lease expires, and the job is looked at again.
            log.warning("job.look_interrupted", **_ids(job), reason=type(error).__name__)
        except Exception as error:  # recorded: the job is looked at again when its lease expires
            log.exception("job.look_failed", **_ids(job), reason=repr(error))

    async def _look(self, look: Look) -> None:
        """Read a job, store its report, and complete the activity that waits for it."""
        job = look.job
        if not ExecutionStatus(job.execution_status).ended and (
            job.state.ended or job.state is JobState.WAITING
        ):
            await self._complete_again(look)
            return
        if (
            ExecutionStatus(job.execution_status).ended
            or job.state is not JobState.SUBMITTED
            or job.handle is None
        ):
            async with self.database.as_system() as conn:
                await end_looks(conn, [(job.job_id, look.lease)])
            return
        report = job.report
        if report is None:
            try:
                report = await self._read(job, job.handle)
            except ProviderUnavailableError as error:
                metrics.PROVIDER_CALLS.labels(job.provider, "status", "unavailable").inc()
                log.info("job.poll_failed", **_ids(job), reason=str(error))
                if not poll_schedule.wait_is_over(job):
                    await self._schedule_failed(look, error.retry_after_seconds)
                    return
            if report is not None:
                await self._end(job, job.handle, report)
                return
        if report is None and not poll_schedule.wait_is_over(job):
            await self._schedule(look, poll_schedule.look_seconds(job))
            return
        # Before the completion: a cancel that was sent meanwhile has begun another wait.
        if await self._reschedule(look, COMPLETED_AGAIN_SECONDS, job.failed_looks + 1):
            state = report.state if report is not None else JobState.SUBMITTED
            await self._complete(job, WaitJobResult(state=state))

    async def _read(self, job: JobRecord, handle: ProviderHandle) -> JobReport | None:
        """Read the job's status; return its report if it has ended.

        Raises ProviderUnavailableError.
        """
        provider = await self.keys.of_job(self.providers, job)
        if provider is None:
            raise ProviderUnavailableError(
                "the provider is not configured or its key is unreadable"
            )
        try:
            with metrics.timed(metrics.PROVIDER_CALL_DURATION.labels(job.provider, "status")):
                async with asyncio.timeout(LOOK_SECONDS):
                    report = await provider.status(handle)
        except TimeoutError:
            raise ProviderUnavailableError("the look timed out") from None
        except ProviderUnavailableError:
            raise
        except Exception as error:  # recorded: the job must still end at its deadline
            log.exception("job.look_crashed", **_ids(job), reason=repr(error))
            raise ProviderUnavailableError("the look crashed") from error
        metrics.PROVIDER_CALLS.labels(job.provider, "status", "answered").inc()
        return report if report.state.ended else None

    async def _end(self, job: JobRecord, handle: ProviderHandle, report: JobReport) -> None:
        """Store the report, settle the job, and complete the activity that waits for it."""
        try:
            stored, settled = await self._store(job, handle, report, settling=True)
        except DATABASE_DOWN:
            raise
        except Exception as error:  # recorded: the provider is not read for this again
            log.exception("job.settlement_failed", **_ids(job), reason=repr(error))
            stored, settled = await self._store(job, handle, report, settling=False)
        if stored is None:
            # Another process was faster, or the job has another send. The row decides, when the
            # lease expires.
            return
        self.wakeups.wake(job.job_id)  # a wait that occupies a slot in this process
        if settled is None:
            await self._complete(stored, WaitJobResult(state=report.state))
            return
        handed_over = self.wakeups.hand_over(stored.job_id, settled)
        # Also after the submit in this process has it: that may be one of a run that was reset.
        outcome = await self._complete(stored, wait_result(settled))
        if outcome == ACCEPTED or (handed_over and outcome == NOT_WAITING):
            self._note_completed(stored)

    async def _store(
        self, job: JobRecord, handle: ProviderHandle, report: JobReport, *, settling: bool
    ) -> tuple[JobRecord | None, SettleJobResult | None]:
        """Store the report and schedule the repetition of a lost completion.

        settling: settle the job in the same transaction, if this process can price it and a run of
        its execution waits for it; otherwise the workflow settles it.
        """
        settled = None
        async with self.database.as_user(job.user_id) as conn:
            await lock_before_end(conn, job)
            stored = await mark_reported(
                conn,
                job.job_id,
                report,
                provider_job_id=handle.provider_job_id,
                next_look_seconds=COMPLETED_AGAIN_SECONDS,
            )
            if (
                settling
                and stored is not None
                and stored.execution_status == ExecutionStatus.RUNNING
                and known_model(self.providers, stored) is not None
            ):
                generation = stored.execution_generation
                settled = await settle_job(conn, self.providers, stored, generation=generation)
                if is_brief(stored) and not self.wakeups.expects_end(stored.job_id):
                    await notify_end(conn, stored.job_id)
        return stored, settled

    async def _complete_again(self, look: Look) -> None:
        """Repeat the completion of a wait whose job is settled; the provider is not read."""
        job = look.job
        async with self.database.as_user(job.user_id) as conn:
            settled = await settle_job(
                conn, self.providers, job, generation=job.execution_generation
            )
        outcome = await self._complete(job, wait_result(settled))
        failures = job.failed_looks + 1
        if outcome == UNREACHED:
            await self._reschedule(look, poll_schedule.completion_seconds(failures), failures)
        elif outcome == NOT_WAITING and failures <= NOT_WAITING_LOOKS:
            await self._reschedule(look, poll_schedule.not_waiting_seconds(failures), failures)
        else:
            self._note_completed(job)

    def _note_completed(self, job: JobRecord) -> None:
        """Make no further look at a settled job; the next claim writes this.

        Temporal has the end of the wait, or the submit of this process returns it.
        """
        if job.next_look_at is not None:
            self._completed.append((job.job_id, job.next_look_at))

    async def _complete(self, job: JobRecord, result: WaitJobResult) -> str:
        """Complete the activity that waits for the job; return the outcome.

        The job's row makes a process repeat this until it is certain. A repetition finds no pending
        activity, which is no error. The value reports a failed job: failing the activity by its id
        would make Temporal start it again.
        """
        outcome = NOT_WAITING
        for activity_id in wait_activity_ids(job):
            handle = self.client.get_async_activity_handle(
                workflow_id=job.execution_id, run_id=None, activity_id=activity_id
            )
            try:
                await handle.complete(result, rpc_timeout=RPC_TIMEOUT)
                outcome = ACCEPTED
                break
            except UNREACHABLE as error:
                if isinstance(error, RPCError) and error.status in NOT_PENDING:
                    continue
                outcome = UNREACHED
                log.warning("wait.completion_failed", **_ids(job), reason=type(error).__name__)
                break
        metrics.WAITS_COMPLETED.labels(outcome).inc()
        return outcome

    async def _schedule(self, look: Look, seconds: float) -> None:
        """Schedule the next look at a running job: not after the end of its wait."""
        pause = poll_schedule.jittered(seconds, random())  # noqa: S311 - jitter
        await self._reschedule(look, min(pause, poll_schedule.seconds_left(look.job)), 0)

    async def _schedule_failed(self, look: Look, retry_after_seconds: float) -> None:
        failures = look.job.failed_looks + 1
        pause = poll_schedule.jittered(poll_schedule.failed_look_seconds(failures), random())  # noqa: S311 - jitter
        pause = poll_schedule.at_least(pause, retry_after_seconds)
        await self._reschedule(look, min(pause, poll_schedule.seconds_left(look.job)), failures)

    async def _reschedule(self, look: Look, seconds: float, failed_looks: int) -> bool:
        async with self.database.as_system() as conn:
            return await schedule_look(
                conn, look.job.job_id, look.lease, seconds=seconds, failed_looks=failed_looks
            )

    async def _stop(self) -> None:
        """Let running looks end, and make the jobs of the others due for other processes."""
        left: list[Look] = []
        if self._looks:
            _, running = await asyncio.wait(self._looks, timeout=STOP_SECONDS)
            left = [self._looks[task] for task in running]
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        if not left and not self._completed:
            return
        try:
            async with self.database.as_system() as conn:
                await self._end_completed(conn)
                for look in left:
                    await release_look(conn, look.job.job_id, look.lease)
        except DATABASE_ERRORS as error:
            log.info("poller.leases_not_released", reason=type(error).__name__)


def _ids(job: JobRecord) -> dict[str, str]:
    return {"execution_id": job.execution_id, "job_id": job.job_id}


async def wait(wake: asyncio.Event, seconds: float) -> None:
    """Sleep until the time is over or a notification arrives."""
    try:
        async with asyncio.timeout(seconds):  # wait_for of Python 3.11 may swallow a cancel
            await wake.wait()
    except TimeoutError:
        return
    wake.clear()
