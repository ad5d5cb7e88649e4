"""The workflow's side of approvals: open one, read its decision, and give up the slot meanwhile.

Every function runs in a transaction that has locked the execution (`lock_execution`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from core.domain.failures import Failure
from core.domain.ids import ExecutionId, JobId, UserId
from core.domain.plans import Plan, StepOutput, plan_from_json
from core.store.database import Connection
from core.store.executions.executions import failure_from_json, failure_to_json
from core.store.jobs.jobs import JobRecord

REST_LOW: Final = "rest_low_nano_usd"
REST_EXPECTED: Final = "rest_expected_nano_usd"
REST_SECONDS: Final = "rest_seconds"
PARALLEL_SECONDS: Final = "parallel_seconds"
"""Parameters of an approval step, computed while its plan is priced: what the steps after it may
cost together, how long they may take, and when steps that do not wait for it may end.
"""

LOCK_EXECUTION = """
SELECT plan FROM executions WHERE execution_id = $1 AND generation = $2 AND status = 'running' FOR NO KEY UPDATE
"""


async def lock_execution(
    conn: Connection, execution_id: ExecutionId, generation: int
) -> Plan | None:
    """Return the plan of a running execution, locked until COMMIT; None: it is not running."""
    row = await conn.fetchrow(LOCK_EXECUTION, execution_id, generation)
    return plan_from_json(row["plan"]) if row is not None else None


# The files of an approval are those of the job that was chosen. An option is left out if one of its
# files is not stored.
LIST_OPTIONS = """
SELECT s.name AS step, f.job_id, j.state = 'completed' AND f.stored AS is_offered, j.failure
FROM unnest($2::text[]) WITH ORDINALITY AS o (name, place)
JOIN steps AS s ON s.execution_id = $1 AND s.name = o.name
CROSS JOIN LATERAL (
    SELECT job_id, state, failure, reused_from FROM jobs
    WHERE execution_id = $1 AND step_name = s.name AND NOT orphan
    ORDER BY generation DESC, job_id DESC LIMIT 1
) AS j
LEFT JOIN LATERAL (
    SELECT made.job_id, (SELECT count(*) FROM assets AS a WHERE a.job_id = made.job_id)
               >= greatest(jsonb_array_length(coalesce(made.report -> 'outputs', '[]')), 1) AS stored
    FROM jobs AS made WHERE made.job_id = CASE WHEN s.kind = 'approval' THEN j.reused_from ELSE j.job_id END
) AS f ON true
ORDER BY o.place
"""
# Shown as running, with the time from which its progress is computed.
START_JOB = """
UPDATE jobs SET submitted_at = coalesce(submitted_at, now()), updated_at = now()
WHERE job_id = $1 AND state = 'waiting'
"""
OPEN = """
INSERT INTO approvals (job_id, user_id, execution_id, options, rest, expires_at)
VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6))
ON CONFLICT DO NOTHING
"""
GET_SECONDS_LEFT = "SELECT extract(epoch FROM expires_at - now())::float8 FROM approvals WHERE job_id = $1 FOR UPDATE"
FAIL_JOB = """
UPDATE jobs SET state = 'failed', failure = $2, ended_at = now(), updated_at = now()
WHERE job_id = $1 AND state = 'waiting'
"""
NOTE_DECISION = "UPDATE approvals SET noted_at = coalesce(noted_at, now()) WHERE job_id = $1 AND decided_at IS NOT NULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A step to choose from. job_id: the job that has its files."""

    step: str
    job_id: JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The options whose files are stored, and why the first of the others failed."""

    options: Sequence[Option]
    failure: Failure | None


async def list_candidates(conn: Connection, job: JobRecord) -> Candidates:
    """Return what an approval step offers, once all of its options have ended."""
    names = [
        source.step for source in job.parameters.sources.values() if isinstance(source, StepOutput)
    ]
    rows = await conn.fetch(LIST_OPTIONS, job.execution_id, names)
    failures = [row["failure"] for row in rows if row["failure"] is not None]
    return Candidates(
        options=[
            Option(step=row["step"], job_id=JobId(row["job_id"]))
            for row in rows
            if row["is_offered"]
        ],
        failure=failure_from_json(failures[0]) if failures else None,
    )


async def open_approval(
    conn: Connection, job: JobRecord, plan: Plan, options: Sequence[Option]
) -> None:
    """Begin to wait for a decision. Repeating is safe: the first time to decide stays."""
    values = job.parameters.values
    rest: Mapping[str, object] = {
        "steps": [step.name for step in plan.steps_after(job.step_name) if not step.is_free],
        "low": values[REST_LOW],
        "expected": values[REST_EXPECTED],
    }
    plain: list[dict[str, str]] = [
        {"step": option.step, "job_id": option.job_id} for option in options
    ]
    arguments: tuple[Any, ...] = (plain, rest, float(job.deadline_seconds))
    await conn.execute(START_JOB, job.job_id)
    await conn.execute(OPEN, job.job_id, job.user_id, job.execution_id, *arguments)


async def find_seconds_left(conn: Connection, job_id: JobId) -> float | None:
    """Return how long a decision may take, its row locked; None: the approval is not open yet."""
    return await conn.fetchval(GET_SECONDS_LEFT, job_id)


async def fail_approval(conn: Connection, job_id: JobId, failure: Failure) -> None:
    """End the job of an approval without a decision. Repeating is safe."""
    await conn.execute(FAIL_JOB, job_id, failure_to_json(failure))


async def note_decision(conn: Connection, job_id: JobId) -> None:
    """Note that the workflow continues with the decision. Repeating is safe."""
    await conn.execute(NOTE_DECISION, job_id)


# The plan's deadline counts the whole time to decide. What is not used of it does not lengthen the
# steps that follow; `waited` keeps the length of the run for a retry.
SHORTEN_DEADLINE = """
UPDATE executions AS e SET deadline_at = shorter.ends_at, waited = waited - (deadline_at - shorter.ends_at)
FROM (
    SELECT execution_id, greatest(now() + make_interval(secs => $2),
                                  started_at + greatest(waited, '0') + make_interval(secs => $3)) AS ends_at
    FROM executions WHERE execution_id = $1
) AS shorter
WHERE e.execution_id = shorter.execution_id AND shorter.ends_at < e.deadline_at AND e.waiting_since IS NULL
"""


async def shorten_deadline(conn: Connection, job: JobRecord) -> None:
    """Let the execution end as long after the decision as its remaining steps may take."""
    values = job.parameters.values
    seconds = (float(values[REST_SECONDS]), float(values[PARALLEL_SECONDS]))
    await conn.execute(SHORTEN_DEADLINE, job.execution_id, *seconds)


PAUSE = "UPDATE executions SET paused_at = now() WHERE execution_id = $1 AND paused_at IS NULL RETURNING user_id"
RESUME = """
UPDATE executions SET paused = paused + (now() - paused_at), paused_at = NULL
WHERE execution_id = $1 AND paused_at IS NOT NULL RETURNING user_id
"""
COUNT_PAUSED = """
UPDATE concurrency_counters
SET running_executions = running_executions - $2, paused_executions = paused_executions + $2
WHERE user_id = $1
"""


async def pause_execution(conn: Connection, execution_id: ExecutionId) -> None:
    """Give up the slot of an execution that only waits for a decision. Repeating is safe."""
    await _count(conn, await conn.fetchval(PAUSE, execution_id), paused=1)


async def resume_execution(conn: Connection, execution_id: ExecutionId) -> None:
    """Take the slot again. Repeating is safe.

    The limit is not checked: what is paid for continues at once, and other executions wait.
    """
    await _count(conn, await conn.fetchval(RESUME, execution_id), paused=-1)


async def _count(conn: Connection, user_id: UserId | None, *, paused: int) -> None:
    if user_id is not None:
        await conn.execute(COUNT_PAUSED, user_id, paused)
