"""Jobs and their sends in rows: the half of the pay-once protocol that the database keeps.

Every move names the state it expects and the send it is about. Zero rows is an answer: somebody
else was first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from core.domain.failures import Failure
from core.domain.ids import ExecutionId, JobId, ProviderJobId, ProviderKeyId, UserId
from core.domain.messages.jobs import JobRef, JobReport, ProviderHandle, key_scope
from core.domain.plans import Parameters, StepKind, parameters_from_json
from core.domain.states import JobState
from core.store.database import Connection
from core.store.executions.executions import failure_from_json, failure_to_json
from core.store.jobs.reports import report_from_json, report_to_json

GET_JOB = """
SELECT j.job_id, j.execution_id, j.user_id, j.step_name, j.provider, j.model, j.state, j.send_number,
       j.provider_job_id, j.provider_urls, j.report, j.failure, j.deadline_at, j.cancel_sent_at, j.callback_at,
       j.submitted_at, s.kind, s.parameters, s.usual_seconds, s.deadline_seconds,
       j.provider_key_id, j.orphan, e.status AS execution_status, e.generation AS execution_generation,
       e.cancel_requested_at, e.deadline_at < now() AS execution_late, now() AS now,
       coalesce(j.deadline_at, e.deadline_at) < now() AS late
FROM jobs AS j
JOIN steps AS s ON s.execution_id = j.execution_id AND s.name = j.step_name
JOIN executions AS e ON e.execution_id = j.execution_id
WHERE j.job_id = $1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job with its step and what matters of its execution, as they were at `now`.

    deadline_at: of the current send; None while certainly nothing is sent: then only the
    execution's deadline counts. failure: how it ended; of a waiting job, why its last send was not
    accepted. provider_key_id: its user's own key, by which its current send was made; None: the
    service's.
    """

    job_id: JobId
    execution_id: ExecutionId
    user_id: UserId
    step_name: str
    kind: StepKind
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

    @property
    def scope(self) -> str:
        """By whose key it is asked about, see key_scope."""
        return key_scope(self.provider, self.provider_key_id)

    @property
    def cancel_requested(self) -> bool:
        return self.cancel_requested_at is not None


def _job_record(row: asyncpg.Record) -> JobRecord:
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
        if name not in {"provider_job_id", "provider_urls"}
    }
    plain |= {
        "handle": handle,
        "kind": StepKind(row["kind"]),
        "state": JobState(row["state"]),
        "parameters": parameters_from_json(row["parameters"]),
        "report": report_from_json(row["report"]),
        "failure": failure_from_json(row["failure"]),
    }
    return JobRecord(**plain)


LOCK_AND_GET_JOB = f"{GET_JOB}FOR UPDATE OF j"


async def get_job(conn: Connection, job_id: JobId, *, locked: bool = False) -> JobRecord:
    """locked: until COMMIT nobody moves it. Raises LookupError: there is no such job, or it is
    another user's.
    """
    row = await conn.fetchrow(LOCK_AND_GET_JOB if locked else GET_JOB, job_id)
    if row is None:
        raise LookupError(f"no job {job_id}")
    return _job_record(row)


LOCK_EXECUTION = """
SELECT e.execution_id FROM executions AS e JOIN jobs AS j ON j.execution_id = e.execution_id
WHERE e.execution_id = $1 AND e.generation = $2 AND e.status = 'running' AND e.cancel_requested_at IS NULL
  AND j.job_id = $3
  AND NOT EXISTS (
      SELECT FROM submit_pauses WHERE scope IN ('all', 'provider/' || j.provider, 'user/' || j.user_id)
  )
FOR SHARE OF e
"""

BEGIN_SEND = """
WITH begun AS (
    UPDATE jobs AS j
    SET state = 'submitting', send_number = $2, provider_key_id = $7, failure = NULL, updated_at = now(),
        deadline_at = least(e.deadline_at, now() + make_interval(secs => s.deadline_seconds))
    FROM executions AS e, steps AS s
    WHERE j.job_id = $1 AND j.state = 'waiting' AND j.send_number = $2 - 1
      AND e.execution_id = j.execution_id AND s.execution_id = j.execution_id AND s.name = j.step_name
    RETURNING j.job_id, j.send_number
)
INSERT INTO sends (job_id, number, user_id, request, inputs, sender, provider_key_id)
SELECT job_id, send_number, $3, $4, $5, $6, $7 FROM begun
RETURNING serial
"""


async def begin_send(
    conn: Connection,
    ref: JobRef,
    number: int,
    request: Mapping[str, Any],
    inputs: Mapping[str, Any],
    *,
    sender: str = "",
    provider_key_id: ProviderKeyId | None = None,
) -> int | None:
    """The intent: commit this before any byte leaves. Returns the send's serial, the next of the
    whole database.

    None: cancelled, paused, of another generation, or somebody else's send is out. sender: names
    the one call that sends; by it the call knows its own send again when COMMIT got no answer.
    provider_key_id: the user's own key it is sent with; whatever is asked about this send is asked
    with the same.

    The execution's row is locked in share mode, so a cancel is either seen here or waits until the
    intent is committed.
    """
    if await conn.fetchval(LOCK_EXECUTION, ref.execution_id, ref.generation, ref.job_id) is None:
        return None
    arguments = (ref.user_id, dict(request), dict(inputs), sender, provider_key_id)
    return await conn.fetchval(BEGIN_SEND, ref.job_id, number, *arguments)


LOCK_JOB = "SELECT job_id FROM jobs WHERE job_id = $1 FOR UPDATE"
TAKE_BACK = """
UPDATE jobs AS j SET state = 'waiting', deadline_at = NULL, updated_at = now()
FROM sends AS s
WHERE j.job_id = $1 AND j.state IN ('submitting', 'unknown')
  AND s.job_id = j.job_id AND s.number = j.send_number AND s.sender = $2
RETURNING j.send_number
"""


async def lock_job(conn: Connection, job_id: JobId) -> None:
    """Until COMMIT nobody moves this job, nor learns its provider's id."""
    await conn.execute(LOCK_JOB, job_id)


async def take_back_send(conn: Connection, job_id: JobId, sender: str) -> int | None:
    """Undo the caller's own intent, of which it knows that no byte has left. Returns the number of
    that send.

    None: the intent was not committed, or is not the current send. An intent that is being
    committed is waited for.
    """
    await lock_job(conn, job_id)
    return await conn.fetchval(TAKE_BACK, job_id, sender)


@dataclass(frozen=True, slots=True, kw_only=True)
class SendRecord:
    """price: what its job was quoted by, as it is stored (core.domain.prices.price_from_json)."""

    number: int
    request: Mapping[str, Any]
    inputs: Mapping[str, Any]
    price: Mapping[str, Any]
    sent_at: datetime
    age_seconds: float


GET_SEND = """
SELECT s.number, s.request, s.inputs, c.price, s.sent_at,
       extract(epoch FROM now() - s.sent_at)::float8 AS age_seconds
FROM sends AS s JOIN charges AS c ON c.job_id = s.job_id WHERE s.job_id = $1 AND s.number = $2
"""


async def get_send(conn: Connection, job_id: JobId, number: int) -> SendRecord:
    row = await conn.fetchrow(GET_SEND, job_id, number)
    if row is None:
        raise LookupError(f"job {job_id} has no send {number}")
    return SendRecord(**dict(row))


# Also from waiting: its last send was held to be absent, and was accepted after all.
ACCEPT_SEND = """
UPDATE jobs AS j
SET state = 'submitted', provider_job_id = $3, provider_urls = $4, failure = NULL, submitted_at = now(),
    updated_at = now(),
    deadline_at = coalesce(j.deadline_at, least(e.deadline_at, now() + make_interval(secs => s.deadline_seconds)))
FROM executions AS e, steps AS s
WHERE j.job_id = $1 AND j.send_number = $2 AND j.state IN ('submitting', 'unknown', 'waiting')
  AND e.execution_id = j.execution_id AND s.execution_id = j.execution_id AND s.name = j.step_name
RETURNING j.job_id
"""
ADD_URLS = """
UPDATE jobs SET provider_urls = $3, updated_at = now()
WHERE job_id = $1 AND provider_job_id = $2 AND provider_urls = '{}'
"""
OWNS_PROVIDER_JOB = "SELECT job_id = $1 FROM jobs WHERE provider = $2 AND provider_job_id = $3"


async def mark_submitted(
    conn: Connection, job_id: JobId, number: int, handle: ProviderHandle
) -> bool:
    """Adopt the provider's id for a send. True also if it is already there: the callback was
    faster.

    False: a late write, for a send that is not the current one or a job that has ended.
    """
    if (
        await conn.fetchval(ACCEPT_SEND, job_id, number, handle.provider_job_id, dict(handle.urls))
        is not None
    ):
        return True
    await conn.execute(ADD_URLS, job_id, handle.provider_job_id, dict(handle.urls))
    return bool(
        await conn.fetchval(OWNS_PROVIDER_JOB, job_id, handle.provider, handle.provider_job_id)
    )


LIST_OWNED = (
    "SELECT provider_job_id FROM jobs WHERE provider = $1 AND provider_job_id = ANY($2::text[])"
)


async def list_owned(
    conn: Connection, provider: str, provider_job_ids: list[ProviderJobId]
) -> set[str]:
    """Which of a provider's ids belong to jobs already. As system: another user's job may
    own one.
    """
    return {
        row["provider_job_id"] for row in await conn.fetch(LIST_OWNED, provider, provider_job_ids)
    }


HAS_TWIN = """
SELECT EXISTS (
    SELECT FROM sends AS mine
    JOIN jobs AS other ON other.model = (SELECT model FROM jobs WHERE job_id = $1)
        AND other.job_id <> $1 AND other.state IN ('submitting', 'unknown')
    JOIN sends AS theirs ON theirs.job_id = other.job_id AND theirs.number = other.send_number
    WHERE mine.job_id = $1 AND mine.number = $2 AND theirs.inputs = mine.inputs
)
"""


async def has_twin(conn: Connection, job_id: JobId, number: int) -> bool:
    """Whether another send of unknown fate asked for exactly the same: then a match in a list could
    be either's.

    Whatever their keys: two keys may be of one account. As system.
    """
    return bool(await conn.fetchval(HAS_TWIN, job_id, number))


MARK_UNKNOWN = """
UPDATE jobs SET state = 'unknown', updated_at = now()
WHERE job_id = $1 AND send_number = $2 AND state = 'submitting'
RETURNING job_id
"""
MARK_WAITING = """
UPDATE jobs SET state = 'waiting', deadline_at = NULL, failure = $3, updated_at = now()
WHERE job_id = $1 AND send_number = $2 AND state IN ('submitting', 'unknown')
RETURNING job_id
"""
ANSWER_SEND = """
UPDATE sends
SET answered_at = clock_timestamp(), outcome = $3, status_code = $4, note = $5, provider_job_id = $6
WHERE job_id = $1 AND number = $2
"""


async def mark_unknown(conn: Connection, job_id: JobId, number: int) -> bool:
    """The answer of this send is not known: it is looked up, never sent again."""
    return await conn.fetchval(MARK_UNKNOWN, job_id, number) is not None


async def mark_waiting(
    conn: Connection, job_id: JobId, number: int, failure: Failure | None = None
) -> bool:
    """This send was certainly not accepted: the job may be sent again. failure: why not, if anybody
    said so.
    """
    return await conn.fetchval(MARK_WAITING, job_id, number, failure_to_json(failure)) is not None


async def mark_send_answered(
    conn: Connection,
    job_id: JobId,
    number: int,
    outcome: str,
    *,
    status_code: int | None = None,
    note: str = "",
    provider_job_id: str | None = None,
) -> None:
    """Write down what became of a send."""
    await conn.execute(ANSWER_SEND, job_id, number, outcome, status_code, note, provider_job_id)


REPORT_JOB = """
UPDATE jobs SET report = $2, updated_at = now() WHERE job_id = $1 AND report IS NULL
"""
SENT_CANCEL = "UPDATE jobs SET cancel_sent_at = coalesce(cancel_sent_at, now()), updated_at = now() WHERE job_id = $1"
END_JOB = """
UPDATE jobs SET state = $2, failure = $3, ended_at = now(), updated_at = now()
WHERE job_id = $1 AND state = ANY($4::text[])
RETURNING job_id
"""


async def mark_reported(conn: Connection, job_id: JobId, report: JobReport) -> None:
    """Keep what the provider said at the end of a job; the first report stands. Settling reads it
    from here.
    """
    await conn.execute(REPORT_JOB, job_id, report_to_json(report))


async def mark_cancel_sent(conn: Connection, job_id: JobId) -> None:
    """The provider is about to be asked to end this job."""
    await conn.execute(SENT_CANCEL, job_id)


async def mark_job_ended(
    conn: Connection,
    job_id: JobId,
    state: JobState,
    failure: Failure | None,
    *,
    expected: tuple[JobState, ...],
) -> bool:
    """End a job that is in one of the expected states. False: it was not (it had ended, or went
    on).
    """
    return (
        await conn.fetchval(END_JOB, job_id, state, failure_to_json(failure), list(expected))
        is not None
    )


# One that its execution's deadline ends has failed, of what refused its last send.
CANCEL_WAITING = """
UPDATE jobs AS j
SET state = CASE WHEN late.refused THEN 'failed' ELSE 'cancelled' END,
    failure = CASE WHEN late.refused THEN j.failure END, ended_at = now(), updated_at = now()
FROM (
    SELECT w.job_id, w.failure IS NOT NULL AND e.deadline_at < now() AS refused
    FROM jobs AS w JOIN executions AS e ON e.execution_id = w.execution_id
    WHERE w.execution_id = $1
) AS late
WHERE j.job_id = late.job_id AND j.state = 'waiting'
RETURNING j.job_id
"""


async def cancel_waiting_jobs(conn: Connection, execution_id: ExecutionId) -> list[JobId]:
    """End what was never sent, or certainly not accepted. Returns the jobs whose money is to be
    released.
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
    """Write down the provider's id of a job that was given up, so that its bill can be settled. Its
    end stays.

    number: only if this is the job's current send. False: it has an id, the id has another owner,
    or its money has ended (seen under the lock of the job): then its bill would be nobody's.
    """
    await lock_job(conn, job_id)
    return (
        await conn.fetchval(LATE_HANDLE, job_id, handle.provider_job_id, dict(handle.urls), number)
        is not None
    )
