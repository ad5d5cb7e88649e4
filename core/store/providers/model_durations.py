"""How long recent jobs of each model took: measured by the reconciler, read when a job is sent."""

from dataclasses import dataclass
from typing import Final

from core.store.database import Connection

SLOW_SHARE: Final = 0.95
"""The share of the callbacks that have arrived by the measured age."""
MIN_SAMPLES: Final = 20
MAX_SAMPLES: Final = 5_000
"""The jobs of all models that are read. A model that is rare among them keeps its measurement."""
SAMPLE_DAYS: Final = 7
"""The age of the oldest job that counts, and of a measurement that is deleted."""

# Only ends that a callback reported: an end that a look found is dated by the look, and would let
# the first look move later with each lost callback. A callback after the end was delivered again.
MEASURE_DURATIONS = """
INSERT INTO model_durations AS d (provider, model, slow_seconds, samples)
SELECT provider, model, percentile_cont($1) WITHIN GROUP (ORDER BY seconds), count(*)
FROM (
    SELECT provider, model, ended_at, calls_back, cancel_sent_at, callback_at,
           extract(epoch FROM callback_at - submitted_at)::float8 AS seconds
    FROM jobs WHERE state = 'completed' AND ended_at > now() - make_interval(days => $4)
    ORDER BY ended_at DESC LIMIT $3
) AS recent
WHERE calls_back AND cancel_sent_at IS NULL AND callback_at <= ended_at AND seconds > 0
GROUP BY provider, model HAVING count(*) >= $2
ON CONFLICT (provider, model) DO UPDATE
SET slow_seconds = EXCLUDED.slow_seconds, samples = EXCLUDED.samples, measured_at = now()
"""
DELETE_OLD_DURATIONS = (
    "DELETE FROM model_durations WHERE measured_at < now() - make_interval(days => $1)"
)
LIST_DURATIONS = "SELECT provider, model, slow_seconds, samples FROM model_durations"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDuration:
    """A measurement. slow_seconds: the age by which SLOW_SHARE of the callbacks had arrived."""

    provider: str
    model: str
    slow_seconds: float
    samples: int


async def measure_durations(conn: Connection) -> list[ModelDuration]:
    """Measure each model that has enough recent jobs; return all measurements. As system."""
    await conn.execute(MEASURE_DURATIONS, SLOW_SHARE, MIN_SAMPLES, MAX_SAMPLES, SAMPLE_DAYS)
    await conn.execute(DELETE_OLD_DURATIONS, SAMPLE_DAYS)
    return [ModelDuration(**dict(row)) for row in await conn.fetch(LIST_DURATIONS)]
