"""Jobs in the database: their record, the provider's ids, and how they end.

Every change names the state it expects. Changing no row is a valid result: another process was
faster.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from core.domain.alternatives import Alternative, alternatives_from_json, changed_parameters
from core.domain.failures import Failure
from core.domain.ids import ExecutionId, JobId, ProviderJobId, ProviderKeyId, UserId
from core.domain.look_times import MIN_POLL_SECONDS
from core.domain.messages.jobs import JobReport, ProviderHandle, key_scope
from core.domain.plans import AnyKind, Parameters, kind_of_step, parameters_from_json
from core.domain.states import JobState
from core.store.database import Connection
from core.store.executions.executions import failure_from_json, failure_to_json
from core.store.jobs.reports import report_from_json, report_to_json

JOB_COLUMNS = """
j.job_id, j.execution_id, j.user_id, j.step_name, j.provider, j.model, j.state, j.send_number,
       j.provider_job_id, j.provider_urls, j.report, j.failure, j.deadline_at, j.cancel_sent_at, j.callback_at,
       j.submitted_at, s.kind, s.parameters, j.parameter_changes, j.alternatives, s.usual_seconds, s.deadline_seconds,
       j.provider_key_id, j.orphan, j.calls_back, j.failed_looks, j.next_look_at,
       e.status AS execution_status, e.generation AS execution_generation,
       e.cancel_requested_at, e.waiting_since IS NULL AND e.deadline_at < now() AS execution_late, now() AS now,
       CASE WHEN j.deadline_at IS NOT NULL THEN j.deadline_at < now()
            ELSE e.waiting_since IS NULL AND e.deadline_at < now() END AS late
"""
OF_JOB = (
    "s.execution_id = j.execution_id AND s.name = j.step_name AND e.execution_id = j.execution_id"
)
"""With `JOB_COLUMNS`, also as RETURNING: the step `s` and the execution `e` of a job `j`."""
GET_JOB = f"SELECT {JOB_COLUMNS} FROM jobs AS j, steps AS s, executions AS e WHERE {OF_JOB} AND j.job_id = $1\n"  # noqa: S608 - constants
LIST_JOBS = GET_JOB.replace("j.job_id = $1", "j.job_id = ANY($1::text[])")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job with its step and the relevant fields of its execution, read at `now`.

    deadline_at: of the current send; None while no send is open, when only the execution's deadline
    applies. failure: the reason of a failed job; for a waiting job, why its last send was not
    accepted. provider_key_id: the user's own key of the current send; None: the service's key.
    calls_back: the current send asked for a callback. failed_looks: in a row. next_look_at: when a
    poller looks at the job; None: no workflow waits for it. alternatives: models to continue with
    if this job cost nothing.
    """

    job_id: JobId
    execution_id: ExecutionId
    user_id: UserId
    step_name: str
    kind: AnyKind
    provider: str
    model: str
    state: JobState
    send_number: int
    parameters: Parameters
    usual_seconds: int
    deadline_seconds: int
    handle: ProviderHandle | None
    report: JobReport | None
    failure: Failure | None
    deadline_at: datetime | None
    late: bool
    cancel_sent_at: datetime | None
    callback_at: datetime | None
    submitted_at: datetime | None
    orphan: bool
    provider_key_id: ProviderKeyId | None = None
    execution_status: str
    execution_generation: int
    execution_late: bool
    cancel_requested_at: datetime | None
    now: datetime
    calls_back: bool = False
    failed_looks: int = 0
    next_look_at: datetime | None = None
    alternatives: tuple[Alternative, ...] = ()

    @property
    def scope(self) -> str:
        """Return the scope of the key that requests about this job use, see `key_scope`."""
        return key_scope(self.provider, self.provider_key_id)

    @property
    def cancel_requested(self) -> bool:
        """Return whether a cancel of the execution has been requested."""
        return self.cancel_requested_at is not None


def job_record(row: asyncpg.Record) -> JobRecord:
    """Return the job of a row of `JOB_COLUMNS`."""
    handle = None
    if row["provider_job_id"] is not None:
        handle = ProviderHandle(
            provider=row["provider"],
            model=row["model"],
            provider_job_id=ProviderJobId(row["provider_job_id"]),
            urls=row["provider_urls"],
        )
    plain = {
        name: value
        for name, value in row.items()
        if name not in {"provider_job_id", "provider_urls", "parameter_changes"}
    }
    plain |= {
        "handle": handle,
        "kind": kind_of_step(row["kind"]),
        "state": JobState(row["state"]),
        "parameters": _parameters(row["parameters"], row["parameter_changes"]),
        "alternatives": alternatives_from_json(row["alternatives"]),
        "report": report_from_json(row["report"]),
        "failure": failure_from_json(row["failure"]),
    }
    return JobRecord(**plain)


def _parameters(step: Mapping[str, object], changes: Mapping[str, Any] | None) -> Parameters:
    parameters = parameters_from_json(step)
    if changes is None:
        return parameters
    return changed_parameters(parameters, changes["values"], changes["without"])


async def get_job(conn: Connection, job_id: JobId) -> JobRecord:
    """Return a job. Raises LookupError if it does not exist or belongs to another user."""
    row = await conn.fetchrow(GET_JOB, job_id)
    if row is None:
        raise LookupError(f"no job {job_id}")
    return job_record(row)


async def list_jobs(conn: Connection, job_ids: Sequence[JobId]) -> dict[JobId, JobRecord]:
    """Return those of these jobs that exist and belong to the user."""
    rows = await conn.fetch(LIST_JOBS, list(job_ids))
    return {job.job_id: job for job in map(job_record, rows)}


LOCK_JOB = "SELECT state, send_number, provider_key_id FROM jobs WHERE job_id = $1 FOR UPDATE"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedJob:
    """What a late answer of a send is compared with."""

    state: JobState
    send_number: int
    provider_key_id: ProviderKeyId | None


def locked_job(row: asyncpg.Record) -> LockedJob:
    """Return the job of a row with the columns of `LOCK_JOB`."""
    return LockedJob(
        state=JobState(row["state"]),
        send_number=row["send_number"],
        provider_key_id=row["provider_key_id"],
    )


async def lock_job(conn: Connection, job_id: JobId) -> LockedJob | None:
    """Lock a job's row until COMMIT, so that neither its state nor its provider id changes.

    Return None if the job does not exist or belongs to another user.
    """
    row = await conn.fetchrow(LOCK_JOB, job_id)
    return locked_job(row) if row is not None else None


LIST_OWNED = (
    "SELECT provider_job_id FROM jobs WHERE provider = $1 AND provider_job_id = ANY($2::text[])"
)


async def list_owned(
    conn: Connection, provider: str, provider_job_ids: list[ProviderJobId]
) -> set[str]:
    """Return the provider's ids that already belong to jobs.

    Call it as system, because the job may belong to another user.
    """
    return {
        row["provider_job_id"] for row in await conn.fetch(LIST_OWNED, provider, provider_job_ids)
    }


REPORT_JOB = f"""
UPDATE jobs AS j
SET report = $2, updated_at = now(), next_look_at = now() + make_interval(secs => $4), failed_looks = 0
FROM steps AS s, executions AS e
WHERE {OF_JOB} AND j.job_id = $1 AND j.report IS NULL AND j.provider_job_id = coalesce($3, j.provider_job_id)
RETURNING {JOB_COLUMNS}
"""  # noqa: S608 - constants
SENT_CANCEL = """
UPDATE jobs
SET cancel_sent_at = coalesce(cancel_sent_at, now()), updated_at = now(),
    next_look_at = now() + make_interval(secs => $2)
WHERE job_id = $1
"""
END_JOB = """
UPDATE jobs SET state = $2, failure = $3, ended_at = now(), updated_at = now()
WHERE job_id = $1 AND state = ANY($4::text[])
RETURNING job_id
"""


async def mark_reported(
    conn: Connection,
    job_id: JobId,
    report: JobReport,
    *,
    provider_job_id: ProviderJobId | None = None,
    next_look_seconds: float = 0.0,
) -> JobRecord | None:
    """Store the provider's final report of a job, from which it is settled; return its row now.

    Repeating is safe: the first report stays. provider_job_id: store it only if the job still has
    this id. next_look_seconds: when the poller completes the wait if the caller does not. Return
    None if nothing was stored.
    """
    arguments = (report_to_json(report), provider_job_id, next_look_seconds)
    row = await conn.fetchrow(REPORT_JOB, job_id, *arguments)
    return job_record(row) if row is not None else None


async def mark_cancel_sent(conn: Connection, job_id: JobId) -> None:
    """Record that a cancel request is about to be sent to the provider."""
    await conn.execute(SENT_CANCEL, job_id, MIN_POLL_SECONDS)


async def mark_job_ended(
    conn: Connection,
    job_id: JobId,
    state: JobState,
    failure: Failure | None,
    *,
    expected: tuple[JobState, ...],
) -> bool:
    """End a job that is in one of the expected states; return False if it is in another state."""
    return (
        await conn.fetchval(END_JOB, job_id, state, failure_to_json(failure), list(expected))
        is not None
    )


# At the execution's deadline, a job whose last send was refused fails with that refusal.
# A media step that ran until now has no measured processor time, because its program was killed. It
# counts with the time since its start, at most its usual time.
CANCEL_WAITING = """
WITH ended AS (
    UPDATE jobs AS j
    SET state = CASE WHEN late.refused THEN 'failed' ELSE 'cancelled' END,
        failure = CASE WHEN late.refused THEN j.failure END, ended_at = now(), updated_at = now()
    FROM (
        SELECT w.job_id, w.failure IS NOT NULL AND e.deadline_at < now() AS refused, s.usual_seconds
        FROM jobs AS w
        JOIN executions AS e ON e.execution_id = w.execution_id
        JOIN steps AS s ON s.execution_id = w.execution_id AND s.name = w.step_name
        WHERE w.execution_id = $1
    ) AS late
    WHERE j.job_id = late.job_id AND j.state = 'waiting'
    RETURNING j.job_id, j.user_id, j.provider,
              CASE WHEN j.submitted_at IS NOT NULL
                   THEN least(extract(epoch FROM now() - j.submitted_at), late.usual_seconds) END AS ran_seconds
), counted AS (
    INSERT INTO usage_media AS u (user_id, day, jobs, processor_ms)
    SELECT user_id, (now() AT TIME ZONE 'UTC')::date, count(*), (1000 * sum(ran_seconds))::bigint
    FROM ended WHERE provider = 'media' AND ran_seconds IS NOT NULL GROUP BY user_id
    ON CONFLICT (user_id, day) DO UPDATE
    SET jobs = u.jobs + excluded.jobs, processor_ms = u.processor_ms + excluded.processor_ms
)
SELECT job_id FROM ended
"""


async def cancel_waiting_jobs(conn: Connection, execution_id: ExecutionId) -> list[JobId]:
    """End the jobs that were never sent or certainly not accepted.

    Return them, so that the caller releases their holds.
    """
    return [JobId(row["job_id"]) for row in await conn.fetch(CANCEL_WAITING, execution_id)]


LATE_HANDLE = """
UPDATE jobs SET provider_job_id = $2, provider_urls = $3, updated_at = now()
WHERE job_id = $1 AND state IN ('failed', 'cancelled') AND provider_job_id IS NULL
  AND send_number = coalesce($4, send_number)
  AND EXISTS (SELECT FROM charges AS c WHERE c.job_id = jobs.job_id AND c.state = 'held')
  AND NOT EXISTS (SELECT FROM jobs AS o WHERE o.provider = jobs.provider AND o.provider_job_id = $2)
RETURNING job_id
"""


async def mark_late_handle(
    conn: Connection, job_id: JobId, handle: ProviderHandle, *, number: int | None = None
) -> bool:
    """Store the provider's id of a job that was given up, so that its bill can be settled.

    The job's state stays. number: store it only if this is the job's current send. Return False if
    the job has an id, the id belongs to another job, or the charge has ended (checked under the
    job's lock), because no charge would then account for the bill.
    """
    await lock_job(conn, job_id)
    return (
        await conn.fetchval(LATE_HANDLE, job_id, handle.provider_job_id, dict(handle.urls), number)
        is not None
    )
