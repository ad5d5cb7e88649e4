"""The ledger check: compares charges, budgets and counters with the ledger, over all users.

It only reads, in the caller's snapshot. Each query returns what is inconsistent; no rows mean
consistent. Every COMMIT keeps these rules, so a finding is a bug or a manual change of rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, LiteralString

from core.domain.money import usd_text
from core.store.database import Connection
from core.store.money.reports.key_check import KEY_SPENDING
from core.store.money.reports.usage_check import USAGE, USAGE_COUNTS

TIMEOUT_SECONDS = 3600
"""The time-out of one query: each check reads whole tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """An inconsistency. check: a key of CHECKS. target: the row's id. text: for the operator."""

    check: str
    target: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The number of rows that were read, and the two balances of the ledger."""

    entries: int
    charges: int
    budgets: int
    executions: int
    held_nano_usd: int
    settled_nano_usd: int


COUNT = """
SELECT count(*) AS entries,
       (SELECT count(*) FROM charges) AS charges,
       (SELECT count(*) FROM budgets) AS budgets,
       (SELECT count(*) FROM executions) AS executions,
       coalesce(sum(CASE kind WHEN 'held' THEN amount_nano_usd WHEN 'settled' THEN -amount_nano_usd
                              WHEN 'released' THEN -amount_nano_usd END), 0)::bigint AS held_nano_usd,
       coalesce(sum(CASE WHEN kind IN ('settled', 'overage', 'adjustment', 'orphan') THEN amount_nano_usd
                         WHEN kind = 'refund' THEN -amount_nano_usd END), 0)::bigint AS settled_nano_usd
FROM ledger_entries
"""

# The amounts of a charge against its ledger entries.
CHARGES = """
WITH entries AS (
    SELECT charge_id,
           coalesce(sum(amount_nano_usd) FILTER (WHERE kind = 'held'), 0) AS held,
           coalesce(sum(amount_nano_usd) FILTER (WHERE kind = 'settled'), 0) AS settled,
           coalesce(sum(amount_nano_usd) FILTER (WHERE kind = 'released'), 0) AS released,
           coalesce(sum(amount_nano_usd) FILTER (WHERE kind = 'overage'), 0) AS overage,
           coalesce(sum(amount_nano_usd) FILTER (WHERE kind IN ('adjustment', 'orphan')), 0) AS other,
           coalesce(sum(amount_nano_usd) FILTER (WHERE kind = 'refund'), 0) AS refund
    FROM ledger_entries GROUP BY charge_id
)
SELECT c.charge_id AS target, x.what, x.ledger::bigint AS expected, x.row::bigint AS found
FROM charges AS c
LEFT JOIN entries AS b ON b.charge_id = c.charge_id
CROSS JOIN LATERAL (VALUES
    ('held at first', coalesce(b.held, 0), c.held_nano_usd),
    ('still held', coalesce(b.held - b.settled - b.released, 0),
     CASE WHEN c.state = 'held' THEN c.held_nano_usd ELSE 0 END),
    ('settled', coalesce(b.settled + b.overage + b.other - b.refund, 0), c.settled_nano_usd),
    ('refunded', coalesce(b.refund, 0), c.refunded_nano_usd),
    ('settled in another state than settled', 0, CASE WHEN c.state = 'settled' THEN 0 ELSE c.settled_nano_usd END),
    ('released although an overage exists', 0, CASE WHEN b.overage > 0 THEN b.released ELSE 0 END)
) AS x (what, ledger, row)
WHERE x.ledger <> x.row
ORDER BY 1, 2
"""

ENTRIES = """
SELECT l.operation_id AS target, x.what
FROM ledger_entries AS l
JOIN charges AS c ON c.charge_id = l.charge_id
CROSS JOIN LATERAL (VALUES
    ('names another user than its charge', l.user_id <> c.user_id),
    ('names another execution than its charge', l.execution_id <> c.execution_id),
    ('names another job than its charge', l.job_id <> c.job_id),
    ('counts in another month than its charge', l.budget_month <> c.budget_month),
    ('has an operation id of another kind or charge',
     l.operation_id <> l.kind || '/' || l.charge_id
     AND NOT (l.kind IN ('refund', 'held') AND starts_with(l.operation_id, l.kind || '/' || l.charge_id || '/')))
) AS x (what, wrong)
WHERE x.wrong
ORDER BY 1, 2
"""

# Held money that would never be settled or released, and released money of a bought job.
JOBS = """
SELECT j.job_id AS target, x.what
FROM jobs AS j
JOIN executions AS e ON e.execution_id = j.execution_id
LEFT JOIN charges AS c ON c.job_id = j.job_id
CROSS JOIN LATERAL (VALUES
    ('has no charge', c.charge_id IS NULL AND j.provider <> 'media'),
    ('has a charge, but media steps are free', c.charge_id IS NOT NULL AND j.provider = 'media'),
    ('has a charge of another user, execution, provider or model',
     (c.user_id, c.execution_id, c.provider, c.model) <> (j.user_id, j.execution_id, j.provider, j.model)),
    ('was bought, but its hold was released', c.state = 'released' AND j.provider_job_id IS NOT NULL),
    ('was never sent, but its cost is settled',
     c.state = 'settled' AND j.send_number = 0 AND c.settled_nano_usd + c.refunded_nano_usd > 0),
    ('holds money, but ended without a send',
     c.state = 'held' AND j.send_number = 0
     AND (j.state IN ('completed', 'failed', 'cancelled') OR e.status IN ('completed', 'failed', 'cancelled'))),
    ('waits to be sent, but its execution has ended',
     j.state = 'waiting' AND e.status IN ('completed', 'failed', 'cancelled'))
) AS x (what, wrong)
WHERE x.wrong
ORDER BY 1, 2
"""

BUDGETS = """
WITH entries AS (
    SELECT user_id, budget_month,
           sum(CASE kind WHEN 'held' THEN amount_nano_usd WHEN 'settled' THEN -amount_nano_usd
                         WHEN 'released' THEN -amount_nano_usd ELSE 0 END) AS held,
           sum(CASE WHEN kind IN ('settled', 'overage', 'adjustment', 'orphan') THEN amount_nano_usd
                    WHEN kind = 'refund' THEN -amount_nano_usd ELSE 0 END) AS settled
    FROM ledger_entries GROUP BY 1, 2
), charged AS (
    SELECT user_id, budget_month, sum(held_nano_usd) FILTER (WHERE state = 'held') AS held,
           sum(settled_nano_usd) AS settled
    FROM charges GROUP BY 1, 2
), months AS (
    SELECT user_id, budget_month FROM budgets
    UNION SELECT user_id, budget_month FROM entries
    UNION SELECT user_id, budget_month FROM charged
)
SELECT m.user_id || ' ' || to_char(m.budget_month, 'YYYY-MM') AS target, x.what, x.expected::bigint, x.found::bigint
FROM months AS m
LEFT JOIN budgets AS b ON (b.user_id, b.budget_month) = (m.user_id, m.budget_month)
LEFT JOIN entries AS l ON (l.user_id, l.budget_month) = (m.user_id, m.budget_month)
LEFT JOIN charged AS c ON (c.user_id, c.budget_month) = (m.user_id, m.budget_month)
CROSS JOIN LATERAL (VALUES
    ('held, by the ledger', coalesce(l.held, 0), coalesce(b.held_nano_usd, 0)),
    ('settled, by the ledger', coalesce(l.settled, 0), coalesce(b.settled_nano_usd, 0)),
    ('held, by its charges', coalesce(c.held, 0), coalesce(b.held_nano_usd, 0)),
    ('settled, by its charges', coalesce(c.settled, 0), coalesce(b.settled_nano_usd, 0))
) AS x (what, expected, found)
WHERE x.expected <> x.found
ORDER BY 1, 2
"""

# An execution counts in the month in which its current generation was queued: held until it ends,
# then only if it completed.
VIDEOS = """
WITH counted AS (
    SELECT user_id, budget_month, count(*) FILTER (WHERE status IN ('queued', 'running')) AS held,
           count(*) FILTER (WHERE status = 'completed') AS settled
    FROM executions WHERE budget_month IS NOT NULL GROUP BY 1, 2
), months AS (
    SELECT user_id, budget_month FROM budgets UNION SELECT user_id, budget_month FROM counted
)
SELECT m.user_id || ' ' || to_char(m.budget_month, 'YYYY-MM') AS target, x.what, x.expected, x.found
FROM months AS m
LEFT JOIN budgets AS b ON (b.user_id, b.budget_month) = (m.user_id, m.budget_month)
LEFT JOIN counted AS n ON (n.user_id, n.budget_month) = (m.user_id, m.budget_month)
CROSS JOIN LATERAL (VALUES
    ('videos held', coalesce(n.held, 0), coalesce(b.held_videos, 0)),
    ('videos settled', coalesce(n.settled, 0), coalesce(b.settled_videos, 0))
) AS x (what, expected, found)
WHERE x.expected <> x.found
ORDER BY 1, 2
"""

# A hold is checked against the limit of its moment. Overages, orphans and upward adjustments are
# not checked. So held + settled without those is at most the highest limit in force in the month,
# now or by the audit log. A recovery ignores limits: its months are left out.
DOLLAR_LIMITS = """
WITH unchecked AS (
    SELECT user_id, budget_month, sum(amount_nano_usd) AS amount FROM ledger_entries
    WHERE kind IN ('overage', 'orphan') OR (kind = 'adjustment' AND amount_nano_usd > 0) GROUP BY 1, 2
), limits AS (
    SELECT user_id, NULL::timestamptz AS until, monthly_nano_usd_limit::numeric AS most FROM users
    UNION ALL
    SELECT a.target, a.at, (side ->> 'monthlyUsd')::numeric * 1000000000
    FROM audit_log AS a CROSS JOIN LATERAL (VALUES (a.detail -> 'from'), (a.detail -> 'to')) AS s (side)
    WHERE a.action = 'users set-limits' AND side ? 'monthlyUsd'
), highest AS (
    SELECT b.user_id, b.budget_month, max(l.most) AS most, bool_or(l.most IS NULL) AS unlimited
    FROM budgets AS b JOIN limits AS l ON l.user_id = b.user_id
      AND (l.until IS NULL OR l.until >= b.budget_month::timestamp AT TIME ZONE 'UTC')
    GROUP BY 1, 2
)
SELECT b.user_id || ' ' || to_char(b.budget_month, 'YYYY-MM') AS target, 'held above the limit, at most' AS what,
       h.most::bigint AS expected, (b.held_nano_usd + b.settled_nano_usd - coalesce(u.amount, 0))::bigint AS found
FROM budgets AS b
JOIN highest AS h ON (h.user_id, h.budget_month) = (b.user_id, b.budget_month)
LEFT JOIN unchecked AS u ON (u.user_id, u.budget_month) = (b.user_id, b.budget_month)
WHERE NOT h.unlimited AND b.held_nano_usd + b.settled_nano_usd - coalesce(u.amount, 0) > h.most
  AND NOT EXISTS (SELECT FROM audit_log AS r WHERE r.action = 'recover'
                  AND r.at >= b.budget_month::timestamp AT TIME ZONE 'UTC')
ORDER BY 1
"""

# A retry that buys nothing is not checked against a budget, so retried executions are left out.
VIDEO_LIMITS = """
WITH unchecked AS (
    SELECT user_id, budget_month, count(*) AS amount FROM executions
    WHERE generation > 1 AND status IN ('queued', 'running', 'completed') GROUP BY 1, 2
), limits AS (
    SELECT user_id, NULL::timestamptz AS until, monthly_videos_limit AS most FROM users
    UNION ALL
    SELECT a.target, a.at, (side ->> 'monthlyVideos')::bigint
    FROM audit_log AS a CROSS JOIN LATERAL (VALUES (a.detail -> 'from'), (a.detail -> 'to')) AS s (side)
    WHERE a.action = 'users set-limits' AND side ? 'monthlyVideos'
), highest AS (
    SELECT b.user_id, b.budget_month, max(l.most) AS most, bool_or(l.most IS NULL) AS unlimited
    FROM budgets AS b JOIN limits AS l ON l.user_id = b.user_id
      AND (l.until IS NULL OR l.until >= b.budget_month::timestamp AT TIME ZONE 'UTC')
    GROUP BY 1, 2
)
SELECT b.user_id || ' ' || to_char(b.budget_month, 'YYYY-MM') AS target, 'videos above the limit, at most' AS what,
       h.most AS expected, b.held_videos + b.settled_videos - coalesce(u.amount, 0) AS found
FROM budgets AS b
JOIN highest AS h ON (h.user_id, h.budget_month) = (b.user_id, b.budget_month)
LEFT JOIN unchecked AS u ON (u.user_id, u.budget_month) = (b.user_id, b.budget_month)
WHERE NOT h.unlimited AND b.held_videos + b.settled_videos - coalesce(u.amount, 0) > h.most
  AND NOT EXISTS (SELECT FROM audit_log AS r WHERE r.action = 'recover'
                  AND r.at >= b.budget_month::timestamp AT TIME ZONE 'UTC')
ORDER BY 1
"""

# maxCost limits what is held for an execution, not what is billed.
MAX_COSTS = """
WITH unchecked AS (
    SELECT execution_id, sum(amount_nano_usd) AS amount FROM ledger_entries
    WHERE kind IN ('overage', 'orphan') OR (kind = 'adjustment' AND amount_nano_usd > 0) GROUP BY 1
), cost AS (
    SELECT execution_id, sum(settled_nano_usd + CASE WHEN state = 'held' THEN held_nano_usd ELSE 0 END) AS amount
    FROM charges GROUP BY 1
)
SELECT e.execution_id AS target, 'held above its maxCost, at most' AS what, e.max_cost_nano_usd AS expected,
       (c.amount - coalesce(u.amount, 0))::bigint AS found
FROM executions AS e
JOIN cost AS c ON c.execution_id = e.execution_id
LEFT JOIN unchecked AS u ON u.execution_id = e.execution_id
WHERE c.amount - coalesce(u.amount, 0) > e.max_cost_nano_usd
ORDER BY 1
"""

# An orphan counts on the day on which it was found; any other charge on the day of its hold.
CHARGE_DAYS = """
SELECT charge_id AS target, 'counts on ' || budget_day || ', not on the day of its hold, '
       || (created_at AT TIME ZONE 'UTC')::date AS what
FROM charges WHERE budget_day <> (created_at AT TIME ZONE 'UTC')::date
ORDER BY 1
"""

DAYS = """
WITH charged AS (
    SELECT budget_day AS day, sum(held_nano_usd) FILTER (WHERE state = 'held') AS held,
           sum(settled_nano_usd) AS settled
    FROM charges GROUP BY 1
), days AS (
    SELECT day FROM daily_spending UNION SELECT day FROM charged
)
SELECT to_char(days.day, 'YYYY-MM-DD') AS target, x.what, x.expected::bigint, x.found::bigint
FROM days
LEFT JOIN daily_spending AS d ON d.day = days.day
LEFT JOIN charged AS c ON c.day = days.day
CROSS JOIN LATERAL (VALUES
    ('held by all users', coalesce(c.held, 0), coalesce(d.held_nano_usd, 0)),
    ('settled by all users', coalesce(c.settled, 0), coalesce(d.settled_nano_usd, 0))
) AS x (what, expected, found)
WHERE x.expected <> x.found
ORDER BY 1, 2
"""

# Like DOLLAR_LIMITS: unchecked amounts may exceed the cap, and the day's highest cap counts.
DAILY_LIMITS = """
WITH unchecked AS (
    SELECT c.budget_day AS day, sum(l.amount_nano_usd) AS amount
    FROM ledger_entries AS l JOIN charges AS c ON c.charge_id = l.charge_id
    WHERE l.kind IN ('overage', 'orphan') OR (l.kind = 'adjustment' AND l.amount_nano_usd > 0) GROUP BY 1
), limits AS (
    SELECT NULL::timestamptz AS until, daily_nano_usd::numeric AS most FROM service_limits
    UNION ALL
    SELECT a.at, (side #>> '{}')::numeric * 1000000000
    FROM audit_log AS a CROSS JOIN LATERAL (VALUES (a.detail -> 'from'), (a.detail -> 'to')) AS s (side)
    WHERE a.action = 'service set-daily-limit'
), highest AS (
    SELECT d.day, max(l.most) AS most, bool_or(l.most IS NULL) AS unlimited
    FROM daily_spending AS d JOIN limits AS l ON l.until IS NULL OR l.until >= d.day::timestamp AT TIME ZONE 'UTC'
    GROUP BY 1
)
SELECT to_char(d.day, 'YYYY-MM-DD') AS target, 'held above the limit, at most' AS what, h.most::bigint AS expected,
       (d.held_nano_usd + d.settled_nano_usd - coalesce(u.amount, 0))::bigint AS found
FROM daily_spending AS d
JOIN highest AS h ON h.day = d.day
LEFT JOIN unchecked AS u ON u.day = d.day
WHERE NOT h.unlimited AND d.held_nano_usd + d.settled_nano_usd - coalesce(u.amount, 0) > h.most
  AND NOT EXISTS (SELECT FROM audit_log AS r WHERE r.action = 'recover'
                  AND r.at >= d.day::timestamp AT TIME ZONE 'UTC')
ORDER BY 1
"""

CONCURRENCY = """
WITH counted AS (
    SELECT user_id, count(*) AS open, count(*) FILTER (WHERE status = 'running' AND paused_at IS NULL) AS running,
           count(*) FILTER (WHERE status = 'running' AND paused_at IS NOT NULL) AS paused
    FROM executions WHERE status IN ('queued', 'running') GROUP BY 1
), named AS (
    SELECT user_id FROM concurrency_counters UNION SELECT user_id FROM counted
)
SELECT named.user_id AS target, x.what, x.expected, x.found
FROM named
LEFT JOIN concurrency_counters AS l ON l.user_id = named.user_id
LEFT JOIN counted AS n ON n.user_id = named.user_id
CROSS JOIN LATERAL (VALUES
    ('open executions', coalesce(n.open, 0), coalesce(l.open_executions, 0)),
    ('running executions', coalesce(n.running, 0), coalesce(l.running_executions, 0)),
    ('paused executions', coalesce(n.paused, 0), coalesce(l.paused_executions, 0))
) AS x (what, expected, found)
WHERE x.expected <> x.found
ORDER BY 1, 2
"""

APPEND_ONLY = """
SELECT t.name AS target, r.name || ' may ' || lower(p.name) AS what
FROM (VALUES ('ledger_entries'), ('audit_log')) AS t (name)
CROSS JOIN (VALUES ('takeone_app'), ('takeone_system')) AS r (name)
CROSS JOIN (VALUES ('UPDATE'), ('DELETE'), ('TRUNCATE')) AS p (name)
WHERE has_table_privilege(r.name, t.name, p.name)
   OR (p.name = 'UPDATE' AND has_any_column_privilege(r.name, t.name, 'UPDATE'))
ORDER BY 1, 2
"""

CHECKS: Final[Mapping[str, LiteralString]] = {
    "charges": CHARGES,
    "entries": ENTRIES,
    "jobs": JOBS,
    "budgets": BUDGETS,
    "videos": VIDEOS,
    "dollar-limits": DOLLAR_LIMITS,
    "video-limits": VIDEO_LIMITS,
    "max-costs": MAX_COSTS,
    "charge-days": CHARGE_DAYS,
    "days": DAYS,
    "daily-limits": DAILY_LIMITS,
    "key-spending": KEY_SPENDING,
    "usage": USAGE,
    "usage-counts": USAGE_COUNTS,
    "concurrency": CONCURRENCY,
    "append-only": APPEND_ONLY,
}
COUNTS: Final = frozenset({"videos", "video-limits", "usage-counts", "concurrency"})
"""Checks that compare counts, not amounts of money."""


async def count_totals(conn: Connection) -> Totals:
    """Count the rows that a check reads, and sum the ledger."""
    (row,) = await conn.fetch(COUNT, timeout=TIMEOUT_SECONDS)
    return Totals(**dict(row))


async def list_findings(conn: Connection) -> list[Finding]:
    """Run every check and return the findings; an empty list means a consistent ledger."""
    findings: list[Finding] = []
    for check, query in CHECKS.items():
        for row in await conn.fetch(query, timeout=TIMEOUT_SECONDS):
            text: str = row["what"]
            if "expected" in row:
                text += f": {_amount(check, row['expected'])}, not {_amount(check, row['found'])}"
            findings.append(Finding(check=check, target=row["target"], text=text))
    return findings


def _amount(check: str, amount: int) -> str:
    return str(amount) if check in COUNTS else f"{usd_text(amount)} USD"
