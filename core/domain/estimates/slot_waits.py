"""When an execution that waits for a slot of its user starts."""

from collections.abc import Sequence
from typing import Final

from core.domain.estimates.plan_ends import Band

LEAST_REST: Final = 0.1
"""An execution that already took longer than usual is taken to need this share of it more."""


def slot_wait(position: int, running_ages: Sequence[float], run: Band) -> Band:
    """Return when a slot is free for the execution at a position, 1 for the next one.

    running_ages: the age in seconds of each running execution of the user, the oldest first; at
    least one. run: how long an execution of the user takes. Each slot is taken again at once.
    """

    def wait(seconds: float) -> float:
        rounds, slot = divmod(position - 1, len(running_ages))
        rest = max(seconds - running_ages[slot], LEAST_REST * seconds)
        return rounds * seconds + rest

    return Band(seconds=wait(run.seconds), low=wait(run.low), high=wait(run.high))
