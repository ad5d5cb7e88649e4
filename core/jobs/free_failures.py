"""Failures that cost nothing: the job is sent again within the same execution, a few times.

A send is repeated only on the provider's own evidence that it failed at no cost and that the
failure is temporary. The send keeps its provider id as an ended orphan, and the job is submitted
again as after a refusal: with a new intent, a new number and the same hold.
"""

from typing import Final

from core.domain.states import ExecutionStatus
from core.jobs.waiting.poll_schedule import wait_is_over
from core.platform.observability import metrics
from core.platform.observability.logging import get_logger
from core.platform.temporal.policies import TRANSIENT_BACKOFF_SECONDS
from core.store.database import Connection
from core.store.jobs.jobs import JobRecord
from core.store.jobs.orphans import count_sent_again, retire_send

log = get_logger(__name__)

MAX_RESENDS: Final = len(TRANSIENT_BACKOFF_SECONDS)
TIME_LEFT_SHARE: Final = 0.5
"""The share of a job's time that must be left: a send that its deadline cuts short may be billed
without a result.
"""


async def return_if_free(conn: Connection, job: JobRecord, *, generation: int) -> int:
    """Return a job to waiting whose failure was free and transient, before it is settled.

    generation: of the run that waits for the job. Return the number of its sends that failed this
    way; 0: settle the job. Repeating is safe: a job that was returned before, or was submitted
    again since, yields the same number.
    """
    if job.orphan or job.state.ended or job.cancel_requested:
        return 0
    if job.execution_status != ExecutionStatus.RUNNING or job.execution_generation != generation:
        return 0
    if job.report is None:
        return 0 if wait_is_over(job) else await count_sent_again(conn, job.job_id)
    if job.handle is None or not job.report.is_free_and_transient:
        return 0
    earlier = await count_sent_again(conn, job.job_id)
    if earlier >= MAX_RESENDS or not _has_time(job):
        return 0
    if not await retire_send(conn, job.job_id, job.send_number, job.handle, job.report):
        return 0
    code = job.report.failure.code if job.report.failure is not None else ""
    metrics.FREE_FAILURES_RESENT.labels(job.provider, job.model).inc()
    log.info(
        "job.free_failure_resent",
        execution_id=job.execution_id,
        job_id=job.job_id,
        provider=job.provider,
        provider_job_id=job.handle.provider_job_id,
        send=job.send_number,
        code=code,
    )
    return earlier + 1


def _has_time(job: JobRecord) -> bool:
    if job.deadline_at is None:
        return False
    left_seconds = (job.deadline_at - job.now).total_seconds()
    return left_seconds >= TIME_LEFT_SHARE * job.deadline_seconds
