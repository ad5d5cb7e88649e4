"""Failover: a step continues at its next model after a job that certainly cost nothing.

| the job                                               | next model |
| ----------------------------------------------------- | ---------- |
| refused by the provider, or its model is gone         | yes        |
| not sent: the circuit breaker of its key is open      | yes        |
| refused for the service's key or credit               | yes        |
| failed, and the provider bills nothing for it         | yes, after the sends of `free_failures` |
| failed, billed or of unknown cost                     | no         |
| outcome of a send unknown, also after the deadline    | no         |
| cancelled, or out of time                             | no         |
| a file that it needs is gone                          | no: the next model needs it, too |

A refusal of the content counts as any other: the user listed the alternative, and another model
may accept it.
"""

from typing import Final

from core.domain.failures import Failure, FailureCode
from core.domain.messages.jobs import JobReport, NextJob
from core.domain.states import JobState
from core.platform.observability import metrics
from core.platform.observability.logging import get_logger
from core.store.database import Connection, after_commit
from core.store.jobs.failovers import find_next, has_purchase, insert_next, lock_running
from core.store.jobs.jobs import JobRecord, mark_job_ended
from core.store.money.charges import release_hold

log = get_logger(__name__)

TIME_LEFT_SHARE: Final = 0.5
"""The share of a job's time that the execution must have left for a job at another model."""
_OF_THE_INPUT: Final = frozenset(
    {FailureCode.OUTPUT_EXPIRED, FailureCode.OUTPUT_INVALID, FailureCode.ASSET_DELETED}
)


async def fail_over_unsent(
    conn: Connection, job: JobRecord, failure: Failure, *, generation: int
) -> NextJob | None:
    """End a waiting job that was certainly not accepted, and continue at its next model.

    Return None, with the job unchanged, if the step has no next model.
    """
    if failure.code in _OF_THE_INPUT or not await _may_continue(conn, job, generation):
        return None
    if not await mark_job_ended(
        conn, job.job_id, JobState.FAILED, failure, expected=(JobState.WAITING,)
    ):
        return None
    await release_hold(conn, job.job_id)
    return await _continue(conn, job, failure, generation)


async def fail_over_ended(conn: Connection, job: JobRecord, *, generation: int) -> NextJob | None:
    """Return the job at the next model of a settled job; None: it has none.

    Repeating is safe: a job is replaced once.
    """
    if not job.alternatives or job.state is not JobState.FAILED or job.orphan:
        return None
    replaced = await find_next(conn, job.job_id, generation=generation)
    if replaced is not None:
        return replaced
    if not _is_free(job.report) or job.cancel_sent_at is not None:
        return None
    if not await _may_continue(conn, job, generation):
        return None
    return await _continue(conn, job, job.failure, generation)


def _is_free(report: JobReport | None) -> bool:
    return (
        report is not None
        and report.state is JobState.FAILED
        and report.charged is False
        and report.billed_units is None
    )


async def _may_continue(conn: Connection, job: JobRecord, generation: int) -> bool:
    if not job.alternatives or job.orphan:
        return False
    seconds = TIME_LEFT_SHARE * job.deadline_seconds
    if not await lock_running(conn, job.execution_id, generation, seconds=seconds):
        return False
    return not await has_purchase(conn, job, generation=generation)


async def _continue(
    conn: Connection, job: JobRecord, failure: Failure | None, generation: int
) -> NextJob | None:
    if not await insert_next(conn, job, generation=generation):
        return None
    following = await find_next(conn, job.job_id, generation=generation)
    if following is None:
        return None
    after_commit(lambda: _report(job, failure, following))
    return following


def _report(job: JobRecord, failure: Failure | None, following: NextJob) -> None:
    metrics.FAILOVERS.labels(job.provider, job.model, following.provider, following.model).inc()
    log.info(
        "job.failed_over",
        execution_id=job.execution_id,
        job_id=job.job_id,
        provider=job.provider,
        model=job.model,
        code=failure.code if failure is not None else "",
        next_job_id=following.job_id,
        next_provider=following.provider,
        next_model=following.model,
    )
