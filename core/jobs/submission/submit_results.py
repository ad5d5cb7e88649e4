"""What the outcome of a create call means, for the job and for its provider: decided here alone.

| create call                       | job                           | provider         |
| --------------------------------- | ----------------------------- | ---------------- |
| accepted, with an id              | SUBMITTED                     | accepts          |
| not accepted, retryable           | NOT_SENT, sent again later    | rate limit, none |
| not accepted, service key refused | NOT_SENT, sent again later    | refuses          |
| not accepted, user's key refused  | REFUSED, failed and released  | refuses          |
| not accepted, any other reason    | REFUSED, failed and released  | none             |
| anything else                     | UNKNOWN, looked up, not sent  | unknown          |

A job that is refused, also for the service's key, is ENDED if its step continues at another model.

Every function that writes does so in the caller's transaction.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from core.domain.failures import STOPS_A_PROVIDER, TRIPS_A_BREAKER, Failure, FailureCode
from core.domain.messages.jobs import (
    JobRef,
    ProviderHandle,
    SettleJobResult,
    SubmitJobResult,
    SubmitOutcome,
)
from core.domain.states import ExecutionStatus, JobState
from core.jobs.failover import fail_over_unsent
from core.platform.observability.logging import get_logger
from core.providers.port import CreateAnswer, CreateOutcome
from core.store.database import Connection
from core.store.jobs.jobs import (
    JobRecord,
    LockedJob,
    get_job,
    mark_job_ended,
    mark_late_handle,
)
from core.store.jobs.orphans import record_orphan
from core.store.jobs.sends import mark_send_answered, mark_submitted, mark_unknown, mark_waiting
from core.store.money.charges import get_money, release_hold
from core.store.providers.capacity import PAUSE_PROBE_SECONDS

log = get_logger(__name__)


class ProviderSignal(StrEnum):
    """What a create call shows about its provider; core/jobs/submission/admission.py acts on it."""

    ACCEPTS = "accepts"
    REFUSES = "refuses"
    RATE_LIMITED = "rate_limited"
    NEUTRAL = "neutral"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendResult:
    """A create call's answer and what it means. failure: with NOT_SENT and REFUSED."""

    answer: CreateAnswer
    outcome: SubmitOutcome
    provider: ProviderSignal
    failure: Failure | None = None


def interpret(answer: CreateAnswer, *, own_key: bool = False) -> SendResult:
    """Return what an answer means by the table above. own_key: it was sent with a user's key."""
    failure = _key_refused(answer.failure) if own_key else answer.failure
    if answer.outcome is CreateOutcome.ACCEPTED and answer.handle is not None:
        return SendResult(
            answer=answer, outcome=SubmitOutcome.SUBMITTED, provider=ProviderSignal.ACCEPTS
        )
    if answer.outcome is not CreateOutcome.NOT_ACCEPTED or failure is None:
        return SendResult(
            answer=answer, outcome=SubmitOutcome.UNKNOWN, provider=ProviderSignal.UNKNOWN
        )
    if failure.code in TRIPS_A_BREAKER:
        signal = ProviderSignal.REFUSES
    elif failure.code is FailureCode.PROVIDER_RATE_LIMITED:
        signal = ProviderSignal.RATE_LIMITED
    else:
        signal = ProviderSignal.NEUTRAL
    # A job that the provider refuses for the service's key waits behind the circuit breaker.
    sent_again = failure.retryable or failure.code in STOPS_A_PROVIDER
    outcome = SubmitOutcome.NOT_SENT if sent_again else SubmitOutcome.REFUSED
    return SendResult(answer=answer, outcome=outcome, provider=signal, failure=failure)


def _key_refused(failure: Failure | None) -> Failure | None:
    """Return a refusal of a user's own key as a failure that this user can repair."""
    if failure is None or failure.code not in STOPS_A_PROVIDER:
        return failure
    no_credit = failure.code is FailureCode.PROVIDER_CREDIT_EXHAUSTED
    detail = "Its account is out of credit." if no_credit else "Replace the key or delete it."
    return Failure.of(FailureCode.PROVIDER_KEY_REFUSED, detail)


async def record_result(
    conn: Connection, ref: JobRef, number: int, result: SendResult
) -> SubmitJobResult:
    """Commit the result of a send to the rows of the job and the send.

    Repeating is safe. A late result of the current send is adopted; an id of a superseded send
    becomes an orphan; any other late result changes only its own send's row.
    """
    answer = result.answer
    before = await mark_send_answered(
        conn,
        ref.job_id,
        number,
        answer.outcome,
        status_code=answer.status_code,
        note=answer.note,
        provider_job_id=answer.handle.provider_job_id if answer.handle else None,
    )
    if before is None:
        raise LookupError(f"no job {ref.job_id}")
    outcome = await _apply(conn, ref, number, result, before)
    submitted = answer.handle if outcome is SubmitOutcome.SUBMITTED else None
    refused = outcome in (SubmitOutcome.NOT_SENT, SubmitOutcome.REFUSED)
    ended = None
    if refused and result.failure is not None:
        ended = await _end_refused(conn, ref, outcome, result.failure)
    return SubmitJobResult(
        outcome=outcome if ended is None else ended.outcome,
        settled=None if ended is None else ended.settled,
        failure=result.failure if refused else None,
        # After a longer pause the job may be the provider's probe.
        retry_after_seconds=min(answer.retry_after_seconds, PAUSE_PROBE_SECONDS) if refused else 0,
        send_number=max(number, before.send_number),
        provider_job_id=submitted.provider_job_id if submitted is not None else None,
        provider_key_id=before.provider_key_id,
    )


async def _end_refused(
    conn: Connection, ref: JobRef, outcome: SubmitOutcome, failure: Failure
) -> SubmitJobResult | None:
    """End a waiting job that was refused; None: it waits to be sent again.

    The step of a job that would wait behind the circuit breaker of the service's key continues at
    its next model, if it has one.
    """
    if outcome is SubmitOutcome.REFUSED:
        return await refuse_unsent(conn, ref, failure)
    if failure.code in STOPS_A_PROVIDER:
        return await turn_to_next_model(conn, ref, failure)
    return None


async def _apply(
    conn: Connection, ref: JobRef, number: int, result: SendResult, before: LockedJob
) -> SubmitOutcome:
    if result.outcome is SubmitOutcome.SUBMITTED and result.answer.handle is not None:
        return await _apply_accepted(conn, ref, number, result.answer.handle, before)
    if result.failure is None:
        await mark_unknown(conn, ref.job_id, number)
        return SubmitOutcome.UNKNOWN
    if not await mark_waiting(conn, ref.job_id, number, result.failure):
        log.warning(
            "send.late_answer_ignored", job_id=ref.job_id, send=number, note=result.answer.note
        )
        return SubmitOutcome.UNKNOWN  # a later send may have been accepted; the row decides
    return result.outcome


async def _apply_accepted(
    conn: Connection, ref: JobRef, number: int, handle: ProviderHandle, before: LockedJob
) -> SubmitOutcome:
    """Adopt the id of an accepted send. before: the job's row as it was found.

    Any state but "this send is in flight" means that another process has continued the job.
    """
    if await mark_submitted(conn, ref.job_id, number, handle):
        if before.state not in (JobState.SUBMITTING, JobState.SUBMITTED):
            log.warning(
                "send.late_answer_adopted", job_id=ref.job_id, send=number, state=before.state
            )
        return SubmitOutcome.SUBMITTED
    # The job was given up meanwhile. Its end stands, but its bill can be settled by this id.
    if await mark_late_handle(conn, ref.job_id, handle, number=number):
        log.warning("send.late_answer_kept_for_bill", job_id=ref.job_id, send=number)
    else:
        await record_orphan(conn, ref.job_id, number, handle)
    return SubmitOutcome.UNKNOWN


async def sent_already(conn: Connection, ref: JobRef, job: JobRecord) -> SubmitJobResult:
    """Return the result of a submit that sends nothing: the job was sent before, or must not be."""
    provider_job_id = job.handle.provider_job_id if job.handle is not None else None
    result = await _state_result(conn, ref, job)
    return replace(
        result,
        send_number=job.send_number,
        provider_job_id=provider_job_id,
        provider_key_id=job.provider_key_id if job.send_number > 0 else None,
    )


async def _state_result(conn: Connection, ref: JobRef, job: JobRecord) -> SubmitJobResult:
    if job.state is JobState.WAITING:
        is_open = job.execution_status == ExecutionStatus.RUNNING and not job.cancel_requested
        if is_open and job.execution_generation == ref.generation:
            # A concurrent submit was not accepted; the workflow submits again.
            return SubmitJobResult(outcome=SubmitOutcome.NOT_SENT)
        return SubmitJobResult(outcome=SubmitOutcome.STOPPED)
    if job.state is JobState.SUBMITTED:
        return SubmitJobResult(outcome=SubmitOutcome.SUBMITTED)
    if job.state.ended:
        return SubmitJobResult(outcome=SubmitOutcome.ENDED, failure=job.failure)
    await mark_unknown(conn, ref.job_id, job.send_number)
    return SubmitJobResult(outcome=SubmitOutcome.UNKNOWN)


async def refuse_unsent(conn: Connection, ref: JobRef, failure: Failure) -> SubmitJobResult:
    """Fail a waiting job that will never be sent, and release its hold.

    Its step continues at its next model, if it has one.
    """
    result = await turn_to_next_model(conn, ref, failure)
    if result is not None:
        return result
    if await mark_job_ended(
        conn, ref.job_id, JobState.FAILED, failure, expected=(JobState.WAITING,)
    ):
        await release_hold(conn, ref.job_id)
    return SubmitJobResult(outcome=SubmitOutcome.REFUSED, failure=failure)


async def turn_to_next_model(
    conn: Connection, ref: JobRef, failure: Failure
) -> SubmitJobResult | None:
    """End a waiting job whose step continues at its next model; None: it has none."""
    job = await get_job(conn, ref.job_id)
    next_job = await fail_over_unsent(conn, job, failure, generation=ref.generation)
    if next_job is None:
        return None
    money = await get_money(conn, ref.execution_id)
    settled = SettleJobResult(
        state=JobState.FAILED,
        failure=failure,
        execution_spent_nano_usd=money.settled_nano_usd,
        next_job=next_job,
    )
    return SubmitJobResult(
        outcome=SubmitOutcome.ENDED,
        failure=failure,
        settled=settled,
        send_number=job.send_number,
    )
