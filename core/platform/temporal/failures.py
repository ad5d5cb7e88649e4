"""Failure → Temporal: the one table. Nothing else in the activities decides whether Temporal tries
again.
"""

from datetime import timedelta

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from core.domain.failures import Failure


def retry_later(failure: Failure, *, after_seconds: float = 0.0) -> ApplicationError:
    """Let Temporal try again by the activity's policy, or after what the other side asked for.

    Benign: expected weather is neither a warning in the log nor an alarm in the metrics. A failure
    that no repeat can heal is made final, so that a wrong call here cannot loop.
    """
    return ApplicationError(
        failure.message,
        type=failure.code.value,
        non_retryable=not failure.retryable,
        next_retry_delay=timedelta(seconds=after_seconds) if after_seconds > 0 else None,
        category=ApplicationErrorCategory.BENIGN,
    )


def hand_over() -> ApplicationError:
    """This worker is shutting down: somebody else goes on at once. Not a failure."""
    return ApplicationError(
        "the worker is shutting down; another one goes on",
        type="hand_over",
        next_retry_delay=timedelta(milliseconds=1),
        category=ApplicationErrorCategory.BENIGN,
    )
