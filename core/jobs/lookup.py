"""Find: a send whose answer is not known is looked up, never sent again."""

from dataclasses import dataclass
from random import random

from core.domain.failures import Failure, FailureCode
from core.domain.ids import ProviderKeyId
from core.domain.messages.jobs import FindJobResult, FindOutcome, JobRef
from core.domain.states import JobState
from core.jobs import poll_schedule as pacing
from core.jobs.key_ring import KeyRing
from core.jobs.offers import known_model
from core.jobs.wakeups import Wakeups
from core.platform.observability import metrics
from core.platform.observability.logging import get_logger
from core.platform.temporal.heartbeats import pause
from core.providers.port import (
    CreateRequest,
    FindAnswer,
    Lookup,
    Provider,
    ProviderUnavailableError,
)
from core.providers.registry import Providers
from core.store.database import Connection, Database
from core.store.jobs.jobs import (
    JobRecord,
    SendRecord,
    get_job,
    get_send,
    has_twin,
    list_owned,
    mark_job_ended,
    mark_send_answered,
    mark_submitted,
    mark_unknown,
    mark_waiting,
)

log = get_logger(__name__)
OPEN_QUESTION = (JobState.SUBMITTING, JobState.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finder:
    database: Database
    providers: Providers
    wakeups: Wakeups
    keys: KeyRing

    async def find(self, ref: JobRef) -> FindJobResult:
        """Until something is known, or nothing more is to be expected. Woken by a callback and by a
        cancel.
        """
        with self.wakeups.of(ref.job_id) as wake:
            looks = 0
            while True:
                async with self.database.as_user(ref.user_id) as conn:
                    job = await get_job(conn, ref.job_id)
                    if job.state not in OPEN_QUESTION:
                        return _meanwhile(job)
                    await mark_unknown(conn, ref.job_id, job.send_number)
                    send = await get_send(conn, ref.job_id, job.send_number)
                provider = await self.keys.of_job(self.providers, job)
                asked_for_seconds = 0.0
                try:
                    found = (
                        await self._look(provider, ref, job, send) if provider is not None else None
                    )
                except ProviderUnavailableError as error:
                    metrics.PROVIDER_CALLS.labels(job.provider, "list", "unavailable").inc()
                    log.info("look-up failed", job_id=ref.job_id, reason=str(error))
                    asked_for_seconds = error.retry_after_seconds
                else:
                    if found is not None:
                        return found
                horizon = self._horizon_seconds(job) if provider is not None else 0.0
                if pacing.find_is_over(
                    job, send_age_seconds=send.age_seconds, horizon_seconds=horizon
                ):
                    return await self._give_up(ref)
                looks += 1
                seconds = pacing.jittered(pacing.find_seconds(job, looks), random())  # noqa: S311 - only spreads
                await pause(pacing.not_sooner(seconds, asked_for_seconds), wake)

    async def _look(
        self, provider: Provider, ref: JobRef, job: JobRecord, send: SendRecord
    ) -> FindJobResult | None:
        """One look at the provider's list. None: still not known.
        Raises ProviderUnavailableError.
        """
        answer = await provider.find(
            Lookup(request=CreateRequest(**send.request), sent_at=send.sent_at)
        )
        metrics.PROVIDER_CALLS.labels(job.provider, "list", "answered").inc()
        async with (
            self.database.as_system() as conn
        ):  # the id may be another user's: providers do not know our users
            owned = await list_owned(
                conn, job.provider, [match.provider_job_id for match in answer.matches]
            )
            ambiguous = await has_twin(conn, ref.job_id, job.send_number)
        async with self.database.as_user(ref.user_id) as conn:
            free = [match for match in answer.matches if match.provider_job_id not in owned]
            if (
                len(free) == 1
                and not ambiguous
                and await mark_submitted(conn, ref.job_id, job.send_number, free[0])
            ):
                provider_job_id = free[0].provider_job_id
                await mark_send_answered(
                    conn, ref.job_id, send.number, "found", provider_job_id=provider_job_id
                )
                log.info("an unknown send was found", job_id=ref.job_id, send=send.number)
                return FindJobResult(
                    outcome=FindOutcome.FOUND,
                    send_number=send.number,
                    provider_job_id=provider_job_id,
                    provider_key_id=job.provider_key_id,
                )
            if not free and self._certain(job, send, answer):
                return await _absent(conn, ref, send.number, job.provider_key_id)
        return None

    def _certain(self, job: JobRecord, send: SendRecord, answer: FindAnswer) -> bool:
        """Whether a list without the send means that it was never accepted. A model taken out has
        no horizon.
        """
        horizon_seconds = self._horizon_seconds(job)
        return answer.authoritative and 0 < horizon_seconds < send.age_seconds

    def _horizon_seconds(self, job: JobRecord) -> float:
        """0 for a model that was taken out: no look can bring certainty."""
        found = known_model(self.providers, job)
        return found[0].certainty_horizon_seconds(found[1]) if found is not None else 0.0

    async def _give_up(self, ref: JobRef) -> FindJobResult:
        """Nobody knows, and nobody will soon. The job has failed; its hold stays, and the sweep
        keeps looking.
        """
        failure = Failure.of(FailureCode.SUBMISSION_UNKNOWN)
        async with self.database.as_user(ref.user_id) as conn:
            if not await mark_job_ended(
                conn, ref.job_id, JobState.FAILED, failure, expected=OPEN_QUESTION
            ):
                return _meanwhile(await get_job(conn, ref.job_id))
            job = await get_job(conn, ref.job_id)
        log.error("a send could not be found", execution_id=ref.execution_id, job_id=ref.job_id)
        return FindJobResult(
            outcome=FindOutcome.GIVEN_UP,
            failure=failure,
            send_number=job.send_number,
            provider_key_id=job.provider_key_id,
        )


async def _absent(
    conn: Connection, ref: JobRef, number: int, provider_key_id: ProviderKeyId | None
) -> FindJobResult | None:
    if not await mark_waiting(conn, ref.job_id, number):
        return None
    await mark_send_answered(conn, ref.job_id, number, "absent")
    log.info("an unknown send was never accepted", job_id=ref.job_id, send=number)
    return FindJobResult(
        outcome=FindOutcome.ABSENT, send_number=number, provider_key_id=provider_key_id
    )


def _meanwhile(job: JobRecord) -> FindJobResult:
    """Somebody else has found out."""
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
