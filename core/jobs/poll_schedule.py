"""Intervals between polls and look-ups, and when waiting ends. Pure functions of the job's row."""

from typing import Final

from core.platform.temporal.policies import (
    CANCEL_GRACE,
    FIND_BACKOFF_SECONDS,
    MAX_POLL_SECONDS,
    MIN_POLL_SECONDS,
    backoff_seconds,
)
from core.store.jobs.jobs import JobRecord

CANCELLED_FIND_SECONDS: Final = 5.0
"""The longest pause between look-ups for a job to be cancelled: a caller waits for the end."""
HORIZON_SLACK_SECONDS: Final = 60.0
"""Time for several look-ups past a provider's horizon, so that at least one is answered."""
JITTER: Final = 0.25
"""The share by which a pause may be shorter or longer: jobs that wait since the same outage do not
poll at the same moment.
"""
MAX_RETRY_AFTER_SECONDS: Final = 60.0
"""The limit of a provider's Retry-After for reads: a job is never left unread for longer."""


def poll_seconds(job: JobRecord) -> float:
    """Return the pause before the next poll; a callback ends it early.

    It is short right after the send, when most refusals arrive, and around the model's usual
    duration; it is long in between.
    """
    if job.submitted_at is None or job.cancel_sent_at is not None:
        return MIN_POLL_SECONDS
    age = (job.now - job.submitted_at).total_seconds()
    pause = min(MIN_POLL_SECONDS + age / 4, abs(job.usual_seconds - age) / 5)
    return min(MAX_POLL_SECONDS, max(MIN_POLL_SECONDS, pause))


def poll_is_due(job: JobRecord) -> bool:
    """Return whether to poll at once when an activity starts to wait.

    True after a callback, or if the job is older than its first pause because another worker waited
    before.
    """
    if job.callback_at is not None or job.submitted_at is None or job.cancel_sent_at is not None:
        return True
    return (job.now - job.submitted_at).total_seconds() >= poll_seconds(job)


def wait_is_over(job: JobRecord) -> bool:
    """Return whether the deadline has passed or, after a cancel, the grace period."""
    if job.cancel_sent_at is not None:
        return job.now > job.cancel_sent_at + CANCEL_GRACE
    return job.late


def find_seconds(job: JobRecord, looks: int) -> float:
    """Return the pause after this many look-ups of an unknown send."""
    pause = backoff_seconds(FIND_BACKOFF_SECONDS, looks)
    return min(pause, CANCELLED_FIND_SECONDS) if job.cancel_requested else pause


def find_is_over(job: JobRecord, *, send_age_seconds: float, horizon_seconds: float) -> bool:
    """Return whether to give up the look-up of an unknown send.

    The job's own deadline is not enough: until the provider's horizon has passed, a list may still
    show the send or prove that it was never accepted. A cancel and the execution's deadline wait
    for neither.
    """
    if job.execution_late:
        return True
    if job.cancel_requested_at is not None and job.now > job.cancel_requested_at + CANCEL_GRACE:
        return True
    return job.late and send_age_seconds > horizon_seconds + HORIZON_SLACK_SECONDS


def jittered(seconds: float, chance: float) -> float:
    """Return a pause with jitter. chance: a random number from 0 to 1."""
    return seconds * (1 + JITTER * (2 * chance - 1))


def at_least(seconds: float, retry_after_seconds: float) -> float:
    """Return the pause, or the provider's Retry-After if that is longer (0: none)."""
    return max(seconds, min(retry_after_seconds, MAX_RETRY_AFTER_SECONDS))
