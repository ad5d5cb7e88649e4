"""Admission of jobs to their provider: slots, pauses and the circuit breaker.

A job is admitted right before its intent, in the same transaction. What its create call shows about
the provider is applied after its result is committed. Nothing here decides about money: a deferred
job was certainly not sent, and a signal that is lost is learned from the next create call.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import random
from typing import Any, Self

import asyncpg
from temporalio import activity

from core.domain.failures import Failure, FailureCode
from core.domain.messages.jobs import SubmitJobResult, SubmitOutcome
from core.jobs.submission.submit_results import ProviderSignal, SendResult
from core.platform.clock import boot_seconds
from core.platform.observability import metrics
from core.platform.observability.logging import get_logger
from core.platform.settings.providers import ProviderSettings
from core.platform.temporal.policies import (
    DEFERRED_MAX_SECONDS,
    SLOT_POLL_SECONDS,
)
from core.providers.registry import provider_pace
from core.store.database import DATABASE_DOWN, Connection, Database
from core.store.jobs.jobs import JobRecord
from core.store.providers.capacity import (
    Admitted,
    Deferral,
    DeferredBy,
    SlotRequest,
    check_slot,
    delete_stale_capacity,
    list_states,
    pause_scope,
    reserve_send,
    take_slot,
)
from core.store.providers.circuit_breaker import (
    close,
    list_tripped,
    release_probe,
    trip,
    withdraw_probe,
)
from core.store.providers.provider_queues import measure_provider_queues

log = get_logger(__name__)

NO_LIMIT = 1_000_000
"""The slots of a provider without a setting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderAdmission:
    """Admits jobs. By provider and for each key over all workers: its slots, and its send rate.

    Temporal keeps the rate of the service's key on its task queue. A provider without a rate has no
    limit.
    """

    max_in_flight: Mapping[str, int] = field(default_factory=dict[str, int])
    submits_per_second: Mapping[str, float] = field(default_factory=dict[str, float])

    @classmethod
    def of(cls, settings: ProviderSettings, names: Iterable[str]) -> Self:
        paces = {name: provider_pace(settings, name) for name in names}
        return cls(
            max_in_flight={name: pace.max_in_flight for name, pace in paces.items()},
            submits_per_second={
                name: pace.submits_per_second
                for name, pace in paces.items()
                if pace.submits_per_second is not None
            },
        )

    async def measure_queues(self, database: Database) -> None:
        """Measure what waits for each provider, for the admission of new orders."""
        async with database.as_system() as conn:
            await measure_provider_queues(conn, self.max_in_flight)

    async def admit(self, conn: Connection, job: JobRecord) -> Admitted | Deferral:
        """Take a slot. Call it in the intent's transaction, right before the intent."""
        return await take_slot(conn, self._request(job))

    async def withdraw(self, conn: Connection, job: JobRecord, admitted: Admitted) -> None:
        """Return a probe in the same transaction, because nothing is sent after all."""
        if admitted.is_probe:
            await withdraw_probe(conn, job.scope, job.job_id)

    async def wait_for_own_rate(
        self, database: Database, job: JobRecord, *, within_seconds: float
    ) -> bool:
        """Wait until the rate of the user's own key allows a send, for at most these seconds.

        Return False if the workflow has to submit again later. The time is reserved in the key's
        row, so each send waits once and no queue of sends polls.
        """
        rate = self.submits_per_second.get(job.provider)
        if rate is None:
            return True
        async with database.as_system() as conn:
            seconds = await reserve_send(conn, job.scope, rate, within_seconds=within_seconds)
        await _sleep_until_shutdown(within_seconds if seconds is None else seconds)
        return seconds is not None and not activity.is_worker_shutdown()

    async def wait_for_slot(
        self, database: Database, job: JobRecord, reason: Deferral, *, within_seconds: float
    ) -> bool:
        """Wait for a slot, in fairness order, for at most these seconds.

        Return False if the workflow has to submit again later.
        """
        if reason.by is not DeferredBy.CAPACITY:
            return False
        end = boot_seconds() + within_seconds
        while boot_seconds() < end and not activity.is_worker_shutdown():
            await asyncio.sleep(SLOT_POLL_SECONDS * (0.5 + random()))  # noqa: S311 - jitter
            async with database.as_system() as conn:
                if await check_slot(conn, self._request(job)) is None:
                    return True
        return False

    def deferred_result(self, job: JobRecord, reason: Deferral) -> SubmitJobResult:
        """Return the submit result of a deferred job, with the pause before the next submit."""
        metrics.SUBMITS_HELD_BACK.labels(job.provider, reason.by.value).inc()
        failure = (
            refused_failure(job)
            if reason.by is DeferredBy.BREAKER
            else job.failure or Failure.of(FailureCode.QUEUE_TIMED_OUT)  # if it is never sent
        )
        return SubmitJobResult(
            outcome=SubmitOutcome.NOT_SENT,
            held_back=True,
            retry_after_seconds=min(reason.seconds, DEFERRED_MAX_SECONDS),
            failure=failure,
            send_number=job.send_number,
            own_key=job.provider_key_id is not None,
        )

    async def get_unsent_failure(self, conn: Connection, job: JobRecord) -> Failure:
        """Return the failure of a job that was not sent before its execution's deadline."""
        tripped = await list_tripped(conn, [job.scope])
        return refused_failure(job) if tripped else Failure.of(FailureCode.DEADLINE_EXCEEDED)

    async def apply(
        self, database: Database, job: JobRecord, result: SendResult, admitted: Admitted
    ) -> None:
        """Apply a send's signal about its provider, after the result is committed.

        Raises nothing: a signal that cannot be written is learned from the next create call.
        """
        trouble = result.provider in (ProviderSignal.REFUSES, ProviderSignal.RATE_LIMITED)
        if not trouble and not admitted.is_probe:
            return
        try:
            async with database.as_system() as conn:
                await self._apply(conn, job, result, admitted)
        except (*DATABASE_DOWN, asyncpg.PostgresError) as error:
            log.warning(
                "provider.signal_not_recorded", provider=job.provider, reason=repr(error)[:200]
            )

    async def _apply(
        self, conn: Connection, job: JobRecord, result: SendResult, admitted: Admitted
    ) -> None:
        scope = job.scope
        if result.provider is ProviderSignal.ACCEPTS:
            was_open = await close(conn, scope, job.job_id) if admitted.is_probe else None
            if was_open:
                log.warning("provider.breaker_closed", provider=scope)
            elif was_open is not None:
                log.info("provider.pause_ended", provider=scope)
        elif result.provider is ProviderSignal.REFUSES and result.failure is not None:
            code, status = result.failure.code, result.answer.status_code
            tripped = await trip(conn, scope, job.job_id, code, status)
            if tripped.fresh:
                _report_trip(job, code, status, tripped.seconds)
        elif result.provider is not ProviderSignal.UNKNOWN:
            if result.provider is ProviderSignal.RATE_LIMITED:
                seconds = await pause_scope(
                    conn, scope, result.answer.retry_after_seconds, job.job_id
                )
                log.info("provider.rate_limited", provider=scope, pause_seconds=round(seconds))
            if admitted.is_probe:
                await release_probe(conn, scope, job.job_id)

    def _request(self, job: JobRecord) -> SlotRequest:
        return SlotRequest(
            scope=job.scope,
            job_id=job.job_id,
            user_id=job.user_id,
            continuing=bool(job.parameters.steps),
            max_in_flight=self.max_in_flight.get(job.provider, NO_LIMIT),
        )


async def _sleep_until_shutdown(seconds: float) -> None:
    """Sleep for these seconds, or until the worker shuts down."""
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, seconds)):
            await activity.wait_for_worker_shutdown()


def _report_trip(job: JobRecord, code: FailureCode, status: int | None, seconds: float) -> None:
    """Log a trip: an error for the operator if the service's own key is refused.

    The owner of a refused user key learns of it from the execution that failed.
    """
    metrics.BREAKER_TRIPS.labels(job.provider, code.value).inc()
    fields: dict[str, Any] = {
        "provider": job.scope,
        "code": code,
        "status": status,
        "next_probe_seconds": round(seconds),
    }
    if job.provider_key_id is not None:
        log.info("provider_key.breaker_opened", **fields)
    else:
        log.error("provider.breaker_opened", **fields)


def refused_failure(job: JobRecord) -> Failure:
    """Return the failure of a job that is not sent because the breaker of its key is open."""
    own = job.provider_key_id is not None
    return Failure.of(
        FailureCode.PROVIDER_KEY_REFUSED if own else FailureCode.PROVIDER_NOT_ACCEPTING
    )


def submit_rate(settings: ProviderSettings, name: str) -> float | None:
    """Return the rate limit of a provider's submit queue, over all workers; None: no limit."""
    return provider_pace(settings, name).submits_per_second


async def measure_providers(conn: Connection, names: Iterable[str]) -> None:
    """Set the gauges of provider capacity with the service's keys. Call it as system.

    Jobs in flight are counted with any key.
    """
    await delete_stale_capacity(conn)
    states = {state.provider: state for state in await list_states(conn)}
    in_flight = Counter[str]()
    for scope, state in states.items():
        in_flight[scope.partition("/")[0]] += state.in_flight
    clear_provider_gauges()
    for name in {*names, *in_flight}:
        state = states.get(name)
        metrics.BREAKER_OPEN.labels(name).set(state is not None and state.tripped_at is not None)
        metrics.IN_FLIGHT.labels(name).set(in_flight[name])


def clear_provider_gauges() -> None:
    """Clear the gauges in a process that no longer leads."""
    for gauge in (
        metrics.BREAKER_OPEN,
        metrics.IN_FLIGHT,
    ):
        gauge.clear()
