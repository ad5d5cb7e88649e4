"""Content keys: which job of a user makes, or has made, the files of a step.

A media job makes them itself; a paid job buys them. The key is claimed by an insert, so that one
job makes or buys at a time, and others look again until that job has ended.
"""

from dataclasses import dataclass

from core.domain.ids import JobId, UserId
from core.domain.states import ExecutionStatus, JobState
from core.store.database import Connection
from core.store.files.assets import POSTER_NUMBER

CLAIM = """
INSERT INTO content_keys (user_id, content_key, job_id) VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING RETURNING job_id
"""
_COMPLETE = f"""
j.state = 'completed' AND (SELECT count(*) FROM assets AS a
                           WHERE a.job_id = j.job_id AND a.output_number < {POSTER_NUMBER})
    >= greatest(jsonb_array_length(coalesce(j.report -> 'outputs', '[]')), 1)
"""  # noqa: S608 - a constant
"""All files of a job `j` are stored, and none of them has been deleted since."""
LOCK_CLAIM = f"""
SELECT k.job_id, j.state, {_COMPLETE} AS complete
FROM content_keys AS k JOIN jobs AS j ON j.job_id = k.job_id
WHERE k.user_id = $1 AND k.content_key = $2 FOR UPDATE OF k
"""  # noqa: S608 - a constant
TAKE_OVER = """
UPDATE content_keys SET job_id = $3, claimed_at = now() WHERE user_id = $1 AND content_key = $2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Who makes the files. made_by: the job that has them. is_busy: another job makes them.

    Neither: the job that claimed makes them.
    """

    made_by: JobId | None = None
    is_busy: bool = False


async def claim_content(
    conn: Connection, user_id: UserId, content_key: str, job_id: JobId
) -> Claim:
    """Claim a content key for a media job, unless another job has its files or is making them.

    Repeating is safe. A job that failed or was cancelled, or whose files were deleted, gives the
    key up.
    """
    if await conn.fetchval(CLAIM, user_id, content_key, job_id) is not None:
        return Claim()
    row = await conn.fetchrow(LOCK_CLAIM, user_id, content_key)
    if row is None or row["job_id"] == job_id:
        return Claim()
    if row["complete"]:
        return Claim(made_by=JobId(row["job_id"]))
    if not JobState(row["state"]).ended:
        return Claim(is_busy=True)
    await conn.execute(TAKE_OVER, user_id, content_key, job_id)
    return Claim()


# Any copy will do: the execution that bought the files may have been deleted since.
FIND_BOUGHT = f"""
SELECT j.job_id FROM jobs AS j
WHERE j.user_id = $1 AND j.content_key = $2 AND NOT j.orphan AND {_COMPLETE}
ORDER BY j.job_id DESC LIMIT 1
"""  # noqa: S608 - a constant
LOCK_PURCHASE = f"""
SELECT k.job_id, j.state, e.status, j.content_key = k.content_key AND NOT j.orphan AND {_COMPLETE} AS complete
FROM content_keys AS k
JOIN jobs AS j ON j.job_id = k.job_id JOIN executions AS e ON e.execution_id = j.execution_id
WHERE k.user_id = $1 AND k.content_key = $2 FOR UPDATE OF k
"""  # noqa: S608 - a constant
SET_KEY = "UPDATE jobs SET content_key = $2 WHERE job_id = $1 AND content_key IS DISTINCT FROM $2"
FORGET_KEY = "UPDATE jobs SET content_key = NULL WHERE job_id = $1"


async def find_bought(conn: Connection, user_id: UserId, content_key: str) -> JobId | None:
    """Return the newest job of the user with the files of a content key."""
    return await conn.fetchval(FIND_BOUGHT, user_id, content_key)


async def claim_purchase(
    conn: Connection, user_id: UserId, content_key: str, job_id: JobId
) -> Claim:
    """Claim a content key for a paid job, unless another job has its files or is buying them.

    Repeating is safe. A job gives the key up as with `claim_content`, but not while the files that
    it bought are still being stored.
    """
    made_by = await find_bought(conn, user_id, content_key)
    if made_by is not None:
        return Claim(made_by=made_by)
    if await conn.fetchval(CLAIM, user_id, content_key, job_id) is None:
        row = await conn.fetchrow(LOCK_PURCHASE, user_id, content_key)
        if row is None:  # it has just changed: look again
            return Claim(is_busy=True)
        if row["complete"]:
            return Claim(made_by=JobId(row["job_id"]))
        if row["job_id"] != job_id:
            if _may_bring_files(JobState(row["state"]), ExecutionStatus(row["status"])):
                return Claim(is_busy=True)
            await conn.execute(TAKE_OVER, user_id, content_key, job_id)
    await conn.execute(SET_KEY, job_id, content_key)
    return Claim()


def _may_bring_files(state: JobState, status: ExecutionStatus) -> bool:
    """Return whether a job without stored files may still have them."""
    if state is JobState.COMPLETED:
        return not status.ended
    return not state.ended


async def forget_purchase(conn: Connection, job_id: JobId) -> None:
    """Reuse the files of a job no more, because they cannot be read."""
    await conn.execute(FORGET_KEY, job_id)
