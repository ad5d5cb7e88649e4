"""Decisions of users about approval steps, and those that their workflows do not have yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from asyncpg import Record

from core.domain.failures import Failure, FailureCode
from core.domain.ids import ExecutionId, JobId, UserId
from core.domain.messages.executions import ExecutionRef
from core.domain.messages.jobs import JobReport, Output
from core.domain.states import JobState
from core.store.approvals.looks import Option
from core.store.database import Connection
from core.store.executions.executions import failure_to_json
from core.store.jobs.reports import report_from_json, report_to_json

LOCK_EXECUTION = """
SELECT generation, status = 'running' AND cancel_requested_at IS NULL AS continues FROM executions
WHERE execution_id = $1 AND user_id = $2 AND deleted_at IS NULL FOR NO KEY UPDATE
"""
LIST_APPROVAL_STEPS = (
    "SELECT name FROM steps WHERE execution_id = $1 AND kind = 'approval' ORDER BY position"
)
# A retry may have replaced the job: then the new one is decided.
LOCK_APPROVAL = """
SELECT a.job_id, a.options, a.decided_at, a.choice, a.expires_at < now() AS expired, j.state
FROM (SELECT job_id, state FROM jobs WHERE execution_id = $1 AND step_name = $2 AND NOT orphan
      ORDER BY generation DESC, job_id DESC LIMIT 1) AS j
JOIN approvals AS a ON a.job_id = j.job_id
FOR UPDATE OF a
"""
DECIDE = (
    "UPDATE approvals SET decided_at = now(), choice = $2 WHERE job_id = $1 RETURNING decided_at"
)
GET_REPORT = "SELECT report FROM jobs WHERE job_id = $1"
CHOOSE = """
UPDATE jobs SET state = 'completed', reused_from = $2, report = $3, failure = NULL, ended_at = now(), updated_at = now()
WHERE job_id = $1 AND state = 'waiting'
"""
REJECT = """
UPDATE jobs SET state = 'cancelled', failure = $2, ended_at = now(), updated_at = now()
WHERE job_id = $1 AND state = 'waiting'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedExecution:
    """An execution, its row locked. continues: it runs, and no cancel was requested."""

    generation: int
    continues: bool
    approval_steps: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedApproval:
    """An approval, its row locked. choice: None with decided_at: all options were rejected."""

    job_id: JobId
    options: Sequence[Option]
    decided_at: datetime | None
    choice: str | None
    waits: bool


async def lock_execution(
    conn: Connection, user_id: UserId, execution_id: ExecutionId
) -> LockedExecution | None:
    """Lock an execution until COMMIT; None: it does not exist or belongs to another user."""
    row = await conn.fetchrow(LOCK_EXECUTION, execution_id, user_id)
    if row is None:
        return None
    steps = [each["name"] for each in await conn.fetch(LIST_APPROVAL_STEPS, execution_id)]
    return LockedExecution(
        generation=row["generation"], continues=row["continues"], approval_steps=steps
    )


async def lock_approval(
    conn: Connection, execution_id: ExecutionId, step: str
) -> LockedApproval | None:
    """Lock the approval of a step until COMMIT; None: it has not begun to wait."""
    row = await conn.fetchrow(LOCK_APPROVAL, execution_id, step)
    if row is None:
        return None
    return LockedApproval(
        job_id=JobId(row["job_id"]),
        options=options_from_row(row),
        decided_at=row["decided_at"],
        choice=row["choice"],
        waits=JobState(row["state"]) is JobState.WAITING and not row["expired"],
    )


def options_from_row(row: Record) -> list[Option]:
    return [Option(step=item["step"], job_id=JobId(item["job_id"])) for item in row["options"]]


async def choose(conn: Connection, approval: LockedApproval, option: Option) -> datetime:
    """Complete the approval's job with the files of an option. Return the time of the decision."""
    chosen = report_from_json(await conn.fetchval(GET_REPORT, option.job_id))
    report = JobReport(
        state=JobState.COMPLETED,
        # Without an address, other steps use the stored files.
        outputs=tuple(Output(url="", kind=each.kind) for each in chosen.outputs) if chosen else (),
    )
    await conn.execute(CHOOSE, approval.job_id, option.job_id, report_to_json(report))
    return await conn.fetchval(DECIDE, approval.job_id, option.step)


async def reject(conn: Connection, approval: LockedApproval) -> datetime:
    """Cancel the approval's job. Return the time of the decision."""
    failure = failure_to_json(Failure.of(FailureCode.APPROVAL_REJECTED))
    await conn.execute(REJECT, approval.job_id, failure)
    return await conn.fetchval(DECIDE, approval.job_id, None)


LIST_NOT_NOTED = """
SELECT e.user_id, e.execution_id, e.generation, j.step_name
FROM approvals AS a
JOIN jobs AS j ON j.job_id = a.job_id
JOIN executions AS e ON e.execution_id = a.execution_id
WHERE a.decided_at IS NOT NULL AND a.noted_at IS NULL AND a.decided_at < now() - make_interval(secs => $1)
  AND e.status = 'running' AND (e.execution_id, j.step_name) > ($2::text, $3::text)
ORDER BY e.execution_id, j.step_name LIMIT $4
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnnotedDecision:
    """A decision that its workflow may not have."""

    ref: ExecutionRef
    step: str


async def list_unnoted(
    conn: Connection, *, older_than_seconds: float, after: tuple[str, str], limit: int
) -> list[UnnotedDecision]:
    """List a page of decisions with which no workflow has continued. As system."""
    rows = await conn.fetch(LIST_NOT_NOTED, older_than_seconds, *after, limit)
    return [
        UnnotedDecision(
            ref=ExecutionRef(
                user_id=row["user_id"],
                execution_id=row["execution_id"],
                generation=row["generation"],
            ),
            step=row["step_name"],
        )
        for row in rows
    ]
