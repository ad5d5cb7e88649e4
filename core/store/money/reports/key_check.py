"""The check of the counters of API keys against the charges that their requests ordered."""

SPENT = """
SELECT c.key_id, c.user_id, p.period, p.starts_on,
       coalesce(sum(c.held_nano_usd) FILTER (WHERE c.state = 'held'), 0)::bigint AS held_nano_usd,
       sum(c.settled_nano_usd)::bigint AS settled_nano_usd
FROM charges AS c
CROSS JOIN LATERAL (VALUES ('month', c.budget_month), ('day', c.budget_day)) AS p (period, starts_on)
WHERE c.key_id IS NOT NULL
GROUP BY 1, 2, 3, 4
"""

KEY_SPENDING = f"""
WITH charged AS ({SPENT})
SELECT key_id || ' ' || period || ' ' || to_char(starts_on, 'YYYY-MM-DD') AS target, x.what, x.expected, x.found
FROM charged AS c FULL JOIN key_spending AS s USING (key_id, user_id, period, starts_on)
CROSS JOIN LATERAL (VALUES
    ('held for the key', coalesce(c.held_nano_usd, 0), coalesce(s.held_nano_usd, 0)),
    ('settled for the key', coalesce(c.settled_nano_usd, 0), coalesce(s.settled_nano_usd, 0))
) AS x (what, expected, found)
WHERE x.expected <> x.found
ORDER BY 1, 2
"""  # noqa: S608 - a constant
