"""Counters of a user's open and running executions.

They change in the transaction that changes a status. An execution is open from its acceptance to
its end (queued or running), and running from its claim (`claim_execution`), except while it only
waits for a decision of its user (`paused_at`). Lock order: a user's counters after the rows of
executions, jobs and charges, and before the budgets.
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

    media_seconds: processor time of media steps in a month. queue_seconds: how long an execution
    may wait for a slot, the same for all users.
    """

    open_executions: int | None = None
    running_executions: int | None = None
    media_seconds: int | None = None
    queue_seconds: float = QUEUE_LIMIT_SECONDS

    @classmethod
    def of(cls, settings: LimitSettings) -> "ConcurrencyLimits":
        return cls(
            open_executions=settings.open_executions_per_user,
            running_executions=settings.running_executions_per_user,
            media_seconds=settings.media_seconds_per_user,
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


# The average follows the last twenty executions or so.
RELEASE_SLOTS = """
UPDATE concurrency_counters
SET open_executions = open_executions - 1, running_executions = running_executions - $2::bigint,
    paused_executions = paused_executions - $4::bigint,
    recent_run_seconds = coalesce(recent_run_seconds + ($3::float8 - recent_run_seconds) / 10, $3::float8,
                                  recent_run_seconds)
WHERE user_id = $1 AND open_executions >= 1 AND running_executions >= $2::bigint AND paused_executions >= $4::bigint
RETURNING user_id
"""


async def release_slots(
    conn: Connection, user_id: UserId, *, run_seconds: float | None, is_paused: bool = False
) -> None:
    """Count one open execution less, in the transaction that ends it.

    run_seconds: how long it was running; None: it was queued, or is_paused: it had no slot.
    """
    running, paused = 0 if run_seconds is None else 1, 1 if is_paused else 0
    if await conn.fetchval(RELEASE_SLOTS, user_id, running, run_seconds, paused) is None:
        # A wrong counter must not prevent an execution from ending; the rows are the truth.
        log.error("execution.counters_corrected", user_id=user_id)
        await recount(conn, user_id)


ENSURE_COUNTERS = "INSERT INTO concurrency_counters (user_id) VALUES ($1) ON CONFLICT DO NOTHING"
LOCK_COUNTERS = "SELECT user_id FROM concurrency_counters WHERE user_id = $1 FOR UPDATE"
RECOUNT = """
UPDATE concurrency_counters
SET open_executions = counted.open_executions, running_executions = counted.running_executions,
    paused_executions = counted.paused_executions
FROM (
    SELECT count(*) AS open_executions,
           count(*) FILTER (WHERE status = 'running' AND paused_at IS NULL) AS running_executions,
           count(*) FILTER (WHERE status = 'running' AND paused_at IS NOT NULL) AS paused_executions
    FROM executions WHERE user_id = $1 AND status IN ('queued', 'running')
) AS counted
WHERE user_id = $1
"""


async def lock_counters(conn: Connection, user_id: UserId) -> None:
    """Lock a user's counters until COMMIT: the user's other orders and ends wait."""
    await conn.execute(ENSURE_COUNTERS, user_id)
    await conn.fetchval(LOCK_COUNTERS, user_id)


async def recount(conn: Connection, user_id: UserId) -> None:
    """Set the counters from the rows, including the changes of this transaction.

    Exact under concurrency: a transaction that changes a status also changes the counters, so its
    row is either counted here or its change waits for this lock.
    """
    await lock_counters(conn, user_id)
    await conn.execute(RECOUNT, user_id)
