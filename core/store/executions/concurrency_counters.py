"""How many executions of a user are open and running: counters of their own, moved in the
transactions that move rows.

An execution is open from its acceptance to its end (queued and running), and runs from its claim
on. The row of a user is taken after the rows of executions, jobs and charges, and before the
budgets.
"""

from dataclasses import dataclass

from core.domain.ids import UserId
from core.platform.observability.logging import get_logger
from core.platform.settings.processes import LimitSettings
from core.store.database import Connection

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadLimits:
    """For every user without limits of its own. None: no limit."""

    open_executions: int | None = None
    running_executions: int | None = None

    @classmethod
    def of(cls, settings: LimitSettings) -> "LoadLimits":
        return cls(
            open_executions=settings.open_executions_per_user,
            running_executions=settings.running_executions_per_user,
        )


class OpenLimitReachedError(Exception):
    """As many executions of the user are open as may be. Nothing was written that outlives the
    transaction.
    """

    def __init__(self, limit: int, open_executions: int) -> None:
        super().__init__(limit, open_executions)
        self.limit = limit
        self.open_executions = open_executions


TAKE_RUNNING = """
UPDATE concurrency_counters AS l SET running_executions = l.running_executions + 1
FROM users AS u
WHERE l.user_id = $1 AND u.user_id = l.user_id
  AND l.running_executions < coalesce(u.running_limit, $2::bigint, 9223372036854775807)
RETURNING l.user_id
"""


async def take_running(conn: Connection, user_id: UserId, limits: LoadLimits) -> bool:
    """Count one more running execution. Once, in the transaction that claims it. False: as many run
    as may.
    """
    return await conn.fetchval(TAKE_RUNNING, user_id, limits.running_executions) is not None


GIVE_BACK = """
UPDATE concurrency_counters
SET open_executions = open_executions - 1, running_executions = running_executions - $2::bigint
WHERE user_id = $1 AND open_executions >= 1 AND running_executions >= $2::bigint
RETURNING user_id
"""


async def give_back(conn: Connection, user_id: UserId, *, running: bool) -> None:
    """Count one open execution less. Once, in the transaction that ends it. running: it was."""
    if await conn.fetchval(GIVE_BACK, user_id, 1 if running else 0) is None:
        # A counter must not keep an execution from its end: what the rows say is true.
        log.error(
            "the open executions of a user were not counted; counting them again", user_id=user_id
        )
        await recount(conn, user_id)


ENSURE_LOAD = "INSERT INTO concurrency_counters (user_id) VALUES ($1) ON CONFLICT DO NOTHING"
LOCK_LOAD = "SELECT user_id FROM concurrency_counters WHERE user_id = $1 FOR UPDATE"
RECOUNT = """
UPDATE concurrency_counters
SET open_executions = counted.open_executions, running_executions = counted.running_executions
FROM (
    SELECT count(*) AS open_executions, count(*) FILTER (WHERE status = 'running') AS running_executions
    FROM executions WHERE user_id = $1 AND status IN ('queued', 'running')
) AS counted
WHERE user_id = $1
"""


async def recount(conn: Connection, user_id: UserId) -> None:
    """Make the counters what the rows say, with those of this transaction. Exact at any time:
    whoever moves a row moves its counter in the same transaction, so it either is counted here,
    or waits for this one and counts itself.
    """
    await conn.execute(ENSURE_LOAD, user_id)
    await conn.fetchval(LOCK_LOAD, user_id)
    await conn.execute(RECOUNT, user_id)
