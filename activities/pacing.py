"""When to look: the pauses between polls and look-ups, and when waiting is over. Pure."""

from datetime import timedelta

from store.jobs import JobRecord

CREATE_CALL_SECONDS = 18.0
"""The whole of a create call. Less than the activity's start-to-close of 23 s, so that the answer can still be committed."""

CANCEL_GRACE = timedelta(seconds=120)
"""How long a job that was asked to end is still watched before its bill is left to the sweep."""

MIN_POLL_SECONDS, MAX_POLL_SECONDS = 1.0, 10.0
FIND_BACKOFF_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Between look-ups. The first is at once: most lists show a job within a second."""


def poll_seconds(job: JobRecord) -> float:
    """Often when the job should be ready about now, rarely long before and long after. A callback cuts it short."""
    if job.submitted_at is None:
        return MIN_POLL_SECONDS
    age = (job.now - job.submitted_at).total_seconds()
    if job.cancel_sent_at is not None:
        return MIN_POLL_SECONDS
    return min(MAX_POLL_SECONDS, max(MIN_POLL_SECONDS, abs(job.usual_seconds - age) / 5))


def poll_is_due(job: JobRecord) -> bool:
    """At the first look: a callback came before us, or the job is older than its first pause (another worker waited before)."""
    if job.callback_at is not None or job.submitted_at is None or job.cancel_sent_at is not None:
        return True
    return (job.now - job.submitted_at).total_seconds() >= poll_seconds(job)


def time_is_up(job: JobRecord) -> bool:
    """Past the deadline; or, once the provider was asked to end the job, past the grace."""
    if job.cancel_sent_at is not None:
        return job.now > job.cancel_sent_at + CANCEL_GRACE
    return job.late


def find_seconds(looks: int) -> float:
    return FIND_BACKOFF_SECONDS[min(looks, len(FIND_BACKOFF_SECONDS)) - 1]
