"""The one translation of failures into Temporal errors.

No other code in the activities decides whether Temporal retries.
"""

from datetime import timedelta

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from core.domain.failures import Failure


def retry_later(failure: Failure, *, after_seconds: float = 0.0) -> ApplicationError:
    """Return an error that Temporal retries by the activity's policy, or after the given delay.

    The error is benign: an expected outage is neither a warning in the log nor an alarm in the
    metrics. A failure that no retry can heal becomes final, so that a wrong call cannot loop.
    """
    return ApplicationError(
        failure.message,
        type=failure.code.value,
        non_retryable=not failure.retryable,
        next_retry_delay=timedelta(seconds=after_seconds) if after_seconds > 0 else None,
        category=ApplicationErrorCategory.BENIGN,
    )


def hand_over() -> ApplicationError:
    """Return an error that makes another worker continue at once, because this one shuts down."""
    return ApplicationError(
        "the worker is shutting down; another worker continues",
        type="hand_over",
        next_retry_delay=timedelta(milliseconds=1),
        category=ApplicationErrorCategory.BENIGN,
    )
