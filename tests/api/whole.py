"""Checks for outages: refusals are clear, and accepted executions are complete."""

from collections import Counter
from collections.abc import Collection

import asyncpg
import httpx

from core.store.database import Database
from core.store.money.reports.ledger_check import list_findings

COUNT_PARTS = """
SELECT execution_id,
       (SELECT count(*) FROM steps AS s WHERE s.execution_id = e.execution_id) AS steps,
       (SELECT count(*) FROM jobs AS j WHERE j.execution_id = e.execution_id) AS jobs,
       (SELECT count(*) FROM charges AS c WHERE c.execution_id = e.execution_id) AS charges,
       (SELECT count(*) FROM ledger_entries AS l WHERE l.execution_id = e.execution_id AND l.kind = 'held') AS held
FROM executions AS e
"""


def check_refused(answer: httpx.Response) -> None:
    """Check for a 503 that states when to repeat the request."""
    assert answer.status_code == 503, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    problem = answer.json()
    assert (problem["status"], problem["code"]) == (503, "service_unavailable")
    assert (problem["retryable"], problem["spent"]) == (True, "0")


async def check_whole(
    owner_dsn: str, database: Database, accepted: Collection[str], *, more: int = 0
) -> None:
    """Check that each accepted video has both steps, jobs and holds, and that the ledger balances.

    more: the largest number of further executions.
    """
    owner = await asyncpg.connect(owner_dsn)
    try:
        rows = {row["execution_id"]: tuple(row)[1:] for row in await owner.fetch(COUNT_PARTS)}
    finally:
        await owner.close()
    assert set(accepted) <= set(rows), f"lost: {set(accepted) - set(rows)}"
    assert len(rows) <= len(accepted) + more, "what was refused is there"
    assert set(rows.values()) <= {(2, 2, 2, 2)}, Counter(rows.values())
    async with database.reading_all() as conn:
        assert await list_findings(conn) == []
