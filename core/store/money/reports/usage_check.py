"""The part of the ledger check about usage: its sums compared with charges and executions."""

USAGE = """
WITH counted AS (
    SELECT user_id, usage_day(created_at, budget_month) AS day, provider, model, budget_month,
           coalesce(sum(held_nano_usd) FILTER (WHERE state = 'held'), 0) AS held, sum(settled_nano_usd) AS settled
    FROM charges GROUP BY 1, 2, 3, 4, 5
)
SELECT user_id || ' ' || day || ' ' || provider || ' ' || model AS target, x.what, x.expected::bigint, x.found
FROM counted AS c FULL JOIN usage_money AS u USING (user_id, budget_month, day, provider, model)
CROSS JOIN LATERAL (VALUES
    ('held, by its charges', coalesce(c.held, 0), coalesce(u.held_nano_usd, 0)),
    ('settled, by its charges', coalesce(c.settled, 0), coalesce(u.settled_nano_usd, 0))
) AS x (what, expected, found)
WHERE x.expected <> x.found
ORDER BY 1, 2
"""

USAGE_COUNTS = """
WITH jobs AS (
    SELECT user_id, budget_month, usage_day(created_at, budget_month) AS day, count(*) AS number
    FROM charges GROUP BY 1, 2, 3
), counted_jobs AS (
    SELECT user_id, budget_month, day, sum(jobs) AS number FROM usage_money GROUP BY 1, 2, 3
), videos AS (
    SELECT user_id, budget_month, usage_day(queued_at, budget_month) AS day,
           count(*) FILTER (WHERE status IN ('queued', 'running')) AS held,
           count(*) FILTER (WHERE status = 'completed') AS settled
    FROM executions WHERE budget_month IS NOT NULL GROUP BY 1, 2, 3
)
SELECT user_id || ' ' || day AS target, x.what, x.expected, x.found::bigint
FROM jobs AS j FULL JOIN counted_jobs AS u USING (user_id, budget_month, day)
FULL JOIN videos AS v USING (user_id, budget_month, day)
FULL JOIN usage_videos AS w USING (user_id, budget_month, day)
CROSS JOIN LATERAL (VALUES
    ('jobs of the day', coalesce(j.number, 0), coalesce(u.number, 0)),
    ('videos held on the day', coalesce(v.held, 0), coalesce(w.held_videos, 0)),
    ('videos settled on the day', coalesce(v.settled, 0), coalesce(w.settled_videos, 0))
) AS x (what, expected, found)
WHERE x.expected <> x.found
ORDER BY 1, 2
"""
