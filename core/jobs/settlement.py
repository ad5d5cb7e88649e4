"""What the end of a job means for its row and its money: in the caller's transaction."""

from core.domain.failures import Failure, FailureCode
from core.domain.messages.jobs import JobReport
from core.domain.states import JobState
from core.jobs.costs import real_cost
from core.jobs.offers import known_model
from core.platform.observability import metrics
from core.platform.observability.logging import get_logger
from core.providers.port import Cost
from core.providers.registry import Providers
from core.store.database import Connection
from core.store.jobs.jobs import JobRecord, get_send, mark_job_ended
from core.store.money.charges import ChargeConflictError
from core.store.money.settlement import record_cost

log = get_logger(__name__)


async def settle_ended(conn: Connection, providers: Providers, job: JobRecord) -> int:
    """End a submitted job by its report, or without one, and book its real cost. Returns what was
    booked.

    Whatever is wrong with the money, the job ends: what cannot be booked here stays an open bill,
    or as it was booked.
    """
    if job.report is None:
        # It would not end, not even when asked to. Its bill is open: the hold stays, the sweep
        # keeps looking.
        code = FailureCode.CANCELLED if job.cancel_requested else FailureCode.PROVIDER_TIMED_OUT
        state = JobState.CANCELLED if job.cancel_requested else JobState.FAILED
        await mark_job_ended(
            conn, job.job_id, state, Failure.of(code), expected=(JobState.SUBMITTED,)
        )
        return 0
    failure = _why_cancelled(job) if job.report.state is JobState.CANCELLED else job.report.failure
    cost = await _cost(conn, providers, job, job.report)
    await mark_job_ended(
        conn, job.job_id, job.report.state, failure, expected=(JobState.SUBMITTED,)
    )
    if cost is None:
        return 0
    try:
        settlement = await record_cost(conn, job.job_id, cost.nano_usd, cost.basis)
    except ChargeConflictError as error:
        note_conflict(job, error)
        return 0
    return 0 if settlement.repeated else cost.nano_usd


def note_conflict(job: JobRecord, error: ChargeConflictError) -> None:
    """The money was ended before, with another amount: by hand, most likely. It stands; nobody may
    guess here.
    """
    metrics.CHARGE_CONFLICTS.labels(job.provider).inc()
    log.error(
        "a job's money was ended with another amount than it cost",
        execution_id=job.execution_id,
        job_id=job.job_id,
        reason=str(error),
    )


async def _cost(
    conn: Connection, providers: Providers, job: JobRecord, report: JobReport
) -> Cost | None:
    """None: this worker cannot price it (its model was taken out meanwhile).

    The bill stays open, the sweep settles it.
    """
    found = known_model(providers, job)
    if found is None:
        return None
    provider, model = found
    try:
        send = await get_send(conn, job.job_id, job.send_number)
        return real_cost(provider, model, send, report)
    except (LookupError, TypeError, ValueError) as error:
        log.error("a job cannot be priced", job_id=job.job_id, reason=str(error))  # noqa: TRY400 - no trace
        return None


def _why_cancelled(job: JobRecord) -> Failure | None:
    """None if it was ordered: then nothing has failed. Else it was us, past its deadline, or the
    provider by itself.
    """
    if job.cancel_requested:
        return None
    return Failure.of(
        FailureCode.PROVIDER_FAILED
        if job.cancel_sent_at is None
        else FailureCode.PROVIDER_TIMED_OUT
    )
