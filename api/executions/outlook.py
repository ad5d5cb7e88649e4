"""The queue position of an execution, and an estimate of when it ends."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from api.executions.durations import RecentDurations
from api.executions.responses import Eta, EtaBasis, Queue, QueueReason
from core.domain.estimates.durations import Durations
from core.domain.estimates.plan_ends import Band, StepOutlook, plan_end
from core.domain.estimates.slot_waits import slot_wait
from core.domain.ids import ExecutionId, JobId, UserId
from core.domain.plans import DecisionKind
from core.domain.queue_waits import provider_wait_seconds
from core.domain.states import ExecutionStatus, JobState
from core.store.database import Connection
from core.store.executions.limits.concurrency_counters import ConcurrencyLimits
from core.store.executions.limits.queue_positions import (
    UserQueue,
    WaitingJob,
    read_user_queue,
    read_waiting_jobs,
)
from core.store.executions.views.status import ExecutionStatusRecord, JobStatus, latest_jobs
from core.store.providers.job_durations import DurationHistory
from core.store.providers.provider_queues import ProviderQueue, list_queues

_AT_WORK: Final = (JobState.SUBMITTING, JobState.SUBMITTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What an open execution waits for, and when it probably ends. None: not known, or ended."""

    queue: Queue | None = None
    eta: Eta | None = None


NO_OUTLOOK: Final = Outlook()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waits:
    """What the executions of one read wait for."""

    users: UserQueue | None
    jobs: Mapping[JobId, WaitingJob]
    providers: Mapping[str, ProviderQueue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlooks:
    """Reads outlooks. durations: how long recent jobs took, kept in the process."""

    limits: ConcurrencyLimits
    durations: RecentDurations = field(default_factory=RecentDurations)

    async def read(
        self, conn: Connection, user_id: UserId, records: Sequence[ExecutionStatusRecord]
    ) -> dict[ExecutionId, Outlook]:
        """Return the outlooks of open executions, in the transaction that read them.

        One that has a slot needs no further statement, except one a minute for the measurements.
        Waiting ones need up to four, which read a bounded number of rows.
        """
        opened = [record for record in records if not record.status.ended]
        if not opened:
            return {}
        history = await self.durations.get(conn)
        waits = await _read_waits(self.limits, conn, user_id, opened)
        return {record.execution_id: _outlook(record, history, waits) for record in opened}


async def _read_waits(
    limits: ConcurrencyLimits,
    conn: Connection,
    user_id: UserId,
    records: Sequence[ExecutionStatusRecord],
) -> _Waits:
    queued = [record.execution_id for record in records if record.status is ExecutionStatus.QUEUED]
    job_ids = [
        job.job_id
        for record in records
        if record.waiting_since is not None
        for job in latest_jobs(record.jobs)
        if job.state is JobState.WAITING
    ]
    users = await read_user_queue(conn, user_id, limits, queued) if queued else None
    jobs = await read_waiting_jobs(conn, user_id, job_ids) if job_ids else {}
    names = {job.provider for job in jobs.values()}
    queues = await list_queues(conn, user_id, names) if names else []
    return _Waits(users=users, jobs=jobs, providers={queue.provider: queue for queue in queues})


def _outlook(record: ExecutionStatusRecord, history: DurationHistory, waits: _Waits) -> Outlook:
    latest = latest_jobs(record.jobs)
    eta = None if _is_unknown(record, latest) else _eta(record, latest, history, waits)
    if record.cancel_requested:
        return NO_OUTLOOK
    if record.status is ExecutionStatus.QUEUED:
        return Outlook(queue=_user_queue(record, waits.users), eta=eta)
    return Outlook(queue=_provider_queue(latest, waits.jobs), eta=eta)


def _is_unknown(record: ExecutionStatusRecord, latest: Sequence[JobStatus]) -> bool:
    """Return whether something decides about the end that has no usual duration.

    A cancel, a failed step, a lost answer, or a decision of the user.
    """
    if record.cancel_requested or len(record.needs) != len(latest):
        return True
    return any(
        job.state in (JobState.FAILED, JobState.UNKNOWN)
        or (job.state is not JobState.COMPLETED and job.model == DecisionKind.APPROVAL)
        for job in latest
    )


def _user_queue(record: ExecutionStatusRecord, queue: UserQueue | None) -> Queue | None:
    position = queue.position(record.execution_id) if queue is not None else None
    if queue is None or position is None:
        return None
    starting = position == 0
    return Queue(
        reason=QueueReason.STARTING if starting else QueueReason.RUNNING_LIMIT,
        position=None if starting else position,
        ahead=None if starting else position - 1,
        running_limit=queue.running_limit,
        provider=None,
        step=None,
    )


def _provider_queue(
    latest: Sequence[JobStatus], waiting: Mapping[JobId, WaitingJob]
) -> Queue | None:
    queued = [(waiting[job.job_id], job.step) for job in latest if job.job_id in waiting]
    if not queued:
        return None
    first, step = min(queued, key=lambda item: item[0].ahead)
    return Queue(
        reason=QueueReason.PROVIDER_SLOT,
        position=first.ahead + 1,
        ahead=first.ahead,
        running_limit=None,
        provider=first.provider,
        step=step,
    )


def _eta(
    record: ExecutionStatusRecord,
    latest: Sequence[JobStatus],
    history: DurationHistory,
    waits: _Waits,
) -> Eta | None:
    numbers = {job.step: number for number, job in enumerate(latest)}
    steps: list[StepOutlook] = []
    measured = True
    for job, needs in zip(latest, record.needs, strict=True):
        recent = history.find(job.provider, job.model, job.length, job.usual_seconds)
        measured = measured and (recent is not None or job.state.ended)
        wait = _wait_seconds(record, job, waits)
        if wait is None:
            return None
        steps.append(
            StepOutlook(
                needs=[numbers[need] for need in needs],
                durations=_durations(job, recent),
                age_seconds=_age_seconds(record, job),
                wait_seconds=wait,
            )
        )
    last_end = max((job.ended_at for job in latest if job.ended_at), default=record.now)
    ended_ago = (record.now - last_end).total_seconds()
    end = plan_end(steps, history.passing, ended_seconds_ago=ended_ago)
    if record.status is ExecutionStatus.QUEUED:
        start = _slot_wait(record, end, waits.users)
        if start is None:
            return None
        end = end.after(start)
    return Eta(
        seconds=round(end.seconds),
        low=math.floor(end.low),
        high=math.ceil(end.high),
        basis=EtaBasis.HISTORY if measured else EtaBasis.MODEL,
    )


def _durations(job: JobStatus, recent: Durations | None) -> Durations | None:
    if job.state.ended:
        return None
    return recent or Durations.around(job.usual_seconds)


def _age_seconds(record: ExecutionStatusRecord, job: JobStatus) -> float | None:
    """Return the age of a job that a provider or a processor works on; None: it waits."""
    if job.submitted_at is None:
        return 0.0 if job.state in _AT_WORK else None
    return max((record.now - job.submitted_at).total_seconds(), 0.0)


def _wait_seconds(record: ExecutionStatusRecord, job: JobStatus, waits: _Waits) -> float | None:
    """Return how long a job will wait for its provider's slot; None: not known."""
    if record.waiting_since is None or job.state is not JobState.WAITING:
        return 0.0
    waiting = waits.jobs.get(job.job_id)
    if waiting is None:
        # It waits for a step before it, or for a reason that has no queue.
        return 0.0 if waits.jobs else None
    queue = waits.providers.get(waiting.provider)
    if queue is None:
        return None
    return provider_wait_seconds(
        work_seconds=queue.work_seconds,
        own_work_seconds=(waiting.ahead + 1) * queue.work_seconds / queue.jobs,
        users=queue.users,
        slots=queue.slots,
    )


def _slot_wait(record: ExecutionStatusRecord, own: Band, queue: UserQueue | None) -> Band | None:
    """Return when a queued execution starts. Others of its user take as long as they did recently.

    How much they differ is taken from this one's own band.
    """
    position = queue.position(record.execution_id) if queue is not None else None
    if queue is None or position is None:
        return None
    if position == 0:
        return Band(seconds=0.0, low=0.0, high=0.0)
    if not queue.running_ages:
        return None
    scale = (queue.recent_run_seconds or own.seconds) / own.seconds
    run = Band(seconds=own.seconds * scale, low=own.low * scale, high=own.high * scale)
    return slot_wait(position, queue.running_ages, run)
