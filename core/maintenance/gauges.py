"""Gauges over all users and providers, set by the worker process that leads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from temporalio.client import Client

from core.jobs.submission.admission import clear_provider_gauges, measure_providers
from core.platform.observability import metrics
from core.platform.temporal.client import queue_backlogs
from core.store.database import Database
from core.store.executions.unfinished import count_open_bills, count_unknown
from core.store.money.reports.undelivered_spend import UndeliveredOutcome, measure_undelivered
from core.store.providers.job_durations import measure_job_durations
from core.store.providers.model_durations import measure_durations

ENDED_WITHIN_SECONDS: Final = 7 * 86_400.0
"""The age up to which failed executions with costs are counted: an operator reacts within a week.
"""
PENDING_FOR_SECONDS: Final = 600.0
"""The age from which a pending webhook counts: three attempts have failed, so the receiver is not
just restarting.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """Measures what only a look at the whole database or at Temporal shows."""

    client: Client
    database: Database
    provider_names: Sequence[str]
    task_queues: Sequence[str]

    async def measure_jobs(self) -> None:
        """Measure unknown jobs, open bills and provider capacity; 0 for a provider without any."""
        async with self.database.as_system() as conn:
            counts = (
                (metrics.JOBS_UNKNOWN, await count_unknown(conn)),
                (metrics.OPEN_BILLS, await count_open_bills(conn)),
            )
            await measure_providers(conn, self.provider_names)
        for gauge, numbers in counts:
            gauge.clear()  # a provider that was removed must not keep its last value
            for provider in {*self.provider_names, *numbers}:
                gauge.labels(provider).set(numbers.get(provider, 0))

    async def measure_undelivered_spend(self) -> None:
        """Measure money that was spent without a delivered result."""
        async with self.database.as_system() as conn:
            measured = await measure_undelivered(
                conn,
                ended_within_seconds=ENDED_WITHIN_SECONDS,
                pending_for_seconds=PENDING_FOR_SECONDS,
            )
        for outcome in UndeliveredOutcome:
            spend = measured.get(outcome)
            metrics.SPENT_UNDELIVERED.labels(outcome).set(spend.nano_usd if spend else 0)
            metrics.SPENT_UNDELIVERED_OLDEST.labels(outcome).set(
                spend.oldest_seconds if spend else 0
            )

    async def measure_durations(self) -> None:
        """Measure how long recent jobs of each model took, for first looks and for `eta`."""
        async with self.database.as_system() as conn:
            measured = await measure_durations(conn)
        async with self.database.as_system() as conn:
            await measure_job_durations(conn)
        metrics.CALLBACK_AGE.clear()
        for duration in measured:
            gauge = metrics.CALLBACK_AGE.labels(duration.provider, duration.model)
            gauge.set(duration.slow_seconds)

    async def measure_queues(self) -> None:
        """Measure the backlogs of the task queues. Raises RPCError."""
        await queue_backlogs(self.client, self.task_queues)

    def clear(self) -> None:
        """Clear all gauges but the backlogs: another process measures them now."""
        metrics.JOBS_UNKNOWN.clear()
        metrics.OPEN_BILLS.clear()
        metrics.CALLBACK_AGE.clear()
        metrics.SPENT_UNDELIVERED.clear()
        metrics.SPENT_UNDELIVERED_OLDEST.clear()
        clear_provider_gauges()
