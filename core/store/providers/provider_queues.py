"""The work that waits for each provider key: measured by the reconciler, read by admission."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from core.domain.ids import UserId
from core.store.database import Connection

MEASUREMENT_LIFE_SECONDS: Final = 600.0
"""An older measurement is ignored: no reconciler has run since, so the queue is not known."""

DELETE_QUEUES = "DELETE FROM provider_queues"
# A job takes as long as recent jobs of its model did, else as long as its step usually takes. Jobs
# that wait for a decision of their user do not queue.
MEASURE_QUEUES = """
INSERT INTO provider_queues (provider, jobs, users, work_seconds, slots)
WITH recent AS (
    SELECT provider, model, avg(extract(epoch FROM ended_at - submitted_at))::float8 AS seconds
    FROM (SELECT provider, model, ended_at, submitted_at FROM jobs
          WHERE state = 'completed' AND ended_at > now() - interval '1 hour'
          ORDER BY ended_at DESC LIMIT 1000) AS ended
    GROUP BY provider, model
)
SELECT j.provider || coalesce('/' || k.provider_key_id, ''), count(*), count(DISTINCT j.user_id),
       sum(coalesce(r.seconds, s.usual_seconds)), l.slots::int
FROM executions AS e
JOIN jobs AS j ON j.execution_id = e.execution_id
JOIN steps AS s ON s.execution_id = j.execution_id AND s.name = j.step_name
JOIN jsonb_each($1) AS l (provider, slots) ON l.provider = j.provider
LEFT JOIN recent AS r ON r.provider = j.provider AND r.model = j.model
LEFT JOIN provider_keys AS k ON k.user_id = j.user_id AND k.provider = j.provider
    AND k.replaced_at IS NULL AND k.deleted_at IS NULL
WHERE e.status IN ('queued', 'running') AND NOT j.orphan AND (e.paused_at IS NULL OR j.state <> 'waiting')
  AND j.state IN ('waiting', 'submitting', 'unknown', 'submitted')
GROUP BY 1, l.slots
"""


async def measure_provider_queues(conn: Connection, max_in_flight: Mapping[str, int]) -> None:
    """Replace the measurements in one transaction. Call it as system.

    max_in_flight: the slots of a key at each provider; a provider that is missing has no limit.
    """
    await conn.execute(DELETE_QUEUES)
    await conn.execute(MEASURE_QUEUES, dict(max_in_flight))


GET_QUEUES = """
SELECT p.name AS provider, k.provider_key_id IS NOT NULL AS own_key, q.jobs, q.users, q.work_seconds, q.slots,
       coalesce((SELECT open_executions FROM concurrency_counters WHERE user_id = $1), 0) AS own_executions
FROM unnest($2::text[]) AS p (name)
LEFT JOIN provider_keys AS k ON k.user_id = $1 AND k.provider = p.name
    AND k.replaced_at IS NULL AND k.deleted_at IS NULL
JOIN provider_queues AS q ON q.provider = p.name || coalesce('/' || k.provider_key_id, '')
WHERE q.measured_at > now() - make_interval(secs => $3)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderQueue:
    """The queue of the key that a user's jobs at a provider use.

    own_key: it is the user's own. own_executions: the open executions of the user.
    """

    provider: str
    own_key: bool
    jobs: int
    users: int
    work_seconds: float
    slots: int
    own_executions: int


async def list_queues(
    conn: Connection, user_id: UserId, providers: Collection[str]
) -> list[ProviderQueue]:
    """List the queues of these providers that are not empty."""
    rows = await conn.fetch(GET_QUEUES, user_id, list(providers), MEASUREMENT_LIFE_SECONDS)
    return [ProviderQueue(**dict(row)) for row in rows]
