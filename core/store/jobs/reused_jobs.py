"""Paid jobs that end without a send, with copies of the files of an earlier purchase."""

from collections.abc import Sequence

from core.domain.ids import JobId
from core.domain.messages.jobs import JobRef, JobReport, Output
from core.domain.states import JobState
from core.store.database import Connection
from core.store.executions.limits.deadlines import continue_deadline
from core.store.files.assets import Asset
from core.store.jobs.media_jobs import record_reserved
from core.store.jobs.reports import report_to_json
from core.store.money.charges import release_hold

# As an intent locks them: a concurrent cancel is either visible here or waits for the end.
LOCK_WAITING = """
WITH locked AS (
    SELECT e.waiting_since IS NOT NULL AS stopped FROM executions AS e JOIN jobs AS j ON j.execution_id = e.execution_id
    WHERE e.execution_id = $1 AND e.generation = $2 AND e.status = 'running' AND e.cancel_requested_at IS NULL
      AND j.job_id = $3 AND j.state = 'waiting'
    FOR NO KEY UPDATE OF e, j
)
SELECT stopped FROM locked
"""
COMPLETE_REUSED = """
UPDATE jobs AS j
SET state = 'completed', report = $2, reused_from = source.job_id, content_key = source.content_key,
    saved_nano_usd = coalesce(source.saved_nano_usd, 0) + coalesce(c.settled_nano_usd, 0), failure = NULL,
    deadline_at = NULL, ended_at = now(), updated_at = now()
FROM jobs AS source LEFT JOIN charges AS c ON c.job_id = source.job_id
WHERE j.job_id = $1 AND j.state = 'waiting' AND source.job_id = $3 AND source.user_id = j.user_id
RETURNING j.saved_nano_usd
"""


async def complete_reused_job(
    conn: Connection, ref: JobRef, source: JobId, copies: Sequence[Asset]
) -> int | None:
    """Record the copies and the end of a waiting job, and release its hold: nothing is bought.

    source: the job that the files are of. Return what they cost it, in nano-USD. None: the job has
    ended, was sent, or its execution was cancelled; then nothing is written. Raises
    FilesExpiredError.
    """
    stopped = await conn.fetchval(LOCK_WAITING, ref.execution_id, ref.generation, ref.job_id)
    if stopped is None:
        return None
    if stopped:
        await continue_deadline(conn, ref.execution_id, ref.generation)
    report = JobReport(
        state=JobState.COMPLETED,
        # Without an address, other steps use the stored files.
        outputs=tuple(Output(url="", kind=copy.kind) for copy in copies),
    )
    saved: int | None = await conn.fetchval(
        COMPLETE_REUSED, ref.job_id, report_to_json(report), source
    )
    if saved is None:
        return None
    await record_reserved(conn, copies)
    await release_hold(conn, ref.job_id)
    return saved
