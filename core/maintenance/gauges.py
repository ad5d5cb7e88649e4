"""Gauges over all users and providers, set by the worker process that leads."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import Gauge
from temporalio.client import Client

from core.domain.ids import ExecutionId
from core.domain.messages.webhooks import EventType
from core.jobs.submission.admission import clear_provider_gauges, measure_providers
from core.platform.observability import metrics
from core.platform.temporal.client import queue_backlogs
from core.store.database import Database
from core.store.executions.limits.concurrency_counters import ConcurrencyLimits
from core.store.jobs.submit_pauses import ALL, DATABASE, list_pauses
from core.store.measures import open_work
from core.store.measures.held_money import Holds, measure_holds
from core.store.measures.ledger_checks import LEDGER, LedgerCheck, list_checks
from core.store.measures.open_work import NONE_WAITING, Waiting
from core.store.money.daily_spending_cap import get_service_today
from core.store.money.reports.undelivered_spend import UndeliveredOutcome, measure_undelivered
from core.store.providers.job_durations import measure_job_durations
from core.store.providers.model_durations import measure_durations

PAUSE_SCOPES: Final = (ALL, DATABASE, "provider", "model", "user")
NO_HOLDS: Final = Holds()
OPEN_STATUSES: Final = ("queued", "running")
_MEASURED: Final = (
    metrics.JOBS_UNKNOWN,
    metrics.JOBS_UNKNOWN_OLDEST,
    metrics.OPEN_BILLS,
    metrics.OPEN_BILLS_OLDEST,
    metrics.EXECUTIONS_OPEN,
    metrics.EXECUTIONS_OPEN_OLDEST,
    metrics.EXECUTIONS_LATE,
    metrics.EXECUTIONS_LATE_OLDEST,
    metrics.WEBHOOKS_PENDING,
    metrics.WEBHOOKS_PENDING_OLDEST,
    metrics.HELD_NANO_USD,
    metrics.HOLD_OLDEST,
    metrics.SERVICE_DAY_NANO_USD,
    metrics.SUBMITS_PAUSED,
    metrics.LEDGER_CHECK_TIME,
    metrics.LEDGER_CHECK_FINDINGS,
    metrics.BILL_CHECK_FINDINGS,
    metrics.BILL_DIFFERENCE_NANO_USD,
    metrics.CALLBACK_AGE,
    metrics.SPENT_UNDELIVERED,
    metrics.SPENT_UNDELIVERED_OLDEST,
)
"""Gauges that only the leader exports. Each has a label: one without could not be cleared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """Measures what only a look at the whole database or at Temporal shows."""

    client: Client
    database: Database
    limits: ConcurrencyLimits
    provider_names: Sequence[str]
    task_queues: Sequence[str]
    _startable_since: dict[ExecutionId, float] = field(
        default_factory=dict[ExecutionId, float], init=False
    )

    async def measure_jobs(self) -> None:
        """Measure unknown jobs, open bills and provider capacity; 0 for a provider without any."""
        async with self.database.as_system() as conn:
            unknown = await open_work.measure_unknown(conn)
            bills = await open_work.measure_open_bills(conn)
            await measure_providers(conn, self.provider_names)
        _set(metrics.JOBS_UNKNOWN, metrics.JOBS_UNKNOWN_OLDEST, unknown, self.provider_names)
        _set(metrics.OPEN_BILLS, metrics.OPEN_BILLS_OLDEST, bills, self.provider_names)

    async def measure_executions(self) -> None:
        """Measure open, overdue and stalled executions, and pending webhooks."""
        async with self.database.as_system() as conn:
            by_status = await open_work.measure_open_executions(conn)
            overdue = await open_work.measure_overdue(conn, self.limits)
            startable = await open_work.list_startable(conn, self.limits)
            pending = await open_work.measure_pending_webhooks(conn)
        late = {"overdue": overdue, "stalled": self._stalled(startable)}
        _set(metrics.EXECUTIONS_OPEN, metrics.EXECUTIONS_OPEN_OLDEST, by_status, OPEN_STATUSES)
        _set(metrics.EXECUTIONS_LATE, metrics.EXECUTIONS_LATE_OLDEST, late, late)
        _set(metrics.WEBHOOKS_PENDING, metrics.WEBHOOKS_PENDING_OLDEST, pending, EventType)

    def _stalled(self, startable: Sequence[ExecutionId]) -> Waiting:
        """Return how many of these were startable in the last round too, and for how long.

        The time since they were queued does not show that: they may have waited for a slot.
        """
        now = time.monotonic()
        since = {each: self._startable_since.get(each, now) for each in startable}
        self._startable_since.clear()
        self._startable_since.update(since)
        return Waiting(
            number=sum(first < now for first in since.values()),
            oldest_seconds=now - min(since.values(), default=now),
        )

    async def measure_money(self) -> None:
        """Measure holds, today's spending, pauses, and the last checks of the ledger."""
        async with self.database.as_system() as conn:
            holds = await measure_holds(conn)
            today = await get_service_today(conn)
            pauses = await list_pauses(conn)
            checks = await list_checks(conn)
        metrics.HELD_NANO_USD.clear()
        metrics.HOLD_OLDEST.clear()
        for provider in {*self.provider_names, *holds}:
            held = holds.get(provider, NO_HOLDS)
            metrics.HELD_NANO_USD.labels(provider).set(held.nano_usd)
            metrics.HOLD_OLDEST.labels(provider).set(held.oldest_seconds)
        metrics.SERVICE_DAY_NANO_USD.clear()  # the cap may have been removed
        metrics.SERVICE_DAY_NANO_USD.labels("held").set(today.held_nano_usd)
        metrics.SERVICE_DAY_NANO_USD.labels("settled").set(today.settled_nano_usd)
        if today.daily_nano_usd is not None:
            metrics.SERVICE_DAY_NANO_USD.labels("limit").set(today.daily_nano_usd)
        scopes = [pause.scope.split("/")[0] for pause in pauses]
        for scope in PAUSE_SCOPES:
            metrics.SUBMITS_PAUSED.labels(scope).set(scopes.count(scope))
        _set_checks(checks)

    async def measure_undelivered_spend(self) -> None:
        """Measure money that was spent without a delivered result."""
        async with self.database.as_system() as conn:
            measured = await measure_undelivered(conn)
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
        self._startable_since.clear()
        for gauge in _MEASURED:
            gauge.clear()
        clear_provider_gauges()


def _set(
    numbers: Gauge, ages: Gauge, measured: Mapping[str, Waiting], names: Iterable[str]
) -> None:
    """Set two gauges for each name; one that is no longer used must not keep its last value."""
    numbers.clear()
    ages.clear()
    for name in {*names, *measured}:
        waiting = measured.get(name, NONE_WAITING)
        numbers.labels(name).set(waiting.number)
        ages.labels(name).set(waiting.oldest_seconds)


def _set_checks(checks: Iterable[LedgerCheck]) -> None:
    metrics.LEDGER_CHECK_TIME.labels(LEDGER)  # 0 before the first check
    for check in checks:
        if check.bill_of is None:
            metrics.LEDGER_CHECK_TIME.labels(check.name).set(check.checked_at.timestamp())
            metrics.LEDGER_CHECK_FINDINGS.labels(check.name).set(check.findings)
        else:
            metrics.BILL_CHECK_FINDINGS.labels(check.bill_of).set(check.findings)
            metrics.BILL_DIFFERENCE_NANO_USD.labels(check.bill_of).set(
                check.difference_nano_usd or 0
            )
