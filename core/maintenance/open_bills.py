"""Settlement of bills that were open when their job ended, and of orphans.

A bill is open after a time-out, an unknown send or a terminated workflow. It is looked at until the
provider's cost is known, or until the send is proven to be absent.
"""

import time
from collections import OrderedDict
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Final

import asyncpg

from core.domain.failures import Failure, FailureCode
from core.domain.ids import JobId, ProviderJobId
from core.domain.messages.jobs import JobRef, ProviderHandle
from core.domain.states import JobState
from core.jobs.key_ring import KeyRing, known_model
from core.jobs.lookups.absence import AbsenceProof
from core.jobs.lookups.lookup import lookup_of
from core.jobs.provider_reads import ProviderReads
from core.jobs.settlement import real_cost
from core.platform.clock import ClockOffset
from core.platform.observability import metrics
from core.platform.observability.logging import get_logger
from core.providers.port import (
    FindAnswer,
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
    get_job,
    list_owned,
    lock_job,
    mark_cancel_sent,
    mark_job_ended,
    mark_late_handle,
    mark_reported,
)
from core.store.jobs.orphans import record_orphan
from core.store.jobs.sends import SendRecord, get_send, has_identical_open_send, read_clock
from core.store.money.charges import ChargeConflictError, release_hold
from core.store.money.settlement import record_cost

log = get_logger(__name__)

PAGE: Final = 50
MAX_PROOFS: Final = 10_000
"""Sends whose looks are kept in memory between rounds."""
SLOW_SECONDS: Final = 5.0
"""A call of a provider that takes longer is not made again in the same round."""
UNSETTLEABLE: Final = (
    LookupError,
    ValueError,
    TypeError,
    ChargeConflictError,
    asyncpg.IntegrityConstraintViolationError,
)


class _Call(StrEnum):
    STATUS = "status"
    LIST = "list"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    """Calls that failed or were slow in this round and are not made again in it.

    An unavailable list does not prevent status calls, and a refused key does not prevent calls with
    another key.
    """

    unavailable: set[tuple[str, _Call]] = field(default_factory=set[tuple[str, _Call]])
    slow: set[tuple[str, _Call]] = field(default_factory=set[tuple[str, _Call]])

    def skips(self, job: JobRecord, call: _Call) -> bool:
        return (job.provider, call) in self.slow or (job.scope, call) in self.unavailable

    @contextmanager
    def observe(self, job: JobRecord, call: _Call) -> Generator[None]:
        """Record how a provider call in the context went."""
        began = time.monotonic()
        try:
            yield
        except ProviderUnavailableError as error:
            if not error.not_found:  # otherwise the provider answers, and lacks only this job
                self.unavailable.add((job.scope, call))
            raise
        finally:
            if time.monotonic() - began > SLOW_SECONDS:
                self.slow.add((job.provider, call))


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBillSettler:
    """Settles open bills with the provider's cost, or releases their holds."""

    database: Database
    providers: Providers
    keys: KeyRing
    _proofs: OrderedDict[tuple[JobId, int], AbsenceProof] = field(
        default_factory=OrderedDict[tuple[JobId, int], AbsenceProof], init=False, repr=False
    )

    @property
    def _reads(self) -> ProviderReads:
        return ProviderReads.of(self.database, self.providers)

    async def settle(self) -> None:
        """Look once at each open bill that is due; safe to repeat.

        The state of an ended job does not change: only its money and its report are completed.
        """
        async with self.database.as_system() as conn:
            bills = await take_open_bills(conn, limit=PAGE)
        current_round = _Round()
        for bill in bills:
            job_id = bill.ref.job_id
            try:
                await self._process(bill.ref, current_round)
            except ProviderUnavailableError as error:
                log.info(
                    "open_bill.read_failed",
                    job_id=job_id,
                    provider=bill.provider,
                    reason=str(error),
                )
            except UNSETTLEABLE as error:
                log.error("open_bill.settlement_failed", job_id=job_id, reason=repr(error))  # noqa: TRY400 - no trace

    async def _process(self, ref: JobRef, current_round: _Round) -> None:
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
        if job.handle is not None:
            await self._settle_known(ref, job, job.handle, current_round)
        else:
            await self._search_send(ref, job, current_round)

    async def _settle_known(
        self, ref: JobRef, job: JobRecord, handle: ProviderHandle, current_round: _Round
    ) -> None:
        """Settle a job whose id at the provider is known."""
        known = known_model(self.providers, job)
        if known is None:
            return
        report = job.report
        if report is None:
            provider = await self.keys.of_job(self.providers, job)
            if provider is None or current_round.skips(job, _Call.STATUS):
                return
            with current_round.observe(job, _Call.STATUS):
                await self._reads.admit(job.scope)
                report = await provider.status(handle)
            if not report.state.ended:
                await self._cancel_abandoned(ref, job, provider, handle, current_round)
                return
        async with self.database.as_system() as conn:
            send = await get_send(conn, ref.job_id, job.send_number)
            cost = real_cost(*known, send, report)
            await mark_reported(conn, ref.job_id, report)
            await mark_job_ended(
                conn, ref.job_id, report.state, report.failure, expected=(JobState.SUBMITTED,)
            )
            settlement = await record_cost(conn, ref.job_id, cost.nano_usd, cost.basis)
        if not settlement.repeated:
            metrics.COST_NANO_USD.labels(job.provider, job.model).inc(cost.nano_usd)
            log.info("open_bill.settled", job_id=ref.job_id, settled_nano_usd=cost.nano_usd)

    async def _cancel_abandoned(
        self,
        ref: JobRef,
        job: JobRecord,
        provider: Provider,
        handle: ProviderHandle,
        current_round: _Round,
    ) -> None:
        """Cancel, once, a job that still runs although no execution waits for it.

        A later round reads its outcome and its cost.
        """
        if job.state is not JobState.SUBMITTED or job.cancel_sent_at is not None:
            return
        if current_round.skips(job, _Call.CANCEL):
            return
        async with self.database.as_system() as conn:
            if not job.orphan and not await lock_ended(conn, ref.execution_id):
                return
            await mark_cancel_sent(conn, ref.job_id)
        try:
            with current_round.observe(job, _Call.CANCEL):
                await self._reads.admit(job.scope)
                outcome = await provider.cancel(handle)
        except ProviderUnavailableError as error:
            metrics.PROVIDER_CALLS.labels(job.provider, "cancel", "unavailable").inc()
            log.warning("open_bill.cancel_failed", job_id=ref.job_id, reason=str(error))
            return
        metrics.PROVIDER_CALLS.labels(job.provider, "cancel", outcome.value).inc()
        log.info("open_bill.cancel_requested", job_id=ref.job_id, outcome=outcome)

    async def _search_send(self, ref: JobRef, job: JobRecord, current_round: _Round) -> None:
        """Search a failed job's unknown send: in stored callbacks and answers, then in the list."""
        known = known_model(self.providers, job)
        if known is None or job.state is not JobState.FAILED:
            return
        async with self.database.as_system() as conn:
            reported = await list_known_ids(conn, ref.job_id)
            if await _adopt_reported(conn, ref, job, reported):
                return
            if await was_refused(conn, ref.job_id):
                await _release(conn, ref.job_id)
                return
            send = await get_send(conn, ref.job_id, job.send_number)
            clock = await read_clock(conn)
        provider = await self.keys.of_job(self.providers, job)
        if provider is None or current_round.skips(job, _Call.LIST):
            return
        with current_round.observe(job, _Call.LIST):
            answer = await provider.find(
                lookup_of(
                    send,
                    clock,
                    self.providers.looks_apart_seconds,
                    admit_page=partial(self._reads.admit, job.scope),
                )
            )
        await self._apply_list(ref, job, known, send, answer, clock)

    async def _apply_list(
        self,
        ref: JobRef,
        job: JobRecord,
        known: tuple[Provider, Model],
        send: SendRecord,
        answer: FindAnswer,
        clock: ClockOffset,
    ) -> None:
        """Adopt the one free match, or release the hold of a send that is proven absent."""
        provider, model = known
        async with self.database.as_system() as conn:
            await lock_job(conn, ref.job_id)  # a callback that arrives now waits for this decision
            owned = await list_owned(conn, job.provider, answer.job_ids)
            free = [match for match in answer.matches if match.provider_job_id not in owned]
            if len(free) == 1 and not await has_identical_open_send(
                conn, ref.job_id, job.send_number
            ):
                if await mark_late_handle(conn, ref.job_id, free[0]):
                    log.warning("open_bill.send_found", job_id=ref.job_id)
            elif free:  # several matches, or a twin: no list shows which one is this send
                _report_ambiguous(ref, [match.provider_job_id for match in free])
            elif self._proof(ref.job_id, send.number).add(
                answer,
                owned,
                clock,
                sent_until=send.sent_until,
                horizon_seconds=provider.certainty_horizon_seconds(model),
            ):
                reported = _of_send(await list_known_ids(conn, ref.job_id), job.send_number)
                if not reported:
                    await _release(conn, ref.job_id)

    def _proof(self, job_id: JobId, number: int) -> AbsenceProof:
        """Return the looks at a send's list so far; the oldest sends are forgotten first."""
        proof = self._proofs.pop((job_id, number), None) or AbsenceProof(
            apart_seconds=self.providers.looks_apart_seconds
        )
        self._proofs[job_id, number] = proof
        while len(self._proofs) > MAX_PROOFS:
            self._proofs.popitem(last=False)
        return proof


async def _release(conn: Connection, job_id: JobId) -> None:
    if await release_hold(conn, job_id):
        log.info("open_bill.absence_proven", job_id=job_id)


async def _cancel_unsent(conn: Connection, ref: JobRef) -> None:
    """Cancel a job whose send was not accepted and whose execution has ended meanwhile."""
    if await mark_job_ended(
        conn, ref.job_id, JobState.CANCELLED, None, expected=(JobState.WAITING,)
    ):
        await release_hold(conn, ref.job_id)
        log.info("open_bill.unsent_job_cancelled", job_id=ref.job_id)


async def _adopt_reported(
    conn: Connection, ref: JobRef, job: JobRecord, reported: list[tuple[int, ProviderJobId]]
) -> bool:
    """Give every id that the provider reported for this job's sends an owner.

    The first id of the current send becomes the job's own; every other becomes an orphan. Return
    whether the current send was accepted: its hold is then never released. If all its ids belong to
    other jobs, its bill stays open for an operator.
    """
    owned = await list_owned(conn, job.provider, [id_ for _, id_ in reported])
    adopted = False
    for number, provider_job_id in sorted(set(reported)):
        if provider_job_id in owned:
            continue
        handle = ProviderHandle(
            provider=job.provider, model=job.model, provider_job_id=provider_job_id
        )
        if number == job.send_number and not adopted:
            adopted = await mark_late_handle(conn, ref.job_id, handle, number=number)
            log.warning("open_bill.reported_id_adopted", job_id=ref.job_id)
        else:
            await record_orphan(conn, ref.job_id, number, handle)
    current = _of_send(reported, job.send_number)
    if current and not adopted:
        _report_ambiguous(ref, current)
    return bool(current)


def _report_ambiguous(ref: JobRef, provider_job_ids: list[ProviderJobId]) -> None:
    log.error("open_bill.operator_needed", job_id=ref.job_id, provider_job_ids=provider_job_ids)


def _of_send(reported: list[tuple[int, ProviderJobId]], number: int) -> list[ProviderJobId]:
    return [provider_job_id for send, provider_job_id in reported if send == number]
