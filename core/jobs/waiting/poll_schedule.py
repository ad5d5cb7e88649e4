"""Intervals between looks at a job and look-ups, and when waiting ends. Pure functions."""

from typing import Final

from core.domain.look_times import (
    EARLY_SECONDS,
    LATE_SECONDS,
    LEAST_SHARE,
    MAX_BACKUP_POLL_SECONDS,
    MAX_POLL_SECONDS,
    MIN_POLL_SECONDS,
)
from core.platform.temporal.policies import (
    CANCEL_GRACE,
    FIND_BACKOFF_SECONDS,
    backoff_seconds,
)
from core.store.jobs.jobs import JobRecord

CANCELLED_FIND_SECONDS: Final = 5.0
"""The longest pause between look-ups for a job to be cancelled: a caller waits for the end."""
DUE_FIND_SECONDS: Final = 5.0
"""The longest pause once a look can prove the absence of a send: a user waits for that look alone.
"""
HORIZON_SLACK_SECONDS: Final = 60.0
"""Time for several look-ups past a provider's horizon, so that at least one is answered."""
JITTER: Final = 0.25
"""The share by which a pause may be shorter or longer: jobs that wait since the same outage do not
poll at the same moment.
"""
FAILED_LOOK_SECONDS: Final = 1.5
MAX_FAILED_LOOK_SECONDS: Final = 30.0
"""The pause after the first look that could not read the status; it doubles up to this. It is what
an outage of a provider adds to a job after its end.
"""
MAX_COMPLETION_SECONDS: Final = 10.0
"""The longest pause between tries to complete a wait: what a Temporal outage adds to a job."""
NOT_WAITING_SECONDS: Final = 30.0
MAX_RETRY_AFTER_SECONDS: Final = 30.0
"""The limit of a provider's Retry-After for reads: a job is never left unread for longer."""


def failed_look_seconds(failures: int) -> float:
    """Return the pause after this many looks in a row that could not read the status.

    Such a look decides nothing and is repeated soon.
    """
    return min(MAX_FAILED_LOOK_SECONDS, FAILED_LOOK_SECONDS * 2 ** min(failures - 1, 10))


def completion_seconds(tries: int) -> float:
    """Return the pause before the completion of a wait is repeated that certainly ended."""
    return min(MAX_COMPLETION_SECONDS, failed_look_seconds(tries))


def not_waiting_seconds(tries: int) -> float:
    """Return the pause before a completion is repeated that found no pending wait; it doubles."""
    return NOT_WAITING_SECONDS * 2 ** (tries - 1)


def look_seconds(job: JobRecord) -> float:
    """Return the pause before the next look at a running job; a callback ends it early."""
    age = _age(job)
    changed_at = job.cancel_sent_at or job.callback_at
    if changed_at is not None:  # the end is near: the provider only has to show it
        return _bounded((job.now - changed_at).total_seconds() / 4)
    if job.calls_back:  # a look is only a backup: before this age no first look is due
        due_in = LEAST_SHARE * job.usual_seconds + LATE_SECONDS - age
        return due_in if due_in > 0 else _bounded(age / 4, MAX_BACKUP_POLL_SECONDS)
    if age < EARLY_SECONDS:
        return max(MIN_POLL_SECONDS, min(EARLY_SECONDS, job.usual_seconds / 2))
    left = job.usual_seconds - age
    return _bounded(max(job.usual_seconds / 10, left / 2 if left > 0 else -left / 4))


def seconds_left(job: JobRecord) -> float:
    """Return the time until `wait_is_over`, with a margin for clocks and timers."""
    ends_at = job.deadline_at
    if job.cancel_sent_at is not None:
        ends_at = job.cancel_sent_at + CANCEL_GRACE
    if ends_at is None:
        return MAX_POLL_SECONDS
    return max(0.0, (ends_at - job.now).total_seconds()) + 0.1


def _age(job: JobRecord) -> float:
    return (job.now - job.submitted_at).total_seconds() if job.submitted_at is not None else 0.0


def _bounded(seconds: float, most: float = MAX_POLL_SECONDS) -> float:
    return min(most, max(MIN_POLL_SECONDS, seconds))


def wait_is_over(job: JobRecord) -> bool:
    """Return whether the deadline has passed or, after a cancel, the grace period."""
    if job.cancel_sent_at is not None:
        return job.now > job.cancel_sent_at + CANCEL_GRACE
    return job.late


def find_seconds(job: JobRecord, looks: int) -> float:
    """Return the pause after this many look-ups of an unknown send."""
    pause = backoff_seconds(FIND_BACKOFF_SECONDS, looks)
    return min(pause, CANCELLED_FIND_SECONDS) if job.cancel_requested else pause


def until_due(pause: float, due_seconds: float) -> float:
    """Return the pause before a look-up that proves an absence. due_seconds: until it can do so.

    A negative time: it could before, but the list was not readable.
    """
    return min(pause, due_seconds + 0.1 if due_seconds > 0 else DUE_FIND_SECONDS)


def find_is_over(
    job: JobRecord,
    *,
    send_age_seconds: float,
    horizon_seconds: float,
    due_seconds: float | None = None,
    unread: bool = False,
) -> bool:
    """Return whether to give up the look-up of an unknown send.

    The job's own deadline is not enough: until the provider's horizon has passed, a list may still
    show the send or prove that it was never accepted. So may a list that cannot be read now
    (unread), and the second look of a proof (due_seconds: until then). A cancel and the execution's
    deadline wait for none of them.
    """
    if job.execution_late:
        return True
    if job.cancel_requested_at is not None and job.now > job.cancel_requested_at + CANCEL_GRACE:
        return True
    if unread or (due_seconds is not None and due_seconds > -HORIZON_SLACK_SECONDS):
        return False
    return job.late and send_age_seconds > horizon_seconds + HORIZON_SLACK_SECONDS


def jittered(seconds: float, chance: float) -> float:
    """Return a pause with jitter. chance: a random number from 0 to 1."""
    return seconds * (1 + JITTER * (2 * chance - 1))


def at_least(seconds: float, retry_after_seconds: float) -> float:
    """Return the pause, or the provider's Retry-After if that is longer (0: none)."""
    return max(seconds, min(retry_after_seconds, MAX_RETRY_AFTER_SECONDS))
