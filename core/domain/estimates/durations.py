"""How long something takes: a distribution, and what remains of it at an age."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

LEVELS: Final = tuple((number + 0.5) / 20 for number in range(20))
"""The shares of all durations that are below the points of a distribution."""
SAMPLES: Final = 40
"""The number of possible courses of an execution that are computed side by side."""
TAIL_SHARE: Final = 0.5
"""Beyond the last point: something that took longer takes up to this share of its age more."""


@dataclass(frozen=True, slots=True)
class Durations:
    """A distribution of durations in seconds. points: ascending, one for each of LEVELS."""

    points: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.points) != len(LEVELS) or list(self.points) != sorted(self.points):
            raise ValueError(f"{len(LEVELS)} ascending points are needed")

    @classmethod
    def around(cls, usual_seconds: float) -> "Durations":
        """Return what is assumed without history: from 0.5 to 2 times the usual duration."""
        return cls(
            tuple(usual_seconds * (0.5 + level if level < 0.5 else 2 * level) for level in LEVELS)
        )

    def times(self, factor: float) -> "Durations":
        return Durations(tuple(point * factor for point in self.points))

    def remaining(self, age_seconds: float = 0.0) -> list[float]:
        """Return SAMPLES equally likely remaining times at an age, ascending.

        Never negative. At an age above all points they grow with the age.
        """
        if age_seconds <= self.points[0]:
            return [max(seconds - age_seconds, 0.0) for seconds in _whole(self)]
        if age_seconds >= self.points[-1]:
            return [age_seconds * TAIL_SHARE * share for share in _SHARES]
        begin = self._share_below(age_seconds)
        return [
            max(self.quantile(begin + share * (1 - begin)) - age_seconds, 0.0) for share in _SHARES
        ]

    def quantile(self, share: float) -> float:
        """Return the duration that this share of all is below."""
        last = len(LEVELS) - 1
        place = share * len(LEVELS) - 0.5
        if place <= 0:
            return self.points[0]
        if place >= last:
            return self.points[-1] * (1 + TAIL_SHARE * (place - last) / 0.5)
        number = int(place)
        low, high = self.points[number], self.points[number + 1]
        return low + (high - low) * (place - number)

    def _share_below(self, seconds: float) -> float:
        number = bisect_right(self.points, seconds)
        if number == 0:
            return 0.0
        low, high = self.points[number - 1], self.points[number]
        return LEVELS[number - 1] + (seconds - low) / (high - low) / len(LEVELS)


_SHARES: Final = tuple((number + 0.5) / SAMPLES for number in range(SAMPLES))


@lru_cache(maxsize=1024)
def _whole(durations: Durations) -> tuple[float, ...]:
    """Return SAMPLES durations, ascending; the same few distributions are needed repeatedly."""
    return tuple(durations.quantile(share) for share in _SHARES)


def quantile_of(samples: Sequence[float], share: float) -> float:
    """Return the value below which this share of ascending samples is."""
    place = min(max(share * len(samples) - 0.5, 0.0), len(samples) - 1.0)
    number = min(int(place), len(samples) - 2)
    return samples[number] + (samples[number + 1] - samples[number]) * (place - number)
