"""Repair of derived money data: the day of a charge, and the counters of months, keys, days, users.

The ledger, the charges and their amounts never change here: they are what the rest is derived from.
"""

from dataclasses import dataclass
from typing import Final

from core.domain.ids import UserId
from core.store.database import Connection
from core.store.executions.limits.concurrency_counters import recount
from core.store.money.reports.key_check import SPENT
from core.store.money.reports.ledger_check import TIMEOUT_SECONDS, Finding, list_findings
from core.store.operator import RefusedError

SOURCES: Final = frozenset({"charges", "entries"})
"""Checks of the rows from which everything else is derived."""

# In the lock order of all transactions. EXCLUSIVE waits for transactions that have read a row to
# change it, and leaves plain reads alone.
LOCK = """
SET LOCAL lock_timeout = '8s';
LOCK TABLE executions, charges, concurrency_counters, budgets, key_spending, daily_spending, usage_money, usage_videos
    IN EXCLUSIVE MODE
"""
MOVE_CHARGES = """
UPDATE charges SET budget_day = (created_at AT TIME ZONE 'UTC')::date
WHERE budget_day <> (created_at AT TIME ZONE 'UTC')::date
"""
COUNT_DAYS = """
WITH charged AS (
    SELECT budget_day AS day, sum(held_nano_usd) FILTER (WHERE state = 'held') AS held,
           sum(settled_nano_usd) AS settled
    FROM charges GROUP BY 1
), days AS (
    SELECT day FROM daily_spending UNION SELECT day FROM charged
)
INSERT INTO daily_spending (day, held_nano_usd, settled_nano_usd)
SELECT day, coalesce(c.held, 0), coalesce(c.settled, 0) FROM days LEFT JOIN charged AS c USING (day)
ON CONFLICT (day) DO UPDATE
SET held_nano_usd = excluded.held_nano_usd, settled_nano_usd = excluded.settled_nano_usd
"""
COUNT_MONTHS = """
WITH money AS (
    SELECT user_id, budget_month, sum(held_nano_usd) FILTER (WHERE state = 'held') AS held,
           sum(settled_nano_usd) AS settled
    FROM charges GROUP BY 1, 2
), videos AS (
    SELECT user_id, budget_month, count(*) FILTER (WHERE status IN ('queued', 'running')) AS held,
           count(*) FILTER (WHERE status = 'completed') AS settled
    FROM executions WHERE budget_month IS NOT NULL GROUP BY 1, 2
), months AS (
    SELECT user_id, budget_month FROM budgets
    UNION SELECT user_id, budget_month FROM money
    UNION SELECT user_id, budget_month FROM videos
)
INSERT INTO budgets (user_id, budget_month, held_nano_usd, settled_nano_usd, held_videos, settled_videos)
SELECT user_id, budget_month, coalesce(m.held, 0), coalesce(m.settled, 0), coalesce(v.held, 0), coalesce(v.settled, 0)
FROM months LEFT JOIN money AS m USING (user_id, budget_month) LEFT JOIN videos AS v USING (user_id, budget_month)
ON CONFLICT (user_id, budget_month) DO UPDATE
SET held_nano_usd = excluded.held_nano_usd, settled_nano_usd = excluded.settled_nano_usd,
    held_videos = excluded.held_videos, settled_videos = excluded.settled_videos
"""
CLEAR_KEYS = "DELETE FROM key_spending"
COUNT_KEYS = f"INSERT INTO key_spending (key_id, user_id, period, starts_on, held_nano_usd, settled_nano_usd) {SPENT}"
CLEAR_MONEY_USAGE = "DELETE FROM usage_money"
CLEAR_VIDEO_USAGE = "DELETE FROM usage_videos"
COUNT_MONEY_USAGE = """
INSERT INTO usage_money
SELECT user_id, budget_month, usage_day(created_at, budget_month), provider, model, count(*),
       coalesce(sum(held_nano_usd) FILTER (WHERE state = 'held'), 0), sum(settled_nano_usd)
FROM charges GROUP BY 1, 2, 3, 4, 5
"""
COUNT_VIDEO_USAGE = """
INSERT INTO usage_videos
SELECT user_id, budget_month, usage_day(queued_at, budget_month),
       count(*) FILTER (WHERE status IN ('queued', 'running')), count(*) FILTER (WHERE status = 'completed')
FROM executions WHERE budget_month IS NOT NULL GROUP BY 1, 2, 3
"""
LIST_USERS = """
SELECT user_id FROM concurrency_counters
UNION SELECT user_id FROM executions WHERE status IN ('queued', 'running')
ORDER BY 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """The findings of the ledger check that a repair removes, and those that remain."""

    repaired: list[Finding]
    remaining: list[Finding]


async def repair_counters(conn: Connection, *, dry_run: bool) -> Repair:
    """Derive the days of charges and all counters again. As system; repeating is safe.

    dry_run: return what a repair would do, and change nothing. Settlements and new orders wait
    until the caller's transaction ends. Raises RefusedError if charges differ from the ledger.
    """
    await conn.execute(LOCK)
    before = await list_findings(conn)
    broken = [finding.target for finding in before if finding.check in SOURCES]
    if broken:
        raise RefusedError(
            f"{broken[0]} differs from the ledger ({len(broken)} such findings), so counters cannot be"
            " derived from the charges. Correct these rows first: `ledger check` lists them."
        )
    await conn.execute("SAVEPOINT unrepaired")
    for statement in (MOVE_CHARGES, COUNT_DAYS, COUNT_MONTHS, CLEAR_KEYS, COUNT_KEYS):
        await conn.execute(statement, timeout=TIMEOUT_SECONDS)
    await repair_usage(conn)
    for row in await conn.fetch(LIST_USERS, timeout=TIMEOUT_SECONDS):
        await recount(conn, UserId(row["user_id"]))
    remaining = await list_findings(conn)
    await conn.execute(f"{'ROLLBACK TO' if dry_run else 'RELEASE'} SAVEPOINT unrepaired")
    return Repair(
        repaired=[finding for finding in before if finding not in remaining], remaining=remaining
    )


async def repair_usage(conn: Connection) -> None:
    """Derive the sums of usage again. The caller keeps charges and executions locked."""
    for statement in (CLEAR_MONEY_USAGE, COUNT_MONEY_USAGE, CLEAR_VIDEO_USAGE, COUNT_VIDEO_USAGE):
        await conn.execute(statement, timeout=TIMEOUT_SECONDS)
