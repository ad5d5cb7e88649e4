"""The clock that bounds how late a paid request may leave."""

import time
from typing import Final

# Only Linux has it; elsewhere the monotonic clock, which may stand still while the machine sleeps.
_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_seconds() -> float:
    """Seconds of a clock that is never set and that counts the time in which this process, or its
    machine, slept.

    A worker may be stopped between its intent and its POST and go on minutes later, when its send
    has been looked up and replaced: it has to notice by itself. The wall clock may be set back
    meanwhile, and the usual monotonic clock does not count a suspended machine. What no clock
    inside shows is a virtual machine that its host paused.
    """
    return time.clock_gettime(_CLOCK)
