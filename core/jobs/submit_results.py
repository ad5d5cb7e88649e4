"""What becomes of a job when a submit ends: each in the caller's transaction."""

from dataclasses import replace

from core.domain.failures import STOPS_A_PROVIDER, Failure, FailureCode
from core.domain.messages.jobs import JobRef, ProviderHandle, SubmitJobResult, SubmitOutcome
from core.domain.states import ExecutionStatus, JobState
from core.platform.observability.logging import get_logger
from core.providers.port import CreateAnswer, CreateOutcome
from core.store.database import Connection
from core.store.jobs.jobs import (
    JobRecord,
    get_job,
    mark_job_ended,
    mark_late_handle,
    mark_send_answered,
    mark_submitted,
    mark_unknown,
    mark_waiting,
)
from core.store.jobs.orphans import record_orphan
from core.store.money.charges import release_hold

log = get_logger(__name__)


async def sent_already(conn: Connection, ref: JobRef, job: JobRecord) -> SubmitJobResult:
    """A submit that sends nothing: somebody else has, or nobody may."""
    provider_job_id = job.handle.provider_job_id if job.handle is not None else None
    result = await _sent_already(conn, ref, job)
    return replace(
        result,
        send_number=job.send_number,
        provider_job_id=provider_job_id,
        provider_key_id=job.provider_key_id if job.send_number > 0 else None,
    )


async def _sent_already(conn: Connection, ref: JobRef, job: JobRecord) -> SubmitJobResult:
    if job.state is JobState.WAITING:
        open_still = job.execution_status == ExecutionStatus.RUNNING and not job.cancel_requested
        if open_still and job.execution_generation == ref.generation:
            # Another submit was quicker, and was not accepted: it is the workflow's to try again.
            return SubmitJobResult(outcome=SubmitOutcome.NOT_SENT)
        return SubmitJobResult(outcome=SubmitOutcome.STOPPED)
    if job.state is JobState.SUBMITTED:
        return SubmitJobResult(outcome=SubmitOutcome.SUBMITTED)
    if job.state.ended:
        return SubmitJobResult(outcome=SubmitOutcome.ENDED, failure=job.failure)
    await mark_unknown(conn, ref.job_id, job.send_number)
    return SubmitJobResult(outcome=SubmitOutcome.UNKNOWN)


async def refuse_unsent(conn: Connection, ref: JobRef, failure: Failure) -> SubmitJobResult:
    """A waiting job that will not be sent: it has failed, and its money goes back."""
    if await mark_job_ended(
        conn, ref.job_id, JobState.FAILED, failure, expected=(JobState.WAITING,)
    ):
        await release_hold(conn, ref.job_id)
    return SubmitJobResult(outcome=SubmitOutcome.REFUSED, failure=failure)


def of_own_key(answer: CreateAnswer) -> CreateAnswer:
    """An answer to a send with a user's own key: what refuses the key is its user's to mend, and
    ends the job.
    """
    failure = answer.failure
    if failure is None or failure.code not in STOPS_A_PROVIDER:
        return answer
    no_credit = failure.code is FailureCode.PROVIDER_CREDIT_EXHAUSTED
    detail = "Its account is out of credit." if no_credit else "Put another one, or delete it."
    return replace(answer, failure=Failure.of(FailureCode.PROVIDER_KEY_REFUSED, detail))


async def record_answer(
    conn: Connection, ref: JobRef, number: int, answer: CreateAnswer
) -> SubmitJobResult:
    """What the provider said to a send.

    Repeating is safe. A late answer of the current send is adopted; what a superseded one bought
    becomes an orphan; every other late answer changes only its own row.
    """
    before = await get_job(
        conn, ref.job_id, locked=True
    )  # the job first, then its send: in the order of everybody
    result = await _record_answer(conn, ref, number, answer, before)
    known = answer.handle if result.outcome is SubmitOutcome.SUBMITTED else None
    return replace(
        result,
        send_number=max(number, before.send_number),
        provider_job_id=known.provider_job_id if known is not None else None,
        provider_key_id=before.provider_key_id,
    )


async def _record_answer(
    conn: Connection, ref: JobRef, number: int, answer: CreateAnswer, before: JobRecord
) -> SubmitJobResult:
    failure = answer.failure
    await mark_send_answered(
        conn,
        ref.job_id,
        number,
        answer.outcome,
        status_code=answer.status_code,
        note=answer.note,
        provider_job_id=answer.handle.provider_job_id if answer.handle else None,
    )
    if answer.outcome is CreateOutcome.ACCEPTED and answer.handle is not None:
        return await _record_accepted(conn, ref, number, answer.handle, before)
    if answer.outcome is CreateOutcome.NOT_ACCEPTED and failure is not None:
        if not await mark_waiting(conn, ref.job_id, number, failure):
            log.warning(
                "a late answer changed nothing", job_id=ref.job_id, send=number, note=answer.note
            )
            return SubmitJobResult(
                outcome=SubmitOutcome.UNKNOWN
            )  # the row knows more: it may have been bought
        waits = (
            failure.retryable or failure.code in STOPS_A_PROVIDER
        )  # the provider's breaker holds it back
        if not waits:
            await refuse_unsent(conn, ref, failure)
        outcome = SubmitOutcome.NOT_SENT if waits else SubmitOutcome.REFUSED
        return SubmitJobResult(
            outcome=outcome, retry_after_seconds=answer.retry_after_seconds, failure=failure
        )
    await mark_unknown(conn, ref.job_id, number)
    return SubmitJobResult(outcome=SubmitOutcome.UNKNOWN)


async def _record_accepted(
    conn: Connection, ref: JobRef, number: int, handle: ProviderHandle, before: JobRecord
) -> SubmitJobResult:
    """before: the job as it was found. Anything but its own send in flight means that somebody else
    went on with it.
    """
    if await mark_submitted(conn, ref.job_id, number, handle):
        if before.state not in (JobState.SUBMITTING, JobState.SUBMITTED):
            log.warning(
                "a late answer was adopted", job_id=ref.job_id, send=number, found_in=before.state
            )
        return SubmitJobResult(outcome=SubmitOutcome.SUBMITTED)
    # The job was given up meanwhile: its end stands, but what was bought is known now, and its bill
    # is settled.
    if await mark_late_handle(conn, ref.job_id, handle, number=number):
        log.warning("a late answer was kept for its bill", job_id=ref.job_id, send=number)
    else:
        await record_orphan(conn, ref.job_id, number, handle)
    return SubmitJobResult(outcome=SubmitOutcome.UNKNOWN)
