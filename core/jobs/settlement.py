"""The end of a job: its state, real cost and ledger entries, in the caller's transaction."""

from dataclasses import dataclass, replace

from core.domain.failures import Failure, FailureCode
from core.domain.messages.jobs import JobReport, SettleJobResult, WaitJobResult
from core.domain.prices import price_from_json
from core.domain.states import JobState
from core.jobs.failover import fail_over_ended
from core.jobs.free_failures import return_if_free
from core.jobs.key_ring import known_model
from core.platform.observability import metrics
from core.platform.observability.logging import get_logger
from core.providers.models import Model, inputs_from_json
from core.providers.port import Cost, Provider
from core.providers.pricing import at_price
from core.providers.registry import Providers
from core.store.database import Connection, after_commit
from core.store.jobs.failovers import lock_before_end
from core.store.jobs.jobs import JobRecord, get_job, mark_job_ended
from core.store.jobs.sends import SendRecord, get_send
from core.store.money.charges import ChargeConflictError, get_money
from core.store.money.settlement import record_cost

log = get_logger(__name__)


async def settle_job(
    conn: Connection, providers: Providers, job: JobRecord, *, generation: int
) -> SettleJobResult:
    """End a job and record its real cost; return what its workflow continues with.

    A job whose failure was transient and free waits to be sent again instead. The step of one whose
    failure was free continues at its next model, if it has one. Repeating is safe: an ended job is
    not settled again, and the result is the same. generation: of the run that waits for the job.
    """
    await lock_before_end(conn, job)
    resend = await return_if_free(conn, job, generation=generation)
    settled = Settled(job=None)
    if not job.state.ended and not resend:
        settled = await settle_ended(conn, providers, job)
        after_commit(lambda: _count(job, settled))
    ended = settled.job or (job if job.state.ended else await get_job(conn, job.job_id))
    next_job = await fail_over_ended(conn, ended, generation=generation)
    money = await get_money(conn, job.execution_id, job.job_id)
    return SettleJobResult(
        state=ended.state,
        failure=ended.failure,
        execution_spent_nano_usd=money.settled_nano_usd,
        resend=resend,
        cost_nano_usd=money.of_job_nano_usd,
        next_job=next_job,
    )


def wait_result(settled: SettleJobResult) -> WaitJobResult:
    """Return the result of a wait whose job is settled.

    A send that failed at no cost has ended, although its job waits for the next one.
    """
    state = settled.state if settled.state.ended else JobState.FAILED
    return WaitJobResult(state=state, settled=settled)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """job: as it ended here; None: its row was no longer submitted. nano_usd: booked here."""

    job: JobRecord | None
    nano_usd: int = 0


async def settle_ended(conn: Connection, providers: Providers, job: JobRecord) -> Settled:
    """End a submitted job, with or without a report, and book its real cost.

    The job ends even if its money cannot be booked here: its bill then stays open, or keeps the
    amount that was booked before.
    """
    if job.report is None:
        # The provider did not end it, even after a cancel. The hold stays until the bill is known.
        code = FailureCode.CANCELLED if job.cancel_requested else FailureCode.PROVIDER_TIMED_OUT
        state = JobState.CANCELLED if job.cancel_requested else JobState.FAILED
        return Settled(job=await _end(conn, job, state, Failure.of(code)))
    state = _end_state(job, job.report)
    failure = _cancel_failure(job) if state is JobState.CANCELLED else job.report.failure
    cost = await _cost(conn, providers, job, job.report)
    ended = await _end(conn, job, state, failure)
    if cost is None:
        return Settled(job=ended)
    try:
        settlement = await record_cost(conn, job.job_id, cost.nano_usd, cost.basis)
    except ChargeConflictError as error:
        report_conflict(job, error)
        return Settled(job=ended)
    return Settled(job=ended, nano_usd=0 if settlement.repeated else cost.nano_usd)


def _count(before: JobRecord, settled: Settled) -> None:
    metrics.COST_NANO_USD.labels(before.provider, before.model).inc(settled.nano_usd)
    job = settled.job
    if job is None:  # another process ended it, and counted it
        return
    if job.submitted_at is not None:
        seconds = (job.now - job.submitted_at).total_seconds()
        metrics.JOB_DURATION.labels(job.provider, job.model, job.state.value).observe(seconds)
    log.info(
        "job.settled",
        execution_id=job.execution_id,
        job_id=job.job_id,
        state=job.state,
        settled_nano_usd=settled.nano_usd,
    )


async def _end(
    conn: Connection, job: JobRecord, state: JobState, failure: Failure | None
) -> JobRecord | None:
    """End a submitted job and return it as its row is now; None if it was not submitted."""
    ended = await mark_job_ended(conn, job.job_id, state, failure, expected=(JobState.SUBMITTED,))
    return replace(job, state=state, failure=failure) if ended else None


def report_conflict(job: JobRecord, error: ChargeConflictError) -> None:
    """Log that the charge was ended before with another amount, probably by an operator.

    The earlier amount stays; software must not guess which one is right.
    """
    metrics.CHARGE_CONFLICTS.labels(job.provider).inc()
    log.error(
        "charge.settlement_conflicted",
        execution_id=job.execution_id,
        job_id=job.job_id,
        reason=str(error),
    )


def real_cost(provider: Provider, model: Model, send: SendRecord, report: JobReport) -> Cost:
    """Return the cost of an ended job at the price of its quote, not at today's price.

    Raises TypeError or ValueError if the stored send cannot be read or priced.
    """
    return provider.cost(
        at_price(model, price_from_json(send.price)), inputs_from_json(send.inputs), report
    )


async def _cost(
    conn: Connection, providers: Providers, job: JobRecord, report: JobReport
) -> Cost | None:
    """Return the real cost, or None if this worker cannot price it (its model was removed).

    The bill then stays open, and the reconciler settles it.
    """
    known = known_model(providers, job)
    if known is None:
        return None
    provider, model = known
    try:
        send = await get_send(conn, job.job_id, job.send_number)
        return real_cost(provider, model, send, report)
    except (LookupError, TypeError, ValueError) as error:
        log.error("job.pricing_failed", job_id=job.job_id, reason=str(error))  # noqa: TRY400 - no trace
        return None


def _end_state(job: JobRecord, report: JobReport) -> JobState:
    """Return the state that a job ends in.

    Providers call a job that was stopped before it ran "timed out" or "aborted". If the user
    cancelled it, it is cancelled.
    """
    stopped = report.failure and report.failure.code is FailureCode.PROVIDER_TIMED_OUT
    if job.cancel_requested and report.state is JobState.FAILED and stopped:
        return JobState.CANCELLED
    return report.state


def _cancel_failure(job: JobRecord) -> Failure | None:
    """Return why a job was cancelled at its provider; None if the user asked for it.

    Otherwise this service cancelled it past its deadline, or the provider did by itself.
    """
    if job.cancel_requested:
        return None
    code = (
        FailureCode.PROVIDER_FAILED
        if job.cancel_sent_at is None
        else FailureCode.PROVIDER_TIMED_OUT
    )
    return Failure.of(code)
