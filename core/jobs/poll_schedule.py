"""When to look: the pauses between polls and look-ups, and when waiting is over. Pure."""

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
"""Between look-ups for a job that is to be cancelled: somebody waits for the end."""
HORIZON_SLACK_SECONDS: Final = 60.0
"""So many looks past a provider's horizon that one of them gets an answer."""
JITTER: Final = 0.25
"""Part of a pause by which it may be shorter or longer: hundreds that wait since one outage do not
ask all at once.
"""
LONGEST_ASKED_SECONDS: Final = 60.0
"""A provider may ask for a longer pause than ours, up to this: also who asks for a year may hear of
a job again.
"""


def poll_seconds(job: JobRecord) -> float:
    """Often at first (most refusals come within seconds) and when the job should be ready about
    now; else rarely.

    A callback cuts it short.
    """
    if job.submitted_at is None or job.cancel_sent_at is not None:
        return MIN_POLL_SECONDS
    age = (job.now - job.submitted_at).total_seconds()
    pause = min(MIN_POLL_SECONDS + age / 4, abs(job.usual_seconds - age) / 5)
    return min(MAX_POLL_SECONDS, max(MIN_POLL_SECONDS, pause))


def poll_is_due(job: JobRecord) -> bool:
    """At the first look: a callback came before us, or the job is older than its first pause
    (another worker waited before).
    """
    if job.callback_at is not None or job.submitted_at is None or job.cancel_sent_at is not None:
        return True
    return (job.now - job.submitted_at).total_seconds() >= poll_seconds(job)


def time_is_up(job: JobRecord) -> bool:
    """Past the deadline; or, once the provider was asked to end the job, past the grace."""
    if job.cancel_sent_at is not None:
        return job.now > job.cancel_sent_at + CANCEL_GRACE
    return job.late


def find_seconds(job: JobRecord, looks: int) -> float:
    pause = backoff_seconds(FIND_BACKOFF_SECONDS, looks)
    return min(pause, CANCELLED_FIND_SECONDS) if job.cancel_requested else pause


def find_is_over(job: JobRecord, *, send_age_seconds: float, horizon_seconds: float) -> bool:
    """Whether to give up on a send that nobody knows of.

    Its own deadline is not enough: as long as its provider's horizon has not passed, a list may
    still show it, or show for certain that it was never accepted. A cancel, and the execution's
    deadline, wait for neither.
    """
    if job.execution_late:
        return True
    if job.cancel_requested_at is not None and job.now > job.cancel_requested_at + CANCEL_GRACE:
        return True
    return job.late and send_age_seconds > horizon_seconds + HORIZON_SLACK_SECONDS


def jittered(seconds: float, chance: float) -> float:
    """chance: a random number of 0 to 1."""
    return seconds * (1 + JITTER * (2 * chance - 1))


def not_sooner(seconds: float, asked_for_seconds: float) -> float:
    """asked_for_seconds: by the provider; 0 if it did not."""
    return max(seconds, min(asked_for_seconds, LONGEST_ASKED_SECONDS))
