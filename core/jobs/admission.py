"""What stands between a job and its provider: room, pauses, the breaker. Before the intent, and
after the answer.

Nothing here decides about money: who is held back has certainly not sent, and what cannot be noted
is learned from the next answer.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from random import random
from typing import Any, Self

import asyncpg
from temporalio import activity

from core.domain.failures import TRIPS_A_BREAKER, Failure, FailureCode
from core.domain.messages.jobs import SubmitJobResult, SubmitOutcome
from core.platform.clock import boot_seconds
from core.platform.observability import metrics
from core.platform.observability.logging import get_logger
from core.platform.settings.providers import ProviderSettings
from core.platform.temporal.policies import (
    HELD_BACK_MAX_SECONDS,
    ROOM_LOOK_SECONDS,
    ROOM_WAIT_SECONDS,
)
from core.providers.port import CreateAnswer, CreateOutcome
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
class ProviderGate:
    """paces: per provider, what may run there with one key at once, and be sent in a second, over
    all workers.
    """

    paces: Mapping[str, Pace] = field(default_factory=dict[str, Pace])

    @classmethod
    def of(cls, settings: ProviderSettings, names: Iterable[str]) -> Self:
        return cls(paces={name: _pace(settings, name) for name in names})

    async def take(self, conn: Connection, job: JobRecord) -> Passed | HeldBack:
        """In the transaction of the intent, right before it."""
        return await take_room(conn, self._asked(job))

    async def give_back(self, conn: Connection, job: JobRecord, passed: Passed) -> None:
        """In the same transaction: nothing is sent after all."""
        if passed.probes:
            await try_no_more(conn, job.scope, job.job_id)

    async def opens(self, database: Database, job: JobRecord, held: HeldBack) -> bool:
        """Wait a little for room, in the order of those who wait. False: it is for the workflow to
        come again.
        """
        if held.by not in (HeldBy.ROOM, HeldBy.RATE) or held.seconds > ROOM_WAIT_SECONDS:
            return False
        end = boot_seconds() + ROOM_WAIT_SECONDS
        while boot_seconds() < end and not activity.is_worker_shutdown():
            await asyncio.sleep(ROOM_LOOK_SECONDS * (0.5 + random()))  # noqa: S311 - only spreads
            async with database.as_system() as conn:
                if await ask_again(conn, self._asked(job)) is None:
                    return True
        return False

    def held_back(self, job: JobRecord, held: HeldBack) -> SubmitJobResult:
        """What the workflow is told: nothing was sent, and when it is of use to ask again."""
        metrics.SUBMITS_HELD_BACK.labels(job.provider, held.by.value).inc()
        failure = _why_not(job) if held.by is HeldBy.BREAKER else None
        return SubmitJobResult(
            outcome=SubmitOutcome.NOT_SENT,
            held_back=True,
            retry_after_seconds=min(held.seconds, HELD_BACK_MAX_SECONDS),
            failure=failure or job.failure,
            send_number=job.send_number,
        )

    async def why_never_sent(self, conn: Connection, job: JobRecord) -> Failure:
        """Of a job that was not tried before its execution's deadline."""
        refuses = await list_tripped(conn, [job.scope])
        return _why_not(job) if refuses else Failure.of(FailureCode.DEADLINE_EXCEEDED)

    async def learn(
        self, database: Database, job: JobRecord, answer: CreateAnswer, passed: Passed
    ) -> None:
        """What a create call's answer says of its provider, once the answer itself is committed.
        Raises nothing.
        """
        try:
            async with database.as_system() as conn:
                await self._learn(conn, job, answer, passed)
        except (*DATABASE_DOWN, asyncpg.PostgresError) as error:
            log.warning(
                "what a provider let us know was not noted",
                provider=job.provider,
                reason=repr(error)[:200],
            )

    async def _learn(
        self, conn: Connection, job: JobRecord, answer: CreateAnswer, passed: Passed
    ) -> None:
        scope, pace = job.scope, self._pace(job.provider)
        code = answer.failure.code if answer.failure is not None else None
        if answer.outcome is CreateOutcome.ACCEPTED:
            if passed.probes and await close(conn, scope, job.job_id):
                log.warning("a provider accepts again: its breaker is closed", provider=scope)
            await raise_again(conn, scope, pace)
        elif code is not None and code in TRIPS_A_BREAKER:
            tripped = await trip(conn, scope, job.job_id, code, answer.status_code)
            if tripped.fresh:
                _tell(job, code, answer.status_code, tripped.seconds)
        elif answer.outcome is CreateOutcome.NOT_ACCEPTED:
            if code is FailureCode.PROVIDER_RATE_LIMITED:
                left = await lower(conn, scope, pace, answer.retry_after_seconds)
                log.info("a provider limits our rate", provider=scope, **asdict(left))
            if passed.probes:
                await probe_said_neither(conn, scope, job.job_id)

    def teaches(self, answer: CreateAnswer, passed: Passed) -> bool:
        """Whether there is anything to note: of most answers, and of all where nothing is wrong,
        there is not.
        """
        refused = answer.failure is not None and (
            answer.failure.code in TRIPS_A_BREAKER
            or answer.failure.code is FailureCode.PROVIDER_RATE_LIMITED
        )
        return refused or passed.learned

    def _pace(self, provider: str) -> Pace:
        return self.paces.get(provider, NO_LIMIT)

    def _asked(self, job: JobRecord) -> RoomAsked:
        return RoomAsked(
            scope=job.scope,
            job_id=job.job_id,
            user_id=job.user_id,
            continuing=job.parameters.image is not None,
            pace=self._pace(job.provider),
        )


def _tell(job: JobRecord, code: FailureCode, status: int | None, seconds: float) -> None:
    """The operator, if it is the service's own key; a user is told by the execution that has
    failed.
    """
    metrics.BREAKER_TRIPS.labels(job.provider, code.value).inc()
    told: dict[str, Any] = {
        "provider": job.scope,
        "code": code,
        "status": status,
        "next_try_seconds": round(seconds),
    }
    if job.provider_key_id is not None:
        log.info(
            "a provider refuses a user's own key: nothing more is sent with it but one try now and then",
            **told,
        )
    else:
        log.error(
            "a provider refuses this service: nothing more is sent there but one try now and then",
            **told,
        )


def _why_not(job: JobRecord) -> Failure:
    """Of a job that is not tried, since what was sent with this key was refused."""
    own = job.provider_key_id is not None
    return Failure.of(
        FailureCode.PROVIDER_KEY_REFUSED if own else FailureCode.PROVIDER_NOT_ACCEPTING
    )


def _pace(settings: ProviderSettings, name: str) -> Pace:
    set_ = provider_pace(settings, name)
    return Pace(max_in_flight=set_.max_in_flight, submits_per_second=set_.submits_per_second)


def submit_paces(
    settings: ProviderSettings, names: Iterable[str]
) -> list[tuple[str, dict[str, Any]]]:
    """How a worker asks Temporal to pace each provider's submit queue, over all workers; nothing
    where it is not.
    """
    rates = [(name, provider_pace(settings, name).submits_per_second) for name in names]
    return [
        (name, {} if rate is None else {"max_task_queue_activities_per_second": rate})
        for name, rate in rates
    ]


async def measure_providers(conn: Connection, names: Iterable[str]) -> None:
    """The gauges of what providers let us do with the service's own keys; in flight with any. As
    system.
    """
    await forget_waits(conn)
    states = {state.provider: state for state in await list_states(conn)}
    in_flight = Counter[str]()
    for scope, state in states.items():
        in_flight[scope.partition("/")[0]] += state.in_flight
    forget_providers()
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


def forget_providers() -> None:
    for gauge in (
        metrics.BREAKER_OPEN,
        metrics.IN_FLIGHT,
        metrics.LOWERED_IN_FLIGHT,
        metrics.LOWERED_RATE,
    ):
        gauge.clear()
