"""When to look: the pauses between polls and look-ups, and when waiting is over. Pure."""

from runtime.policies import (
    CANCEL_GRACE,
    FIND_BACKOFF_SECONDS,
    MAX_POLL_SECONDS,
    MIN_POLL_SECONDS,
    backoff_seconds,
)
from store.jobs import JobRecord


def poll_seconds(job: JobRecord) -> float:
    """Often at first (most refusals come within seconds) and when the job should be ready about now; else rarely.

    A callback cuts it short.
    """
    if job.submitted_at is None or job.cancel_sent_at is not None:
        return MIN_POLL_SECONDS
    age = (job.now - job.submitted_at).total_seconds()
    pause = min(MIN_POLL_SECONDS + age / 4, abs(job.usual_seconds - age) / 5)
    return min(MAX_POLL_SECONDS, max(MIN_POLL_SECONDS, pause))


def poll_is_due(job: JobRecord) -> bool:
    """At the first look: a callback came before us, or the job is older than its first pause (another worker
    waited before).
    """
    if job.callback_at is not None or job.submitted_at is None or job.cancel_sent_at is not None:
        return True
    return (job.now - job.submitted_at).total_seconds() >= poll_seconds(job)


def time_is_up(job: JobRecord) -> bool:
    """Past the deadline; or, once the provider was asked to end the job, past the grace."""
    if job.cancel_sent_at is not None:
        return job.now > job.cancel_sent_at + CANCEL_GRACE
    return job.late


def find_seconds(looks: int) -> float:
    return backoff_seconds(FIND_BACKOFF_SECONDS, looks)
