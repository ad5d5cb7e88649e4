"""Budget admission: the limits that an execution is checked against when it is queued.

One statement checks and takes an open execution, the month's budget and the service's daily cap.
The counters that it locks also show how long the execution would wait for a slot of its user.
These are hot rows, so they are locked in this order, last before COMMIT.
"""

from core.domain.ids import UserId
from core.domain.money import NanoUsd
from core.domain.queue_waits import slot_wait_seconds
from core.store.database import Connection
from core.store.executions.concurrency_counters import (
    ConcurrencyLimits,
    OpenLimitReachedError,
    QueueFullError,
)
from core.store.money.budget_alerts import crosses, note_thresholds
from core.store.money.charges import BudgetExceededError
from core.store.money.daily_spending_cap import ServiceBudgetExceededError

# Each part needs the row of the part before it, which fixes the lock order. Each is an upsert, so
# its condition is tested on the locked row. The first hold of a month or a day creates its row.
ADMIT = """
WITH account AS (
    SELECT u.user_id, u.monthly_nano_usd_limit, u.monthly_videos_limit,
           coalesce(u.open_limit, $2::bigint, 9223372036854775807) AS open_limit,
           coalesce(u.running_limit, $3::bigint, 9223372036854775807) AS running_limit,
           coalesce(CASE WHEN $6::boolean THEN u.monthly_nano_usd_limit END, 9223372036854775807) AS month_limit,
           coalesce(CASE WHEN $6::boolean THEN u.monthly_videos_limit END, 9223372036854775807) AS videos_limit,
           coalesce(CASE WHEN $6::boolean THEN s.daily_nano_usd END, 9223372036854775807) AS day_limit
    FROM users AS u, service_limits AS s WHERE u.user_id = $1
), load AS (
    INSERT INTO concurrency_counters AS l (user_id, open_executions)
    SELECT user_id, 1 FROM account WHERE open_limit >= 1
    ON CONFLICT (user_id) DO UPDATE SET open_executions = l.open_executions + 1
    WHERE l.open_executions < (SELECT open_limit FROM account)
    RETURNING l.user_id, l.open_executions, l.paused_executions, l.recent_run_seconds
), month AS (
    INSERT INTO budgets AS b (user_id, budget_month, held_nano_usd, held_videos)
    SELECT user_id, date_trunc('month', now() AT TIME ZONE 'UTC')::date, $4::bigint, $5::bigint
    FROM load JOIN account USING (user_id) WHERE $4::bigint <= month_limit AND $5::bigint <= videos_limit
    ON CONFLICT (user_id, budget_month) DO UPDATE
    SET held_nano_usd = b.held_nano_usd + excluded.held_nano_usd, held_videos = b.held_videos + excluded.held_videos
    WHERE b.held_nano_usd + b.settled_nano_usd + excluded.held_nano_usd <= (SELECT month_limit FROM account)
      AND b.held_videos + b.settled_videos + excluded.held_videos <= (SELECT videos_limit FROM account)
    RETURNING b.user_id, b.held_nano_usd + b.settled_nano_usd AS nano_usd, b.held_videos + b.settled_videos AS videos
), today AS (
    INSERT INTO daily_spending AS d (day, held_nano_usd)
    SELECT (now() AT TIME ZONE 'UTC')::date, $4::bigint
    FROM month JOIN account USING (user_id) WHERE $4::bigint <= day_limit
    ON CONFLICT (day) DO UPDATE SET held_nano_usd = d.held_nano_usd + excluded.held_nano_usd
    WHERE d.held_nano_usd + d.settled_nano_usd + excluded.held_nano_usd <= (SELECT day_limit FROM account)
    RETURNING d.day
)
SELECT account.open_limit, account.monthly_nano_usd_limit, account.monthly_videos_limit, load.open_executions,
       load.paused_executions, account.running_limit, load.recent_run_seconds, month.nano_usd AS used_nano_usd,
       month.videos AS used_videos, today.day
FROM account LEFT JOIN load ON true LEFT JOIN month ON true LEFT JOIN today ON true
"""
GET_OPEN = "SELECT open_executions FROM concurrency_counters WHERE user_id = $1"


async def admit_execution(
    conn: Connection,
    user_id: UserId,
    limits: ConcurrencyLimits,
    held_nano_usd: NanoUsd,
    *,
    usual_seconds: int = 0,
    videos: int = 1,
    check_budgets: bool = True,
) -> bool:
    """Admit an execution: take an open execution and hold its money, or refuse it.

    Call it once in the transaction that queues the execution, after its rows, last before COMMIT.
    held_nano_usd: the sum of its new charges. check_budgets: False if nothing is bought, so that no
    budget can refuse it. usual_seconds: how long the execution usually runs.
    Return True if the execution may start now, False if it waits for another one to end.
    Raises OpenLimitReachedError, QueueFullError, BudgetExceededError, ServiceBudgetExceededError:
    roll back.
    """
    default = (limits.open_executions, limits.running_executions)
    row = await conn.fetchrow(ADMIT, user_id, *default, held_nano_usd, videos, check_budgets)
    if row is None:
        raise LookupError(f"no user {user_id}")
    if row["open_executions"] is None:
        open_executions: int | None = await conn.fetchval(GET_OPEN, user_id)
        raise OpenLimitReachedError(limit=row["open_limit"], open_executions=open_executions or 0)
    if row["used_nano_usd"] is None:
        raise BudgetExceededError
    if row["day"] is None:
        raise ServiceBudgetExceededError
    if crosses(row["monthly_nano_usd_limit"], row["used_nano_usd"], held_nano_usd) or crosses(
        row["monthly_videos_limit"], row["used_videos"], videos
    ):
        await note_thresholds(conn, user_id)
    waiting: int = row["open_executions"] - row["paused_executions"] - row["running_limit"]
    wait_seconds = slot_wait_seconds(
        waiting=waiting,
        running_limit=row["running_limit"],
        recent_run_seconds=row["recent_run_seconds"],
        usual_seconds=usual_seconds,
    )
    if wait_seconds > limits.longest_wait_seconds:
        raise QueueFullError(
            waiting=waiting, running_limit=row["running_limit"], wait_seconds=wait_seconds
        )
    return waiting <= 0
