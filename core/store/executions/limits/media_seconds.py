"""The limit of a user's media steps: their processor time in a calendar month (UTC)."""

from typing import Final

from core.domain.ids import ExecutionId, UserId
from core.store.database import Connection
from core.store.executions.limits.concurrency_counters import ConcurrencyLimits, lock_counters

# One snapshot: a media job that ends moves from the open ones to the used time in one transaction.
# An open job counts with its usual time; the time that it took replaces it at its end.
GET_MEDIA_SECONDS: Final = """
SELECT coalesce(u.media_seconds_limit, $3::bigint) AS limit_seconds,
       (SELECT coalesce(ceil(sum(processor_ms) / 1000), 0)::bigint FROM usage_media
        WHERE user_id = $1 AND day >= date_trunc('month', now() AT TIME ZONE 'UTC')::date) AS used_seconds,
       opened.needed_seconds, opened.other_seconds
FROM users AS u, (
    SELECT coalesce(sum(s.usual_seconds) FILTER (WHERE j.execution_id = $2), 0) AS needed_seconds,
           coalesce(sum(s.usual_seconds) FILTER (WHERE j.execution_id <> $2), 0) AS other_seconds
    FROM jobs AS j
    JOIN executions AS e ON e.execution_id = j.execution_id AND e.status IN ('queued', 'running')
    JOIN steps AS s ON s.execution_id = j.execution_id AND s.name = j.step_name
    WHERE j.user_id = $1 AND j.provider = 'media' AND s.kind <> 'approval' AND j.state = 'waiting' AND NOT j.orphan
) AS opened
WHERE u.user_id = $1
"""


class MediaSecondsExceededError(Exception):
    """The execution's media steps do not fit into the user's month. Roll back.

    needed: what its media steps usually take. left: what other open steps leave of the limit.
    """

    def __init__(self, *, needed: int, left: int, limit: int) -> None:
        super().__init__(needed, left, limit)
        self.needed = needed
        self.left = left
        self.limit = limit


async def check_media_seconds(
    conn: Connection, user_id: UserId, execution_id: ExecutionId, limits: ConcurrencyLimits
) -> None:
    """Check that the media steps of an execution fit into the user's month.

    Call it after its rows are written and before its money is held. It locks the user's counters,
    so that of concurrent orders the later one counts the earlier one. Raises
    MediaSecondsExceededError.
    """
    await lock_counters(conn, user_id)
    row = await conn.fetchrow(GET_MEDIA_SECONDS, user_id, execution_id, limits.media_seconds)
    if row is None:
        raise LookupError(f"no user {user_id}")
    limit, needed = row["limit_seconds"], row["needed_seconds"]
    if limit is None or not needed:
        return
    left = limit - row["used_seconds"] - row["other_seconds"]
    if needed > left:
        raise MediaSecondsExceededError(needed=needed, left=max(0, left), limit=limit)
