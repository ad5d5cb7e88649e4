"""Admission of jobs to their provider: slots, pauses and the circuit breaker.

A job is admitted right before its intent, in the same transaction. What its create call shows about
the provider is applied after its result is committed. Nothing here decides about money: a deferred
job was certainly not sent, and a signal that is lost is learned from the next create call.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from random import random
from typing import Any, Self

import asyncpg
from temporalio import activity

from core.domain.failures import Failure, FailureCode
from core.domain.messages.jobs import SubmitJobResult, SubmitOutcome
from core.jobs.submit_results import ProviderSignal, SendResult
from core.platform.clock import boot_seconds
from core.platform.observability import metrics
from core.platform.observability.logging import get_logger
from core.platform.settings.processes import ProviderSettings
from core.platform.temporal.policies import (
    DEFERRED_MAX_SECONDS,
    SLOT_POLL_SECONDS,
    SLOT_WAIT_SECONDS,
)
from core.providers.registry import provider_pace
from core.store.database import DATABASE_DOWN, Connection, Database
from core.store.jobs.jobs import JobRecord
from core.store.providers.capacity import (
    HeldBack,
    HeldBy,
    Pace,
    Passed,
    RoomAsked,
    ask_again,
    forget_waits,
    list_states,
    lower,
    raise_again,
    take_room,
)
from core.store.providers.circuit_breaker import (
    close,
    list_tripped,
    probe_said_neither,
    trip,
    try_no_more,
)

log = get_logger(__name__)

NO_LIMIT = Pace(max_in_flight=1_000_000)
"""For providers without a setting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderAdmission:
    """Admits jobs. paces: by provider, the limits for one key over all workers."""

    paces: Mapping[str, Pace] = field(default_factory=dict[str, Pace])

    @classmethod
    def of(cls, settings: ProviderSettings, names: Iterable[str]) -> Self:
        return cls(paces={name: _pace(settings, name) for name in names})

    async def admit(self, conn: Connection, job: JobRecord) -> Passed | HeldBack:
        """Take a slot. Call it in the intent's transaction, right before the intent."""
        return await take_room(conn, self._request(job))

    async def withdraw(self, conn: Connection, job: JobRecord, admitted: Passed) -> None:
        """Return a probe in the same transaction, because nothing is sent after all."""
        if admitted.probes:
            await try_no_more(conn, job.scope, job.job_id)

    async def wait_for_slot(self, database: Database, job: JobRecord, reason: HeldBack) -> bool:
        """Wait a few seconds for a slot, in fairness order.

        Return False if the workflow has to submit again later.
        """
        if reason.by not in (HeldBy.ROOM, HeldBy.RATE) or reason.seconds > SLOT_WAIT_SECONDS:
            return False
        end = boot_seconds() + SLOT_WAIT_SECONDS
        while boot_seconds() < end and not activity.is_worker_shutdown():
            await asyncio.sleep(SLOT_POLL_SECONDS * (0.5 + random()))  # noqa: S311 - jitter
            async with database.as_system() as conn:
                if await ask_again(conn, self._request(job)) is None:
                    return True
        return False

    def deferred_result(self, job: JobRecord, reason: HeldBack) -> SubmitJobResult:
        """Return the submit result of a deferred job, with the pause before the next submit."""
        metrics.SUBMITS_HELD_BACK.labels(job.provider, reason.by.value).inc()
        failure = _refused_failure(job) if reason.by is HeldBy.BREAKER else None
        return SubmitJobResult(
            outcome=SubmitOutcome.NOT_SENT,
            held_back=True,
            retry_after_seconds=min(reason.seconds, DEFERRED_MAX_SECONDS),
            failure=failure or job.failure,
            send_number=job.send_number,
        )

    async def why_never_sent(self, conn: Connection, job: JobRecord) -> Failure:
        """Return the failure of a job that was not sent before its execution's deadline."""
        tripped = await list_tripped(conn, [job.scope])
        return _refused_failure(job) if tripped else Failure.of(FailureCode.DEADLINE_EXCEEDED)

    async def apply(
        self, database: Database, job: JobRecord, result: SendResult, admitted: Passed
    ) -> None:
        """Apply a send's signal about its provider, after the result is committed.

        Raises nothing: a signal that cannot be written is learned from the next create call.
        """
        trouble = result.provider in (ProviderSignal.REFUSES, ProviderSignal.RATE_LIMITED)
        if not trouble and not admitted.learned:
            return
        try:
            async with database.as_system() as conn:
                await self._apply(conn, job, result, admitted)
        except (*DATABASE_DOWN, asyncpg.PostgresError) as error:
            log.warning(
                "provider.signal_not_recorded", provider=job.provider, reason=repr(error)[:200]
            )

    async def _apply(
        self, conn: Connection, job: JobRecord, result: SendResult, admitted: Passed
    ) -> None:
        scope, pace = job.scope, self._pace(job.provider)
        if result.provider is ProviderSignal.ACCEPTS:
            if admitted.probes and await close(conn, scope, job.job_id):
                log.warning("provider.breaker_closed", provider=scope)
            await raise_again(conn, scope, pace)
        elif result.provider is ProviderSignal.REFUSES and result.failure is not None:
            code, status = result.failure.code, result.answer.status_code
            tripped = await trip(conn, scope, job.job_id, code, status)
            if tripped.fresh:
                _report_trip(job, code, status, tripped.seconds)
        elif result.provider is not ProviderSignal.UNKNOWN:
            if result.provider is ProviderSignal.RATE_LIMITED:
                lowered = await lower(conn, scope, pace, result.answer.retry_after_seconds)
                log.info("provider.rate_limited", provider=scope, **asdict(lowered))
            if admitted.probes:
                await probe_said_neither(conn, scope, job.job_id)

    def _pace(self, provider: str) -> Pace:
        return self.paces.get(provider, NO_LIMIT)

    def _request(self, job: JobRecord) -> RoomAsked:
        return RoomAsked(
            scope=job.scope,
            job_id=job.job_id,
            user_id=job.user_id,
            continuing=job.parameters.image is not None,
            pace=self._pace(job.provider),
        )


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


def _refused_failure(job: JobRecord) -> Failure:
    """Return the failure of a job that is not sent because the breaker of its key is open."""
    own = job.provider_key_id is not None
    return Failure.of(
        FailureCode.PROVIDER_KEY_REFUSED if own else FailureCode.PROVIDER_NOT_ACCEPTING
    )


def _pace(settings: ProviderSettings, name: str) -> Pace:
    limits = provider_pace(settings, name)
    return Pace(max_in_flight=limits.max_in_flight, submits_per_second=limits.submits_per_second)


def submit_rate(settings: ProviderSettings, name: str) -> float | None:
    """Return the rate limit of a provider's submit queue, over all workers; None: no limit."""
    return provider_pace(settings, name).submits_per_second


async def measure_providers(conn: Connection, names: Iterable[str]) -> None:
    """Set the gauges of provider capacity with the service's keys. Call it as system.

    Jobs in flight are counted with any key.
    """
    await forget_waits(conn)
    states = {state.provider: state for state in await list_states(conn)}
    in_flight = Counter[str]()
    for scope, state in states.items():
        in_flight[scope.partition("/")[0]] += state.in_flight
    clear_provider_gauges()
    for name in {*names, *in_flight}:
        state = states.get(name)
        metrics.BREAKER_OPEN.labels(name).set(state is not None and state.tripped_at is not None)
        metrics.IN_FLIGHT.labels(name).set(in_flight[name])
        metrics.LOWERED_IN_FLIGHT.labels(name).set(
            (state.max_in_flight or 0) if state is not None else 0
        )
        metrics.LOWERED_RATE.labels(name).set(
            (state.submits_per_second or 0) if state is not None else 0
        )


def clear_provider_gauges() -> None:
    """Clear the gauges in a process that no longer leads."""
    for gauge in (
        metrics.BREAKER_OPEN,
        metrics.IN_FLIGHT,
        metrics.LOWERED_IN_FLIGHT,
        metrics.LOWERED_RATE,
    ):
        gauge.clear()
