"""Estimates of the end of an execution, judged by durations that were recorded before."""

import random
from collections.abc import Sequence
from itertools import pairwise

import pytest

from core.domain.estimates.durations import LEVELS, SAMPLES, Durations
from core.domain.estimates.plan_ends import Band, StepOutlook, plan_end
from core.domain.estimates.slot_waits import slot_wait

QUICK = Durations.around(0.01)


def recorded(rng: random.Random, usual: float, spread: float, number: int) -> list[float]:
    """Return durations of jobs as providers have them: most are similar, a few take far longer."""
    return [
        usual * rng.lognormvariate(0, spread) * (3 if rng.random() < 0.02 else 1)
        for _ in range(number)
    ]


def measured(seconds: Sequence[float]) -> Durations:
    """Return the distribution that the database computes (percentile_cont)."""
    ordered = sorted(seconds)

    def at(level: float) -> float:
        place = level * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (place - low)

    return Durations(tuple(at(level) for level in LEVELS))


# An image, four clips of it in parallel, and a film of the clips.
USUAL = ((6.0, 0.3, ()), *((75.0, 0.25, (0,)),) * 4, (9.0, 0.2, (1, 2, 3, 4)))


@pytest.mark.parametrize("begun", [0.0, 30.0, 60.0])
def test_band_holds_for_four_of_five_recorded_executions(begun: float) -> None:
    rng = random.Random(7)
    history = [measured(recorded(rng, usual, spread, 300)) for usual, spread, _ in USUAL]
    passing = measured(recorded(rng, 1.0, 0.3, 300))
    within = above = counted = 0
    for _ in range(600):
        taken = [recorded(rng, usual, spread, 1)[0] for usual, spread, _ in USUAL]
        gaps = recorded(rng, 1.0, 0.3, len(USUAL) + 1)
        starts: list[float] = []
        for number, (_, _, needs) in enumerate(USUAL):
            ready = max((starts[need] + taken[need] for need in needs), default=0.0)
            starts.append(ready + gaps[number])
        end = starts[-1] + taken[-1] + gaps[-1]
        if end <= begun:
            continue
        steps = [
            StepOutlook(
                needs=needs,
                durations=history[number] if starts[number] + taken[number] > begun else None,
                age_seconds=begun - starts[number] if starts[number] <= begun else None,
            )
            for number, (_, _, needs) in enumerate(USUAL)
        ]
        band = plan_end(steps, passing)
        counted += 1
        within += band.low <= end - begun <= band.high
        above += end - begun > band.seconds
    assert 0.72 <= within / counted <= 0.88
    assert 0.4 <= above / counted <= 0.6


def test_parallel_steps_take_as_long_as_the_slowest() -> None:
    step = StepOutlook(durations=Durations.around(100))
    one, four = plan_end([step], QUICK), plan_end([step] * 4, QUICK)
    assert one.seconds == pytest.approx(100, abs=2)
    assert one.seconds + 20 < four.seconds < one.high + 10
    line = [step, StepOutlook(needs=(0,), durations=Durations.around(100))]
    assert plan_end(line, QUICK).seconds == pytest.approx(210, abs=20)


def test_sequence_of_steps_has_a_narrower_band_than_their_sum() -> None:
    durations = Durations.around(100)
    line = [
        StepOutlook(needs=(number - 1,) if number else (), durations=durations)
        for number in range(9)
    ]
    one, nine = plan_end(line[:1], QUICK), plan_end(line, QUICK)
    assert 0 < nine.high - nine.low < 5 * (one.high - one.low)


def test_remaining_time_falls_until_the_age_exceeds_the_band() -> None:
    durations = Durations.around(100)
    bands = [
        plan_end([StepOutlook(durations=durations, age_seconds=float(age))], QUICK)
        for age in range(0, 190, 5)
    ]
    seconds = [band.seconds for band in bands]
    assert all(later < sooner + 1e-6 for sooner, later in pairwise(seconds))
    assert seconds[-1] < 60


def test_overdue_step_keeps_a_growing_band_above_zero() -> None:
    durations = Durations.around(100)
    bands = [
        plan_end([StepOutlook(durations=durations, age_seconds=age)], QUICK)
        for age in (195.0, 300.0, 900.0)
    ]
    widths = [band.high - band.low for band in bands]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]
    assert all(0 <= band.low < band.seconds < band.high for band in bands)


def test_ended_plan_only_waits_for_its_end() -> None:
    band = plan_end([StepOutlook(durations=None)], Durations.around(2), ended_seconds_ago=1.0)
    assert 0 <= band.low < band.seconds < 2


def test_wait_for_a_provider_counts_before_its_step() -> None:
    step = StepOutlook(durations=Durations.around(10))
    waiting = StepOutlook(durations=Durations.around(10), wait_seconds=100)
    free, busy = plan_end([step], QUICK), plan_end([waiting], QUICK)
    assert busy.seconds - free.seconds == pytest.approx(100, abs=10)
    assert busy.low - free.low < 75
    assert busy.high - free.high > 150


def test_queue_position_waits_for_the_oldest_running_execution() -> None:
    run = Band(seconds=100.0, low=80.0, high=150.0)
    ages = [90.0, 40.0]
    assert slot_wait(1, ages, run) == Band(seconds=10.0, low=8.0, high=60.0)
    assert slot_wait(2, ages, run).seconds == 60.0
    assert slot_wait(3, ages, run).seconds == 110.0


@pytest.mark.parametrize("age", [0.0, 5.0, 60.0, 100.0, 195.0, 1e6])
def test_remaining_times_are_ascending_and_never_negative(age: float) -> None:
    for durations in (Durations.around(100), Durations((60.0,) * len(LEVELS))):
        remaining = durations.remaining(age)
        assert len(remaining) == SAMPLES
        assert remaining == sorted(remaining)
        assert remaining[0] >= 0.0


def test_points_that_are_not_ascending_are_refused() -> None:
    with pytest.raises(ValueError, match="ascending"):
        Durations((2.0, 1.0, *[3.0] * (len(LEVELS) - 2)))
