"""The clock that limits how late a paid request may be sent."""

import time
from typing import Final

# Only Linux has CLOCK_BOOTTIME. Elsewhere the monotonic clock may stop while the machine sleeps.
_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_seconds() -> float:
    """Return seconds of a clock that is never set and that includes suspended time.

    A worker may be stopped between its intent and its POST and continue minutes later, when the
    send has been looked up and replaced. It must detect this by itself: the wall clock may be set
    back meanwhile, and the usual monotonic clock does not count the time of a suspended machine. No
    clock inside a virtual machine counts the time for which its host paused it.
    """
    return time.clock_gettime(_CLOCK)
