"""When a job's status is read: bounds of the pauses, and the first time after a send."""

from typing import Final

EARLY_SECONDS: Final = 3.0
"""The age of the first look without callbacks: most refusals arrive within seconds."""
LATE_SHARE: Final = 1.3
LATE_SECONDS: Final = 3.0
"""With callbacks the first look is due at 1.3 times the model's usual duration and three seconds.
"""
MIN_POLL_SECONDS: Final = 1.0
MAX_POLL_SECONDS: Final = 30.0
"""Bounds of the interval between looks at a job, which back up callbacks; the interval itself
depends on the model's usual duration.
"""
