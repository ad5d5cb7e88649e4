"""Look-up of a send whose outcome is unknown: it is searched at the provider and never re-sent."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import random

from temporalio import activity

from core.domain.failures import Failure, FailureCode
from core.domain.ids import ProviderKeyId
from core.domain.messages.jobs import FindJobResult, FindOutcome, JobRef
from core.domain.states import JobState
from core.jobs.key_ring import KeyRing, known_model
from core.jobs.lookups.absence import AbsenceProof
from core.jobs.provider_reads import ProviderReads
from core.jobs.waiting import poll_schedule
from core.jobs.waiting.wakeups import Wakeups
from core.platform.clock import ClockOffset, boot_seconds
from core.platform.observability import metrics
from core.platform.observability.logging import get_logger
from core.platform.temporal.heartbeats import heartbeats, sleep_with_heartbeats
from core.providers.port import (
    CreateRequest,
    Lookup,
    Provider,
    ProviderUnavailableError,
)
from core.providers.registry import Providers
from core.store.database import Connection, Database
from core.store.jobs.jobs import JobRecord, get_job, list_owned, mark_job_ended
from core.store.jobs.sends import (
    SendRecord,
    get_send,
    has_identical_open_send,
    has_later_send,
    mark_send_answered,
    mark_submitted,
    mark_unknown,
    mark_waiting,
    read_clock,
)

log = get_logger(__name__)
UNDECIDED = (JobState.SUBMITTING, JobState.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLookup:
    """Searches providers' lists for sends of unknown outcome."""

    database: Database
    providers: Providers
    wakeups: Wakeups
    keys: KeyRing
    reads: ProviderReads

    async def find(self, ref: JobRef) -> FindJobResult:
        """Look until the outcome is known, or until no look can bring it any more.

        A callback or a cancel ends a pause early. A lost try leaves its looks to the next one.
        """
        with self.wakeups.of(ref.job_id) as wake:
            looks, search = 0, None
            while True:
                async with self.database.as_user(ref.user_id) as conn:
                    job = await get_job(conn, ref.job_id)
                    if job.state not in UNDECIDED:
                        return _decided_elsewhere(job)
                    await mark_unknown(conn, ref.job_id, job.send_number)
                    send = await get_send(conn, ref.job_id, job.send_number)
                    clock = await read_clock(conn)
                if search is None or search.number != send.number:
                    looks, search = 0, self._search(send.number, clock)
                provider = await self.keys.of_job(self.providers, job)
                look = _Look(ref=ref, job=job, send=send, clock=clock, proof=search.proof)
                async with heartbeats(search.details):
                    result, unread = await self._try_read_list(provider, look)
                if result is not None:
                    return result
                due_seconds = search.due_seconds
                horizon = self._horizon_seconds(job) if provider is not None else 0.0
                if poll_schedule.find_is_over(
                    job,
                    send_age_seconds=send.age_seconds,
                    horizon_seconds=horizon + self.providers.looks_apart_seconds,
                    due_seconds=due_seconds,
                    unread=unread is not None,
                ):
                    return await self._give_up(ref)
                looks += 1
                pause = poll_schedule.jittered(poll_schedule.find_seconds(job, looks), random())  # noqa: S311 - jitter
                if due_seconds is not None:
                    pause = poll_schedule.until_due(pause, due_seconds)
                if unread is not None:
                    pause = poll_schedule.at_least(pause, unread.retry_after_seconds)
                await sleep_with_heartbeats(pause, wake, search.details)

    def _search(self, number: int, clock: ClockOffset) -> "_Search":
        """Return the search for a send, with the looks of an earlier try."""
        details = activity.info().heartbeat_details
        apart_seconds = self.providers.looks_apart_seconds
        proof = AbsenceProof.resumed(details, number, clock, apart_seconds)
        return _Search(number=number, proof=proof)

    async def _try_read_list(
        self, provider: Provider | None, look: "_Look"
    ) -> tuple[FindJobResult | None, ProviderUnavailableError | None]:
        """Look once; also return why the list could not be read, if it could not."""
        if provider is None:
            return None, None
        try:
            return await self._read_list(provider, look), None
        except ProviderUnavailableError as error:
            metrics.PROVIDER_CALLS.labels(look.job.provider, "list", "unavailable").inc()
            log.info("send.lookup_failed", job_id=look.ref.job_id, reason=str(error))
            return None, error

    async def _read_list(self, provider: Provider, look: "_Look") -> FindJobResult | None:
        """Read the provider's list once. Return None while the outcome stays unknown.

        Raises ProviderUnavailableError.
        """
        ref, job, send = look.ref, look.job, look.send
        answer = await provider.find(
            lookup_of(
                send,
                look.clock,
                look.proof.apart_seconds,
                admit_page=partial(self.reads.admit, job.scope),
            )
        )
        metrics.PROVIDER_CALLS.labels(job.provider, "list", "answered").inc()
        # As system: a match may belong to another user, which the provider cannot distinguish.
        async with self.database.as_system() as conn:
            owned = await list_owned(conn, job.provider, answer.job_ids)
            caught_up = await has_later_send(
                conn, ref.job_id, send.number, job.provider, answer.later
            )
            ambiguous = await has_identical_open_send(conn, ref.job_id, job.send_number)
        async with self.database.as_user(ref.user_id) as conn:
            free = [match for match in answer.matches if match.provider_job_id not in owned]
            unambiguous = answer.interchangeable or (len(free) == 1 and not ambiguous)
            if (
                free
                and unambiguous
                and await mark_submitted(conn, ref.job_id, job.send_number, free[0])
            ):
                provider_job_id = free[0].provider_job_id
                await mark_send_answered(
                    conn, ref.job_id, send.number, "found", provider_job_id=provider_job_id
                )
                log.info("send.found", job_id=ref.job_id, send=send.number)
                return FindJobResult(
                    outcome=FindOutcome.FOUND,
                    send_number=send.number,
                    provider_job_id=provider_job_id,
                    provider_key_id=job.provider_key_id,
                )
            if not free and look.proof.add(
                answer,
                owned,
                look.clock,
                sent_until=send.sent_until,
                horizon_seconds=self._horizon_seconds(job),
                settled_seconds=self._settled_seconds(job) if caught_up else None,
            ):
                return await _record_absent(conn, ref, send.number, job.provider_key_id)
        lacks = "an unambiguous match" if free else look.proof.lacks
        log.info("send.lookup_inconclusive", job_id=ref.job_id, send=send.number, lacks=lacks)
        return None

    def _horizon_seconds(self, job: JobRecord) -> float:
        """Return the provider's horizon; 0 for a removed model, whose absence cannot be proven."""
        known = known_model(self.providers, job)
        return known[0].certainty_horizon_seconds(known[1]) if known is not None else 0.0

    def _settled_seconds(self, job: JobRecord) -> float | None:
        """Return the horizon without the list's lag; None for a removed model."""
        known = known_model(self.providers, job)
        return known[0].settled_seconds(known[1]) if known is not None else None

    async def _give_up(self, ref: JobRef) -> FindJobResult:
        """Fail the job with its outcome unknown. Its hold stays; the reconciler keeps looking."""
        failure = Failure.of(FailureCode.SUBMISSION_UNKNOWN)
        async with self.database.as_user(ref.user_id) as conn:
            if not await mark_job_ended(
                conn, ref.job_id, JobState.FAILED, failure, expected=UNDECIDED
            ):
                return _decided_elsewhere(await get_job(conn, ref.job_id))
            job = await get_job(conn, ref.job_id)
        log.error("send.not_found", execution_id=ref.execution_id, job_id=ref.job_id)
        return FindJobResult(
            outcome=FindOutcome.GIVEN_UP,
            failure=failure,
            send_number=job.send_number,
            provider_key_id=job.provider_key_id,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """The search for one send of a job. number: of the send."""

    number: int
    proof: AbsenceProof

    @property
    def due_seconds(self) -> float | None:
        """Return the time until a look can prove the absence; None: not known."""
        due_at = self.proof.due_at
        return due_at - boot_seconds() if due_at is not None else None

    @property
    def details(self) -> Sequence[object]:
        return self.proof.to_details(self.number)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """One look for a send. clock: the database's. proof: shared by the looks of a search."""

    ref: JobRef
    job: JobRecord
    send: SendRecord
    clock: ClockOffset
    proof: AbsenceProof


def lookup_of(
    send: SendRecord,
    clock: ClockOffset,
    looks_apart_seconds: float,
    *,
    admit_page: Callable[[], Awaitable[None]],
) -> Lookup:
    """Return the look-up of a send. clock: the database's, read just before."""
    return Lookup(
        request=CreateRequest(**send.request),
        sent_from=send.sent_from,
        sent_until=send.sent_until,
        clock=clock,
        list_age_seconds=looks_apart_seconds / 2,
        admit_page=admit_page,
    )


async def _record_absent(
    conn: Connection, ref: JobRef, number: int, provider_key_id: ProviderKeyId | None
) -> FindJobResult | None:
    if not await mark_waiting(conn, ref.job_id, number):
        return None
    await mark_send_answered(conn, ref.job_id, number, "absent")
    log.info("send.absence_proven", job_id=ref.job_id, send=number)
    return FindJobResult(
        outcome=FindOutcome.ABSENT, send_number=number, provider_key_id=provider_key_id
    )


def _decided_elsewhere(job: JobRecord) -> FindJobResult:
    """Return the outcome that another process wrote to the job's row."""
    if job.state is JobState.WAITING:
        return FindJobResult(
            outcome=FindOutcome.ABSENT,
            failure=job.failure,
            send_number=job.send_number,
            provider_key_id=job.provider_key_id,
        )
    return FindJobResult(
        outcome=FindOutcome.FOUND if job.state is JobState.SUBMITTED else FindOutcome.ENDED,
        failure=job.failure,
        send_number=job.send_number,
        provider_job_id=job.handle.provider_job_id if job.handle is not None else None,
        provider_key_id=job.provider_key_id,
    )
