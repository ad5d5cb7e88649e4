"""Open executions by an operator's filter: a list, what is at stake, and their cancel.

Run as system. A cancel is committed here; the reconciler signals the workflows.
"""

from dataclasses import dataclass
from typing import Any

from core.domain.ids import ExecutionId
from core.domain.money import NanoUsd
from core.store.database import Connection
from core.store.executions.executions import mark_cancel_requested
from core.store.jobs.callbacks import notify_open_jobs
from core.store.operator import row_json


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFilter:
    """Open executions that are not being cancelled. None: any.

    provider, model: of a job that has not ended. older_than_seconds: since the request.
    """

    execution_id: str | None = None
    user_id: str | None = None
    provider: str | None = None
    model: str | None = None
    status: str | None = None
    older_than_seconds: int = 0


MATCHING = """
matching AS (
    SELECT e.execution_id, e.generation, e.user_id, e.status FROM executions AS e
    WHERE e.status IN ('queued', 'running') AND e.cancel_requested_at IS NULL
      AND ($1::text IS NULL OR e.execution_id = $1) AND ($2::text IS NULL OR e.user_id = $2)
      AND ($5::text IS NULL OR e.status = $5) AND e.queued_at <= now() - make_interval(secs => $6)
      AND ($3::text IS NULL AND $4::text IS NULL OR EXISTS (
          SELECT FROM jobs AS j
          WHERE j.execution_id = e.execution_id AND NOT j.orphan
            AND j.state IN ('waiting', 'submitting', 'unknown', 'submitted')
            AND ($3::text IS NULL OR j.provider = $3) AND ($4::text IS NULL OR j.model = $4)
      ))
)
"""
COUNT_STAKE = f"""
WITH {MATCHING}, money AS (
    SELECT count(*) FILTER (WHERE j.state IN ('submitting', 'unknown', 'submitted')) AS jobs_at_providers,
           sum(c.held_nano_usd) FILTER (WHERE c.state = 'held') AS held_nano_usd,
           sum(c.held_nano_usd)
               FILTER (WHERE c.state = 'held' AND j.state IN ('submitting', 'unknown', 'submitted')) AS sent_nano_usd,
           sum(c.settled_nano_usd) AS settled_nano_usd
    FROM matching AS m JOIN jobs AS j USING (execution_id) JOIN charges AS c USING (job_id)
)
SELECT (SELECT count(*) FROM matching) AS executions,
       (SELECT count(*) FROM matching WHERE status = 'queued') AS queued,
       (SELECT count(DISTINCT user_id) FROM matching) AS users,
       jobs_at_providers, coalesce(held_nano_usd, 0)::bigint AS held_nano_usd,
       coalesce(sent_nano_usd, 0)::bigint AS sent_nano_usd, coalesce(settled_nano_usd, 0)::bigint AS settled_nano_usd
FROM money
"""  # noqa: S608 - constants
LIST_OPEN = f"""
WITH {MATCHING}
SELECT e.execution_id, e.user_id, e.status, e.type, work.providers, work.models, work.states,
       coalesce(work.held_nano_usd, 0)::bigint AS held_nano_usd,
       coalesce(work.settled_nano_usd, 0)::bigint AS settled_nano_usd, e.queued_at, e.deadline_at
FROM matching AS m JOIN executions AS e USING (execution_id)
LEFT JOIN LATERAL (
    SELECT array_agg(DISTINCT j.provider) FILTER (WHERE j.ended_at IS NULL) AS providers,
           array_agg(DISTINCT j.model) FILTER (WHERE j.ended_at IS NULL) AS models,
           array_agg(DISTINCT j.state) FILTER (WHERE j.ended_at IS NULL) AS states,
           sum(c.held_nano_usd) FILTER (WHERE c.state = 'held') AS held_nano_usd,
           sum(c.settled_nano_usd) AS settled_nano_usd
    FROM jobs AS j LEFT JOIN charges AS c USING (job_id)
    WHERE j.execution_id = m.execution_id AND NOT j.orphan
) AS work ON true
ORDER BY e.queued_at, e.execution_id LIMIT $7
"""  # noqa: S608 - constants
LIST_MATCHING = f"""
WITH {MATCHING}
SELECT execution_id, generation FROM matching ORDER BY execution_id LIMIT $7
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True, kw_only=True)
class Stake:
    """What a cancel of the matching executions concerns.

    held_nano_usd: of all unfinished jobs. sent_nano_usd: the part that is at providers, which may
    be billed in spite of the cancel. settled_nano_usd: already spent.
    """

    executions: int
    queued: int
    users: int
    jobs_at_providers: int
    held_nano_usd: NanoUsd
    sent_nano_usd: NanoUsd
    settled_nano_usd: NanoUsd


async def count_stake(conn: Connection, open_filter: OpenFilter) -> Stake:
    """Count the matching executions and their money."""
    row = await conn.fetchrow(COUNT_STAKE, *_values(open_filter))
    assert row is not None  # noqa: S101 - aggregates without GROUP BY
    return Stake(**dict(row))


async def list_open(
    conn: Connection, open_filter: OpenFilter, *, limit: int
) -> list[dict[str, Any]]:
    """List the matching executions with their unfinished jobs and their money, the oldest first."""
    rows = await conn.fetch(LIST_OPEN, *_values(open_filter), limit)
    return [row_json(dict(row)) for row in rows]


async def cancel_matching(
    conn: Connection, open_filter: OpenFilter, reason: str, *, limit: int
) -> list[ExecutionId] | None:
    """Request the cancel of at most `limit` matching executions and return their ids.

    None: nothing matches. Repeating is safe: an execution whose cancel was requested no longer
    matches. An execution that ends meanwhile is left out.
    """
    rows = await conn.fetch(LIST_MATCHING, *_values(open_filter), limit)
    if not rows:
        return None
    cancelled = list[ExecutionId]()
    for row in rows:  # by id, so that concurrent cancels lock in the same order
        execution_id = ExecutionId(row["execution_id"])
        generation: int = row["generation"]
        if await mark_cancel_requested(conn, execution_id, reason, generation=generation):
            await notify_open_jobs(conn, execution_id)
            cancelled.append(execution_id)
    return cancelled


def _values(open_filter: OpenFilter) -> tuple[object, ...]:
    return (
        open_filter.execution_id,
        open_filter.user_id,
        open_filter.provider,
        open_filter.model,
        open_filter.status,
        float(open_filter.older_than_seconds),
    )
