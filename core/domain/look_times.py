"""When a job's status is read: bounds of the pauses, and the first time after a send."""

from typing import Final

EARLY_SECONDS: Final = 3.0
"""The age of the first look without callbacks: most refusals arrive within seconds."""
LATE_SHARE: Final = 1.3
LATE_SECONDS: Final = 3.0
"""With callbacks the first look is due at 1.3 times the model's usual duration and three seconds,
until enough of the model's jobs have ended to measure how long they take.
"""
SLOW_MARGIN: Final = 1.1
"""With a measurement, at this multiple of the age by which nearly all callbacks had arrived."""
LEAST_SHARE: Final = 0.5
MOST_SHARE: Final = 3.0
"""Bounds of that age, as multiples of the usual duration: a few odd days change little."""
MIN_POLL_SECONDS: Final = 1.0
MAX_POLL_SECONDS: Final = 30.0
"""Bounds of the interval between looks at a job; the interval itself depends on the model's usual
duration.
"""
MAX_BACKUP_POLL_SECONDS: Final = 120.0
"""The upper bound where looks only back up callbacks: they are most of what waiting costs."""


def first_look_seconds(usual_seconds: float, slow_seconds: float | None) -> float:
    """Return the age at which a callback is probably lost.

    slow_seconds: the age by which nearly all callbacks of the model's recent jobs had arrived;
    None: not measured. The database computes the same (`core.store.jobs.sends`).
    """
    if slow_seconds is None:
        return LATE_SHARE * usual_seconds + LATE_SECONDS
    least, most = LEAST_SHARE * usual_seconds, MOST_SHARE * usual_seconds
    return min(most, max(least, SLOW_MARGIN * slow_seconds)) + LATE_SECONDS
