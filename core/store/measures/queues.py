"""What waits for each provider key and for each user, over all users. As system."""

from dataclasses import dataclass

from core.store.database import Connection
from core.store.providers.capacity import OVERDUE_SECONDS, WAITER_LIFE_SECONDS

# slots, open_jobs and work_seconds are the reconciler's measurement of the last minute.
LIST_PROVIDER_QUEUES = """
WITH in_flight AS (
    SELECT provider || coalesce('/' || provider_key_id, '') AS provider, count(*)::int AS number FROM jobs
    WHERE state IN ('submitting', 'unknown', 'submitted') AND deadline_at > now() - make_interval(secs => $1)
    GROUP BY 1
), waiting AS (
    SELECT provider, count(*)::int AS number, count(DISTINCT user_id)::int AS users,
           extract(epoch FROM clock_timestamp() - min(since))::float8 AS oldest_seconds
    FROM submit_queue WHERE seen_at > clock_timestamp() - make_interval(secs => $2) GROUP BY provider
)
SELECT provider, q.slots, coalesce(f.number, 0) AS in_flight, coalesce(w.number, 0) AS waiting,
       coalesce(w.users, 0) AS waiting_users, coalesce(w.oldest_seconds, 0) AS oldest_seconds,
       coalesce(q.jobs, 0) AS open_jobs, coalesce(q.work_seconds, 0) AS work_seconds
FROM provider_queues AS q FULL JOIN in_flight AS f USING (provider) FULL JOIN waiting AS w USING (provider)
ORDER BY provider
"""
LIST_USER_QUEUES = """
SELECT e.user_id, u.name, count(*) FILTER (WHERE e.status = 'queued') AS queued,
       count(*) FILTER (WHERE e.status = 'running') AS running, u.running_limit,
       coalesce(extract(epoch FROM now() - min(e.queued_at) FILTER (WHERE e.status = 'queued')), 0)::float8
           AS oldest_seconds
FROM executions AS e JOIN users AS u USING (user_id)
WHERE e.status IN ('queued', 'running')
GROUP BY e.user_id, u.name, u.running_limit ORDER BY queued DESC, running DESC, e.user_id LIMIT $1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderLoad:
    """The load of one key. provider: its scope. slots: None until they have been measured.

    waiting: jobs that wait for a slot. open_jobs: all unfinished jobs; work_seconds: the time for
    which they occupy a slot, added up. oldest_seconds: of the jobs that wait.
    """

    provider: str
    slots: int | None
    in_flight: int
    waiting: int
    waiting_users: int
    oldest_seconds: float
    open_jobs: int
    work_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UserLoad:
    """The open executions of a user. running_limit: None: the default of the settings."""

    user_id: str
    name: str
    queued: int
    running: int
    running_limit: int | None
    oldest_seconds: float


async def list_provider_loads(conn: Connection) -> list[ProviderLoad]:
    """List the keys with unfinished jobs."""
    rows = await conn.fetch(LIST_PROVIDER_QUEUES, float(OVERDUE_SECONDS), WAITER_LIFE_SECONDS)
    return [ProviderLoad(**dict(row)) for row in rows]


async def list_user_loads(conn: Connection, *, limit: int) -> list[UserLoad]:
    """List the users with open executions, those with the longest queue first."""
    return [UserLoad(**dict(row)) for row in await conn.fetch(LIST_USER_QUEUES, limit)]
