"""Budget admission: the limits that an execution is checked against when it is queued.

One statement checks and takes an open execution, the month's budget, the spend limit of the API key
that orders and the service's daily cap.
The counters that it locks also show how long the execution would wait for a slot of its user.
These are hot rows, so they are locked in this order, last before COMMIT.
"""

from core.domain.ids import KeyId, UserId
from core.domain.money import NanoUsd
from core.domain.queue_waits import slot_wait_seconds
from core.store.database import Connection
from core.store.executions.limits.concurrency_counters import (
    ConcurrencyLimits,
    OpenLimitReachedError,
    QueueFullError,
)
from core.store.money.budget_alerts import crosses, note_thresholds
from core.store.money.charges import BudgetExceededError
from core.store.money.daily_spending_cap import ServiceBudgetExceededError
from core.store.money.key_spending import KeySpendLimitReachedError, Period

# Each part needs the row of the part before it, which fixes the lock order. Each is an upsert, so
# its condition is tested on the locked row. The first hold of a month or a day creates its row.
ADMIT = """
WITH account AS (
    SELECT u.user_id, u.monthly_nano_usd_limit, u.monthly_videos_limit,
           coalesce(u.open_limit, $2::bigint, 9223372036854775807) AS open_limit,
           coalesce(u.running_limit, $3::bigint, 9223372036854775807) AS running_limit,
           coalesce(CASE WHEN $6::boolean THEN u.monthly_nano_usd_limit END, 9223372036854775807) AS month_limit,
           coalesce(CASE WHEN $6::boolean THEN u.monthly_videos_limit END, 9223372036854775807) AS videos_limit,
           coalesce(CASE WHEN $6::boolean THEN s.daily_nano_usd END, 9223372036854775807) AS day_limit,
           -- Nothing is counted for a key without money.
           CASE WHEN $4::bigint > 0 THEN $7::text END AS key_id,
           coalesce(k.daily_nano_usd_limit, 9223372036854775807) AS key_day_limit,
           coalesce(k.monthly_nano_usd_limit, 9223372036854775807) AS key_month_limit
    FROM users AS u CROSS JOIN service_limits AS s LEFT JOIN api_keys AS k ON k.key_id = $7::text
    WHERE u.user_id = $1
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
), of_key AS (
    INSERT INTO key_spending AS s (key_id, user_id, period, starts_on, held_nano_usd)
    SELECT a.key_id, a.user_id, p.period, p.starts_on, $4::bigint
    FROM month JOIN account AS a USING (user_id)
    CROSS JOIN LATERAL (VALUES
        ('month', date_trunc('month', now() AT TIME ZONE 'UTC')::date, a.key_month_limit),
        ('day', (now() AT TIME ZONE 'UTC')::date, a.key_day_limit)
    ) AS p (period, starts_on, most)
    WHERE a.key_id IS NOT NULL AND $4::bigint <= p.most
    ON CONFLICT (key_id, period, starts_on) DO UPDATE SET held_nano_usd = s.held_nano_usd + excluded.held_nano_usd
    WHERE s.held_nano_usd + s.settled_nano_usd + excluded.held_nano_usd
          <= (SELECT CASE s.period WHEN 'day' THEN key_day_limit ELSE key_month_limit END FROM account)
    RETURNING s.period
), today AS (
    INSERT INTO daily_spending AS d (day, held_nano_usd)
    SELECT (now() AT TIME ZONE 'UTC')::date, $4::bigint
    FROM month JOIN account AS a USING (user_id)
    WHERE $4::bigint <= day_limit AND (a.key_id IS NULL OR (SELECT count(*) FROM of_key) = 2)
    ON CONFLICT (day) DO UPDATE SET held_nano_usd = d.held_nano_usd + excluded.held_nano_usd
    WHERE d.held_nano_usd + d.settled_nano_usd + excluded.held_nano_usd <= (SELECT day_limit FROM account)
    RETURNING d.day
)
SELECT account.open_limit, account.monthly_nano_usd_limit, account.monthly_videos_limit, load.open_executions,
       load.paused_executions, account.running_limit, load.recent_run_seconds, month.nano_usd AS used_nano_usd,
       month.videos AS used_videos, today.day,
       CASE WHEN account.key_id IS NOT NULL
            THEN ARRAY(SELECT unnest(ARRAY['day', 'month']) EXCEPT SELECT period FROM of_key ORDER BY 1) END
           AS exceeded_periods
FROM account LEFT JOIN load ON true LEFT JOIN month ON true LEFT JOIN today ON true
"""
GET_OPEN = "SELECT open_executions FROM concurrency_counters WHERE user_id = $1"


async def admit_execution(
    conn: Connection,
    user_id: UserId,
    limits: ConcurrencyLimits,
    held_nano_usd: NanoUsd,
    *,
    key_id: KeyId | None = None,
    usual_seconds: int = 0,
    videos: int = 1,
    check_budgets: bool = True,
) -> bool:
    """Admit an execution: take an open execution and hold its money, or refuse it.

    Call it once in the transaction that queues the execution, after its rows, last before COMMIT.
    held_nano_usd: the sum of its new charges. key_id: the key that orders; None: a token.
    check_budgets: False if nothing is bought, so that no budget can refuse it. usual_seconds: how
    long the execution usually runs.
    Return True if the execution may start now, False if it waits for another one to end.
    Raises OpenLimitReachedError, QueueFullError, BudgetExceededError, KeySpendLimitReachedError,
    ServiceBudgetExceededError: roll back.
    """
    default = (limits.open_executions, limits.running_executions)
    amounts = (held_nano_usd, videos, check_budgets)
    row = await conn.fetchrow(ADMIT, user_id, *default, *amounts, key_id)
    if row is None:
        raise LookupError(f"no user {user_id}")
    if row["open_executions"] is None:
        open_executions: int | None = await conn.fetchval(GET_OPEN, user_id)
        raise OpenLimitReachedError(limit=row["open_limit"], open_executions=open_executions or 0)
    if row["used_nano_usd"] is None:
        raise BudgetExceededError
    if key_id is not None and row["exceeded_periods"]:
        raise KeySpendLimitReachedError(key_id, Period(row["exceeded_periods"][0]))
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
