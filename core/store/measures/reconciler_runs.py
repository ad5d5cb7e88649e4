"""When the tasks of the reconciler last succeeded, and whether a process leads it. As system."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from core.store.database import Connection

LEASE: Final = "reconciler"
"""The lease of the process that leads."""

# A task that a version no longer has is deleted. A task that has not run yet keeps its last time.
RECORD_RUNS = """
WITH gone AS (DELETE FROM reconciler_runs WHERE task <> ALL ($2::text[]))
INSERT INTO reconciler_runs (task, every_seconds, succeeded_at)
SELECT task, every_seconds, now() - make_interval(secs => age_seconds)
FROM jsonb_to_recordset($1) AS r (task text, every_seconds float8, age_seconds float8)
ON CONFLICT (task) DO UPDATE
SET every_seconds = excluded.every_seconds,
    succeeded_at = greatest(reconciler_runs.succeeded_at, excluded.succeeded_at)
"""
LIST_RUNS = """
SELECT task, every_seconds, extract(epoch FROM now() - succeeded_at)::float8 AS age_seconds
FROM reconciler_runs ORDER BY succeeded_at + make_interval(secs => every_seconds), task
"""
IS_LED = "SELECT EXISTS (SELECT FROM leases WHERE name = $1 AND expires_at > clock_timestamp())"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRun:
    """The last success of a task. every_seconds: the pause between its runs."""

    task: str
    every_seconds: float
    age_seconds: float


async def record_runs(
    conn: Connection, every_seconds: Mapping[str, float], age_seconds: Mapping[str, float]
) -> None:
    """Replace the times of the tasks that have run. every_seconds: of all tasks, by name."""
    runs = [
        TaskRun(task=task, every_seconds=every_seconds[task], age_seconds=age)
        for task, age in age_seconds.items()
    ]
    await conn.execute(RECORD_RUNS, [asdict(run) for run in runs], list(every_seconds))


async def list_runs(conn: Connection) -> Sequence[TaskRun]:
    """List the tasks, those that are most overdue first."""
    return [TaskRun(**dict(row)) for row in await conn.fetch(LIST_RUNS)]


async def is_led(conn: Connection) -> bool:
    """Return whether a worker leads the reconciler now."""
    return bool(await conn.fetchval(IS_LED, LEASE))
