"""The clock that limits how late a paid request may be sent, and comparisons of other clocks."""

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
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


@cache
def boot_id() -> str:
    """Return an id of this boot of the kernel, in which all processes read the same `boot_seconds`.

    Empty where the kernel shows none.
    """
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return ""


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """By how many seconds a remote clock (unix time) is ahead of `boot_seconds`, as an interval.

    Two remote clocks are compared by their offsets, so a wrong clock of this machine does not
    matter.
    """

    low: float
    high: float

    @classmethod
    def measured(
        cls, at: datetime, *, before: float, after: float, resolution_seconds: float = 0.0
    ) -> "ClockOffset":
        """Return the offset of a clock that showed `at` between two readings of boot_seconds."""
        shown = at.timestamp()
        return cls(shown - after, shown + resolution_seconds - before)

    def joined(self, other: "ClockOffset") -> "ClockOffset":
        """Return the smallest interval that contains both."""
        return ClockOffset(min(self.low, other.low), max(self.high, other.high))

    def is_within(self, seconds: float, other: "ClockOffset") -> bool:
        """Return whether the two clocks certainly differ by at most this much."""
        return self.high - other.low <= seconds and other.high - self.low <= seconds

    def is_beyond(self, seconds: float, other: "ClockOffset") -> bool:
        """Return whether the two clocks certainly differ by more than this.

        Neither this nor `is_within` holds if a slow answer made the measurement too inexact.
        """
        return self.low - other.high > seconds or other.low - self.high > seconds


def joined_clocks(clocks: Iterable[ClockOffset | None]) -> ClockOffset | None:
    """Return the smallest interval that contains all; None without any, or if one is missing."""
    joined: ClockOffset | None = None
    for clock in clocks:
        if clock is None:
            return None
        joined = clock if joined is None else joined.joined(clock)
    return joined
