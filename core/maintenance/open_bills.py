"""Bills that were still open when their job ended: timed out, given up while unknown, or
terminated; and orphans'.

Looked after until they close.
"""

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

import asyncpg

from core.domain.failures import Failure, FailureCode
from core.domain.ids import JobId, ProviderJobId
from core.domain.messages.jobs import JobRef, ProviderHandle
from core.domain.states import JobState
from core.jobs.costs import real_cost
from core.jobs.key_ring import KeyRing
from core.jobs.offers import known_model
from core.platform.observability import metrics
from core.platform.observability.logging import get_logger
from core.providers.port import (
    CreateRequest,
    FindAnswer,
    Lookup,
    Model,
    Provider,
    ProviderUnavailableError,
)
from core.providers.registry import Providers
from core.store.database import Connection, Database
from core.store.executions.unfinished import (
    list_known_ids,
    lock_ended,
    take_open_bills,
    was_refused,
)
from core.store.jobs.jobs import (
    JobRecord,
    SendRecord,
    get_job,
    get_send,
    has_twin,
    list_owned,
    lock_job,
    mark_cancel_sent,
    mark_job_ended,
    mark_late_handle,
    mark_reported,
)
from core.store.jobs.orphans import record_orphan
from core.store.money.charges import ChargeConflictError, release_hold
from core.store.money.settlement import record_cost

log = get_logger(__name__)

PAGE = 50
SLOW_SECONDS = 5.0
"""A provider that takes longer for one answer is not asked the like until the next round."""


class _Call(StrEnum):
    STATUS = "status"
    LIST = "list"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    """Which calls a provider has not answered in this round, or too slowly: they are not made again
    in it. A list that is away keeps nobody from a status that is not, nor one key that is
    refused anybody from asking with another.
    """

    away: set[tuple[str, _Call]] = field(default_factory=set[tuple[str, _Call]])
    slow: set[tuple[str, _Call]] = field(default_factory=set[tuple[str, _Call]])

    def is_away(self, job: JobRecord, call: _Call) -> bool:
        return (job.provider, call) in self.slow or (job.scope, call) in self.away

    @contextmanager
    def asking(self, job: JobRecord, call: _Call) -> Generator[None]:
        began = time.monotonic()
        try:
            yield
        except ProviderUnavailableError as error:
            if (
                not error.not_found
            ):  # it answers, and has forgotten this one: the others are asked for
                self.away.add((job.scope, call))
            raise
        finally:
            if time.monotonic() - began > SLOW_SECONDS:
                self.slow.add((job.provider, call))


@dataclass(frozen=True, slots=True, kw_only=True)
class LateBills:
    database: Database
    providers: Providers
    keys: KeyRing

    async def settle(self) -> None:
        """One look at each open bill that is due. What a provider does not answer, or slowly, is
        asked once in a round.

        A job that has ended stays as it is; its money and what it produced are completed.
        """
        async with self.database.as_system() as conn:
            bills = await take_open_bills(conn, limit=PAGE)
        this_round = _Round()
        for bill in bills:
            ref = bill.ref
            try:
                await self._look_at(ref, this_round)
            except ProviderUnavailableError as error:
                log.info(
                    "an open bill could not be looked up",
                    job_id=ref.job_id,
                    provider=bill.provider,
                    reason=str(error),
                )
            except (
                LookupError,
                ValueError,
                TypeError,
                ChargeConflictError,
                asyncpg.IntegrityConstraintViolationError,
            ) as error:
                log.error("an open bill cannot be settled", job_id=ref.job_id, reason=repr(error))  # noqa: TRY400 - no trace

    async def _look_at(self, ref: JobRef, this_round: _Round) -> None:
        async with self.database.as_system() as conn:
            abandoned = await lock_ended(conn, ref.execution_id)
            job = await get_job(conn, ref.job_id)
            if abandoned and job.state is JobState.WAITING:
                await _cancel_unsent(conn, ref)
                return
            if abandoned and job.state in (JobState.SUBMITTING, JobState.UNKNOWN):
                failure = Failure.of(FailureCode.SUBMISSION_UNKNOWN)
                await mark_job_ended(
                    conn, ref.job_id, JobState.FAILED, failure, expected=(job.state,)
                )
                job = await get_job(conn, ref.job_id)
        look = self._settle_known if job.handle is not None else self._look_for
        await look(ref, job, this_round)

    async def _settle_known(self, ref: JobRef, job: JobRecord, this_round: _Round) -> None:
        found = known_model(self.providers, job)
        if found is None or job.handle is None:
            return
        report = job.report
        if report is None:
            provider = await self.keys.of_job(self.providers, job)
            if provider is None or this_round.is_away(job, _Call.STATUS):
                return
            with this_round.asking(job, _Call.STATUS):
                report = await provider.status(job.handle)
            if not report.state.ended:
                await self._ask_to_end(ref, job, provider, job.handle, this_round)
                return
        async with self.database.as_system() as conn:
            send = await get_send(conn, ref.job_id, job.send_number)
            cost = real_cost(*found, send, report)
            await mark_reported(conn, ref.job_id, report)
            await mark_job_ended(
                conn, ref.job_id, report.state, report.failure, expected=(JobState.SUBMITTED,)
            )
            settlement = await record_cost(conn, ref.job_id, cost.nano_usd, cost.basis)
        if not settlement.repeated:
            metrics.COST_NANO_USD.labels(job.provider, job.model).inc(cost.nano_usd)
            log.info("an open bill was settled", job_id=ref.job_id, settled_nano_usd=cost.nano_usd)

    async def _ask_to_end(
        self,
        ref: JobRef,
        job: JobRecord,
        provider: Provider,
        handle: ProviderHandle,
        this_round: _Round,
    ) -> None:
        """Once: it still runs, and nobody waits for it. What it then did and cost is read in a
        later round.
        """
        if job.state is not JobState.SUBMITTED or job.cancel_sent_at is not None:
            return
        if this_round.is_away(job, _Call.CANCEL):
            return
        async with self.database.as_system() as conn:
            if not job.orphan and not await lock_ended(conn, ref.execution_id):
                return
            await mark_cancel_sent(conn, ref.job_id)
        try:
            with this_round.asking(job, _Call.CANCEL):
                outcome = await provider.cancel(handle)
        except ProviderUnavailableError as error:
            metrics.PROVIDER_CALLS.labels(job.provider, "cancel", "unavailable").inc()
            log.warning(
                "a job that nobody waits for could not be ended",
                job_id=ref.job_id,
                reason=str(error),
            )
            return
        metrics.PROVIDER_CALLS.labels(job.provider, "cancel", outcome.value).inc()
        log.info(
            "provider asked to end a job that nobody waits for", job_id=ref.job_id, outcome=outcome
        )

    async def _look_for(self, ref: JobRef, job: JobRecord, this_round: _Round) -> None:
        found = known_model(self.providers, job)
        if found is None or job.state is not JobState.FAILED:
            return
        async with self.database.as_system() as conn:
            known = await list_known_ids(conn, ref.job_id)
            if await _take_known(conn, ref, job, known):
                return
            if await was_refused(conn, ref.job_id):
                await _release(conn, ref.job_id)
                return
            send = await get_send(conn, ref.job_id, job.send_number)
        provider = await self.keys.of_job(self.providers, job)
        if provider is None or this_round.is_away(job, _Call.LIST):
            return
        with this_round.asking(job, _Call.LIST):
            answer = await provider.find(
                Lookup(request=CreateRequest(**send.request), sent_at=send.sent_at)
            )
        await self._book_found(ref, job, found, send, answer)

    async def _book_found(
        self,
        ref: JobRef,
        job: JobRecord,
        found: tuple[Provider, Model],
        send: SendRecord,
        answer: FindAnswer,
    ) -> None:
        provider, model = found
        async with self.database.as_system() as conn:
            await lock_job(
                conn, ref.job_id
            )  # what is learned meanwhile waits, and sees its money's end
            owned = await list_owned(
                conn, job.provider, [match.provider_job_id for match in answer.matches]
            )
            free = [match for match in answer.matches if match.provider_job_id not in owned]
            if len(free) == 1 and not await has_twin(conn, ref.job_id, job.send_number):
                if await mark_late_handle(conn, ref.job_id, free[0]):
                    log.warning("a send that was given up has been found", job_id=ref.job_id)
            elif free:  # which of them it is, or whether it is a twin's, no list can tell
                ids = [match.provider_job_id for match in free]
                log.error("an open bill needs a person", job_id=ref.job_id, provider_job_ids=ids)
            elif answer.authoritative and send.age_seconds > provider.certainty_horizon_seconds(
                model
            ):
                called_meanwhile = _of_send(await list_known_ids(conn, ref.job_id), job.send_number)
                if not called_meanwhile:
                    await _release(conn, ref.job_id)


async def _release(conn: Connection, job_id: JobId) -> None:
    if await release_hold(conn, job_id):
        log.info("a send that was given up was never accepted", job_id=job_id)


async def _cancel_unsent(conn: Connection, ref: JobRef) -> None:
    """Its send turned out to be not accepted when its execution had ended: nobody sends
    it again.
    """
    if await mark_job_ended(
        conn, ref.job_id, JobState.CANCELLED, None, expected=(JobState.WAITING,)
    ):
        await release_hold(conn, ref.job_id)
        log.info("a send of an ended execution was not accepted", job_id=ref.job_id)


async def _take_known(
    conn: Connection, ref: JobRef, job: JobRecord, known: list[tuple[int, ProviderJobId]]
) -> bool:
    """Give every id that the provider told of this job's sends its owner: the current send's first
    is the job's own, each other is an orphan's.

    True: the current send was accepted, whatever a list says. It is never released then; if its ids
    are all other jobs', its bill stays open for a person.
    """
    owned = await list_owned(conn, job.provider, [provider_job_id for _, provider_job_id in known])
    adopted = False
    for number, provider_job_id in sorted(set(known)):
        if provider_job_id in owned:
            continue
        handle = ProviderHandle(
            provider=job.provider, model=job.model, provider_job_id=provider_job_id
        )
        if number == job.send_number and not adopted:
            adopted = await mark_late_handle(conn, ref.job_id, handle, number=number)
            log.warning(
                "a send that was given up was known by its callback or answer", job_id=ref.job_id
            )
        else:
            await record_orphan(conn, ref.job_id, number, handle)
    current = _of_send(known, job.send_number)
    if current and not adopted:
        log.error("an open bill needs a person", job_id=ref.job_id, provider_job_ids=current)
    return bool(current)


def _of_send(known: list[tuple[int, ProviderJobId]], number: int) -> list[ProviderJobId]:
    return [provider_job_id for send, provider_job_id in known if send == number]
