"""How long recent jobs of each model took: measured by the reconciler, read for `eta`.

`model_durations` has another purpose, the first look at a job, and counts callbacks only.
"""

from dataclasses import dataclass
from typing import Final

from core.domain.estimates.durations import LEVELS, Durations
from core.domain.plans import MEDIA
from core.store.database import Connection
from core.store.providers.model_durations import MAX_SAMPLES, MIN_SAMPLES, SAMPLE_DAYS

MAX_EXECUTIONS: Final = 1_000
"""The ended executions that are read for the time after the last job."""
_LEVELS: Final = ", ".join(str(level) for level in LEVELS)

# Jobs that a provider made as planned: files that were used again took no time, and a model that
# another one stood in for has no length of its own. Both groupings are measured: with the length
# and without. The bounds are those of model_durations.
MEASURE_JOBS = f"""
INSERT INTO job_durations AS d (provider, model, length, quantiles, samples)
SELECT j.provider, j.model, coalesce(j.length, ''),
       to_jsonb(percentile_cont(ARRAY[{_LEVELS}]::float8[]) WITHIN GROUP (ORDER BY j.seconds)), count(*)
FROM (
    SELECT r.provider, r.model, s.parameters ->> 'duration_seconds' AS length,
           extract(epoch FROM r.ended_at - r.submitted_at)::float8
               / CASE WHEN r.provider = '{MEDIA}' THEN s.usual_seconds ELSE 1 END AS seconds
    FROM (
        SELECT execution_id, step_name, provider, model, submitted_at, ended_at, reused_from, cancel_sent_at
        FROM jobs WHERE state = 'completed' AND ended_at > now() - make_interval(days => $3)
        ORDER BY ended_at DESC LIMIT $2
    ) AS r
    JOIN steps AS s ON s.execution_id = r.execution_id AND s.name = r.step_name
    WHERE r.reused_from IS NULL AND r.cancel_sent_at IS NULL AND r.submitted_at < r.ended_at
      AND s.provider = r.provider AND s.model = r.model
) AS j
GROUP BY GROUPING SETS ((j.provider, j.model), (j.provider, j.model, j.length))
HAVING count(*) >= $1 AND (grouping(j.length) = 1 OR j.length IS NOT NULL)
ON CONFLICT (provider, model, length) DO UPDATE
SET quantiles = EXCLUDED.quantiles, samples = EXCLUDED.samples, measured_at = now()
"""  # noqa: S608 - constants
MEASURE_PASSING = f"""
INSERT INTO job_durations AS d (provider, model, length, quantiles, samples)
SELECT '', '', '', to_jsonb(percentile_cont(ARRAY[{_LEVELS}]::float8[]) WITHIN GROUP (ORDER BY e.seconds)), count(*)
FROM (
    SELECT extract(epoch FROM r.ended_at - l.ended_at)::float8 AS seconds
    FROM (
        SELECT execution_id, status, ended_at FROM executions
        WHERE ended_at > now() - make_interval(days => $3) AND deleted_at IS NULL
        ORDER BY ended_at DESC LIMIT $2
    ) AS r
    CROSS JOIN LATERAL (SELECT max(ended_at) AS ended_at FROM jobs WHERE execution_id = r.execution_id) AS l
    WHERE r.status = 'completed' AND l.ended_at <= r.ended_at
) AS e
HAVING count(*) >= $1
ON CONFLICT (provider, model, length) DO UPDATE
SET quantiles = EXCLUDED.quantiles, samples = EXCLUDED.samples, measured_at = now()
"""  # noqa: S608 - constants
DELETE_OLD = "DELETE FROM job_durations WHERE measured_at < now() - make_interval(days => $1)"
LIST_DURATIONS = "SELECT provider, model, length, quantiles FROM job_durations"


async def measure_job_durations(conn: Connection) -> None:
    """Measure the jobs of each model that has enough recent ones. As system."""
    await conn.execute(MEASURE_JOBS, MIN_SAMPLES, MAX_SAMPLES, SAMPLE_DAYS)
    await conn.execute(MEASURE_PASSING, MIN_SAMPLES, MAX_EXECUTIONS, SAMPLE_DAYS)
    await conn.execute(DELETE_OLD, SAMPLE_DAYS)


PASSING: Final = ("", "", "")
ASSUMED_PASSING: Final = Durations.around(1.0)


@dataclass(frozen=True, slots=True)
class DurationHistory:
    """The measured durations. measured: by provider, model and length."""

    measured: dict[tuple[str, str, str], Durations]

    def find(
        self, provider: str, model: str, length: str | None, usual_seconds: float
    ) -> Durations | None:
        """Return what is measured of the model, if possible with this length."""
        exact = self.measured.get((provider, model, length or ""))
        measured = exact or self.measured.get((provider, model, ""))
        return measured.times(usual_seconds) if measured and provider == MEDIA else measured

    @property
    def passing(self) -> Durations:
        """The time from the end of a job to the next submit, or to the end of the execution."""
        return self.measured.get(PASSING, ASSUMED_PASSING)


NO_HISTORY: Final = DurationHistory({})


async def read_history(conn: Connection) -> DurationHistory:
    """Return all measurements."""
    return DurationHistory(
        {
            (row["provider"], row["model"], row["length"]): Durations(tuple(row["quantiles"]))
            for row in await conn.fetch(LIST_DURATIONS)
        }
    )
