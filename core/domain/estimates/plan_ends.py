"""When a plan ends: its steps in parallel and in sequence, by their dependencies."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from operator import add
from typing import Final

from core.domain.estimates.durations import SAMPLES, Durations, quantile_of
from core.domain.plans import MAX_STEPS

LOW_SHARE: Final = 0.1
HIGH_SHARE: Final = 0.9
WAIT_BAND: Final = (0.5, 2.0)
"""The bounds of a wait for a provider's slot, as shares of its estimate."""

_SEED: Final = 29_000
"""Of 60 seeds the one whose bands are closest to those of 20,000 random courses, for plans of two
to thirteen steps in parallel and in sequence: the shares differ by at most 0.03.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutlook:
    """A step of a plan, in its order.

    needs: the numbers of earlier steps. durations: None: the step has ended. age_seconds: since it
    was submitted; None: it was not. wait_seconds: an estimate of its wait before the submit.
    """

    needs: Sequence[int] = ()
    durations: Durations | None
    age_seconds: float | None = None
    wait_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A time in seconds: expected (the median), and bounds that hold for four of five."""

    seconds: float
    low: float
    high: float

    def after(self, other: "Band") -> "Band":
        """Return the time of both in sequence, as if both were late, or early, together."""
        return Band(
            seconds=self.seconds + other.seconds,
            low=self.low + other.low,
            high=self.high + other.high,
        )


def plan_end(
    steps: Sequence[StepOutlook], passing: Durations, *, ended_seconds_ago: float = 0.0
) -> Band:
    """Return when a plan ends, counted from now.

    passing: the time between the end of a step and the submit of the next, or the plan's end.
    ended_seconds_ago: the age of the last end of a step, if all have ended.

    Each of SAMPLES courses takes one duration of each step, in an order that is fixed and differs
    between the steps. So steps that share a need share its delay, and of parallel steps the slowest
    decides.
    """
    ends: list[list[float]] = []
    for number, step in enumerate(steps):
        if step.durations is None:
            ends.append([0.0] * SAMPLES)
        elif step.age_seconds is not None:
            ends.append(_shuffled(step.durations.remaining(step.age_seconds), 2 * number))
        else:
            start = _latest([ends[need] for need in step.needs])
            before = _sum(start, _shuffled(passing.remaining(), 2 * number + 1))
            if step.wait_seconds > 0:
                before = _sum(before, _waits(step.wait_seconds, number))
            ends.append(_sum(before, _shuffled(step.durations.remaining(), 2 * number)))
    all_ended = all(step.durations is None for step in steps)
    rest = passing.remaining(ended_seconds_ago if all_ended else 0.0)
    samples = sorted(_sum(_latest(ends), _shuffled(rest, 2 * len(steps) + 1)))
    return Band(
        seconds=quantile_of(samples, 0.5),
        low=quantile_of(samples, LOW_SHARE),
        high=quantile_of(samples, HIGH_SHARE),
    )


def _latest(ends: Sequence[Sequence[float]]) -> list[float]:
    return [max(together) for together in zip(*ends, strict=True)] if ends else [0.0] * SAMPLES


def _sum(first: Sequence[float], second: Sequence[float]) -> list[float]:
    return list(map(add, first, second))


def _waits(seconds: float, number: int) -> list[float]:
    shares = [(place + 0.5) / SAMPLES for place in range(SAMPLES)]
    low, high = WAIT_BAND
    waits = [
        seconds * (low + (1 - low) * 2 * share if share < 0.5 else 1 + (high - 1) * (2 * share - 1))
        for share in shares
    ]
    return _shuffled(waits, 3 * MAX_STEPS + number)


@cache
def _order(number: int) -> tuple[int, ...]:
    return tuple(random.Random(_SEED + number).sample(range(SAMPLES), SAMPLES))  # noqa: S311 - no secret


def _shuffled(samples: Sequence[float], number: int) -> list[float]:
    return [samples[place] for place in _order(number)]
