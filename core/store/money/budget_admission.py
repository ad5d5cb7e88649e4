"""What an execution takes when it is queued: a place among its user's open ones, and money of the
month and of the day.

Three rows that many want at once, the user's two and everybody's one: taken in this order in one
statement, last before COMMIT, so that nobody waits for more than that and the commit.
"""

from core.domain.ids import UserId
from core.domain.money import NanoUsd
from core.store.database import Connection
from core.store.executions.concurrency_counters import LoadLimits, OpenLimitReachedError
from core.store.money.budget_alerts import crosses, note_thresholds
from core.store.money.charges import BudgetExceededError
from core.store.money.daily_spending_cap import ServiceBudgetExceededError

# Each part needs the row of the part before it, so they are locked in this order; and each is an
# upsert, whose condition is tested on the row as it is once it is locked. The first hold of a month
# or a day makes its row.
HOLD_ROOM = """
WITH who AS (
    SELECT u.user_id, u.monthly_nano_usd_limit, u.monthly_videos_limit,
           coalesce(u.open_limit, $2::bigint, 9223372036854775807) AS open_limit,
           coalesce(u.running_limit, $3::bigint, 9223372036854775807) AS running_limit,
           coalesce(CASE WHEN $6::boolean THEN u.monthly_nano_usd_limit END, 9223372036854775807) AS month_limit,
           coalesce(CASE WHEN $6::boolean THEN u.monthly_videos_limit END, 9223372036854775807) AS videos_limit,
           coalesce(CASE WHEN $6::boolean THEN s.daily_nano_usd END, 9223372036854775807) AS day_limit
    FROM users AS u, service_limits AS s WHERE u.user_id = $1
), load AS (
    INSERT INTO concurrency_counters AS l (user_id, open_executions)
    SELECT user_id, 1 FROM who WHERE open_limit >= 1
    ON CONFLICT (user_id) DO UPDATE SET open_executions = l.open_executions + 1
    WHERE l.open_executions < (SELECT open_limit FROM who)
    RETURNING l.user_id, l.open_executions
), month AS (
    INSERT INTO budgets AS b (user_id, budget_month, held_nano_usd, held_videos)
    SELECT user_id, date_trunc('month', now() AT TIME ZONE 'UTC')::date, $4::bigint, $5::bigint
    FROM load JOIN who USING (user_id) WHERE $4::bigint <= month_limit AND $5::bigint <= videos_limit
    ON CONFLICT (user_id, budget_month) DO UPDATE
    SET held_nano_usd = b.held_nano_usd + excluded.held_nano_usd, held_videos = b.held_videos + excluded.held_videos
    WHERE b.held_nano_usd + b.settled_nano_usd + excluded.held_nano_usd <= (SELECT month_limit FROM who)
      AND b.held_videos + b.settled_videos + excluded.held_videos <= (SELECT videos_limit FROM who)
    RETURNING b.user_id, b.held_nano_usd + b.settled_nano_usd AS nano_usd, b.held_videos + b.settled_videos AS videos
), today AS (
    INSERT INTO daily_spending AS d (day, held_nano_usd)
    SELECT (now() AT TIME ZONE 'UTC')::date, $4::bigint
    FROM month JOIN who USING (user_id) WHERE $4::bigint <= day_limit
    ON CONFLICT (day) DO UPDATE SET held_nano_usd = d.held_nano_usd + excluded.held_nano_usd
    WHERE d.held_nano_usd + d.settled_nano_usd + excluded.held_nano_usd <= (SELECT day_limit FROM who)
    RETURNING d.day
)
SELECT who.open_limit, who.monthly_nano_usd_limit, who.monthly_videos_limit, load.open_executions,
       load.open_executions <= who.running_limit AS has_room, month.nano_usd AS used_nano_usd,
       month.videos AS used_videos, today.day
FROM who LEFT JOIN load ON true LEFT JOIN month ON true LEFT JOIN today ON true
"""
GET_OPEN = "SELECT open_executions FROM concurrency_counters WHERE user_id = $1"


async def hold_room(
    conn: Connection,
    user_id: UserId,
    limits: LoadLimits,
    held_nano_usd: NanoUsd,
    *,
    videos: int = 1,
    budgets_asked: bool = True,
) -> bool:
    """Once, in the transaction that queues an execution, after all of its rows, and last before
    COMMIT.

    held_nano_usd: the sum of its new charges. budgets_asked: False where nothing is bought, so that
    no limit of money or videos may refuse it.
    True: all that are open may run at once, so it can be started. False: others are before it; it
    is started when one of them has ended.
    Raises OpenLimitReachedError, BudgetExceededError, ServiceBudgetExceededError: roll back.
    """
    default = (limits.open_executions, limits.running_executions)
    row = await conn.fetchrow(HOLD_ROOM, user_id, *default, held_nano_usd, videos, budgets_asked)
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
    has_room: bool = row["has_room"]
    return has_room
