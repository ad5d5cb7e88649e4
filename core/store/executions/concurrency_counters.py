"""Counters of a user's open and running executions.

They change in the transaction that changes a status. An execution is open from its acceptance to
its end (queued or running), and running from its claim. Lock order: a user's counters after the
rows of executions, jobs and charges, and before the budgets.
"""

from dataclasses import dataclass

from core.domain.ids import UserId
from core.platform.observability.logging import get_logger
from core.platform.settings.api import QUEUE_LIMIT_SECONDS, LimitSettings
from core.store.database import Connection

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencyLimits:
    """The limits of users without limits of their own. None: no limit.

    queue_seconds: how long an execution may wait for a slot, the same for all users.
    """

    open_executions: int | None = None
    running_executions: int | None = None
    queue_seconds: float = QUEUE_LIMIT_SECONDS

    @classmethod
    def of(cls, settings: LimitSettings) -> "ConcurrencyLimits":
        return cls(
            open_executions=settings.open_executions_per_user,
            running_executions=settings.running_executions_per_user,
            queue_seconds=settings.queue_limit_seconds,
        )

    @property
    def longest_wait_seconds(self) -> float:
        """Return the longest estimated wait of an order that is accepted.

        The rest of the queue limit is a reserve for slots that become slower.
        """
        return self.queue_seconds / 2


class OpenLimitReachedError(Exception):
    """The user has too many open executions. Roll back."""

    def __init__(self, limit: int, open_executions: int) -> None:
        super().__init__(limit, open_executions)
        self.limit = limit
        self.open_executions = open_executions


class QueueFullError(Exception):
    """The execution would wait too long for a slot of its user. Roll back."""

    def __init__(self, *, waiting: int, running_limit: int, wait_seconds: float) -> None:
        super().__init__(waiting, running_limit, wait_seconds)
        self.waiting = waiting
        self.running_limit = running_limit
        self.wait_seconds = wait_seconds


TAKE_RUNNING_SLOT = """
UPDATE concurrency_counters AS c SET running_executions = c.running_executions + 1
FROM users AS u
WHERE c.user_id = $1 AND u.user_id = c.user_id
  AND c.running_executions < coalesce(u.running_limit, $2::bigint, 9223372036854775807)
RETURNING c.user_id
"""


async def take_running_slot(conn: Connection, user_id: UserId, limits: ConcurrencyLimits) -> bool:
    """Count one more running execution, in the transaction that claims it.

    Return False if the limit is reached.
    """
    return await conn.fetchval(TAKE_RUNNING_SLOT, user_id, limits.running_executions) is not None


# The average follows the last twenty executions or so.
RELEASE_SLOTS = """
UPDATE concurrency_counters
SET open_executions = open_executions - 1, running_executions = running_executions - $2::bigint,
    recent_run_seconds = coalesce(recent_run_seconds + ($3::float8 - recent_run_seconds) / 10, $3::float8,
                                  recent_run_seconds)
WHERE user_id = $1 AND open_executions >= 1 AND running_executions >= $2::bigint
RETURNING user_id
"""


async def release_slots(conn: Connection, user_id: UserId, *, run_seconds: float | None) -> None:
    """Count one open execution less, in the transaction that ends it.

    run_seconds: how long it was running; None: it was queued.
    """
    running = 0 if run_seconds is None else 1
    if await conn.fetchval(RELEASE_SLOTS, user_id, running, run_seconds) is None:
        # A wrong counter must not prevent an execution from ending; the rows are the truth.
        log.error("execution.counters_corrected", user_id=user_id)
        await recount(conn, user_id)


ENSURE_COUNTERS = "INSERT INTO concurrency_counters (user_id) VALUES ($1) ON CONFLICT DO NOTHING"
LOCK_COUNTERS = "SELECT user_id FROM concurrency_counters WHERE user_id = $1 FOR UPDATE"
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
    """Set the counters from the rows, including the changes of this transaction.

    Exact under concurrency: a transaction that changes a status also changes the counters, so its
    row is either counted here or its change waits for this lock.
    """
    await conn.execute(ENSURE_COUNTERS, user_id)
    await conn.fetchval(LOCK_COUNTERS, user_id)
    await conn.execute(RECOUNT, user_id)
