"""Poll intervals: short when a job should be ready, bounded below and above."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.ids import ExecutionId, JobId, UserId
from core.domain.look_times import (
    LATE_SECONDS,
    LEAST_SHARE,
    MAX_BACKUP_POLL_SECONDS,
    MAX_POLL_SECONDS,
    MIN_POLL_SECONDS,
    MOST_SHARE,
    first_look_seconds,
)
from core.domain.plans import Parameters, StepKind
from core.domain.states import JobState
from core.jobs.waiting.poll_schedule import (
    CANCELLED_FIND_SECONDS,
    DUE_FIND_SECONDS,
    HORIZON_SLACK_SECONDS,
    JITTER,
    MAX_FAILED_LOOK_SECONDS,
    MAX_RETRY_AFTER_SECONDS,
    at_least,
    failed_look_seconds,
    find_is_over,
    find_seconds,
    jittered,
    look_seconds,
    seconds_left,
    until_due,
    wait_is_over,
)
from core.platform.temporal.policies import (
    CANCEL_GRACE,
    FIND_BACKOFF_SECONDS,
)
from core.store.jobs.jobs import JobRecord

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def job(
    *,
    age: float = 0,
    usual: int = 60,
    late: bool = False,
    cancelled: float | None = None,
    called: bool = False,
    calls_back: bool = False,
) -> JobRecord:
    """Return a job submitted `age` seconds ago and cancelled `cancelled` seconds ago."""
    return JobRecord(
        job_id=JobId("job_1"),
        execution_id=ExecutionId("exec_1"),
        user_id=UserId("usr_1"),
        step_name="video",
        kind=StepKind.VIDEO,
        provider="p",
        model="m",
        state=JobState.SUBMITTED,
        send_number=1,
        parameters=Parameters(values={"prompt": "x"}),
        usual_seconds=usual,
        deadline_seconds=1200,
        handle=None,
        report=None,
        failure=None,
        deadline_at=NOW + timedelta(seconds=-1 if late else 100),
        late=late,
        cancel_sent_at=None if cancelled is None else NOW - timedelta(seconds=cancelled),
        callback_at=NOW if called else None,
        submitted_at=NOW - timedelta(seconds=age),
        execution_status="running",
        execution_generation=1,
        cancel_requested_at=None if cancelled is None else NOW - timedelta(seconds=cancelled),
        execution_late=False,
        orphan=False,
        now=NOW,
        calls_back=calls_back,
    )


@given(age=st.floats(0, 100_000), usual=st.integers(1, 10_000))
def test_look_pause_is_bounded_below_and_above(age: float, usual: int) -> None:
    assert MIN_POLL_SECONDS <= look_seconds(job(age=age, usual=usual)) <= MAX_POLL_SECONDS


def looks_until_end(
    usual: int, ends: float, *, calls_back: bool, slow: float | None = None
) -> tuple[int, float]:
    """Return how often a job is read until its end is seen without a callback, and how late."""
    age, looks = 0.0, 0
    if calls_back:
        age, looks = first_look_seconds(usual, slow), 1
    while age < ends:
        age += look_seconds(job(age=age, usual=usual, calls_back=calls_back))
        looks += 1
    return looks, age - ends


def looks_until_callback(usual: int, ends: float, slow: float | None) -> int:
    """Return how often a job is read whose callback arrives at its end and is read at once."""
    return looks_until_end(usual, ends, calls_back=True, slow=slow)[0]


def test_looks_are_few_and_notice_the_end_soon() -> None:
    for usual in (1, 4, 30, 60, 90):
        looks, late = looks_until_end(usual, usual, calls_back=False)
        assert looks <= 6
        assert late <= max(MIN_POLL_SECONDS, usual / 10)
        looks, late = looks_until_end(usual, 1.5 * usual, calls_back=False)
        assert looks <= 14
        assert late <= max(MIN_POLL_SECONDS, usual / 5)


def test_first_look_with_callbacks_is_past_the_usual_duration() -> None:
    for usual in (4, 60, 90, 300):
        assert looks_until_end(usual, usual * 1.3, calls_back=True)[0] == 1
        assert look_seconds(job(age=1, usual=usual, calls_back=True)) >= usual / 2
        late = look_seconds(job(age=usual * 1.3 + 4, usual=usual, calls_back=True))
        assert MIN_POLL_SECONDS <= late <= MAX_BACKUP_POLL_SECONDS
    assert look_seconds(job(age=600, usual=60, calls_back=True)) == MAX_BACKUP_POLL_SECONDS
    assert look_seconds(job(age=200, usual=60, calls_back=True)) == 50


@pytest.mark.parametrize("real", [0.4, 0.7, 1.0, 1.6, 2.2])
def test_measured_durations_keep_reads_few_and_lost_callbacks_short(real: float) -> None:
    """The model takes another time than the catalogue's 90 seconds, with a spread of a third."""
    usual, chance = 90, Random(1)
    durations = [real * usual * chance.uniform(0.67, 1.33) for _ in range(500)]
    slow = sorted(durations)[475]
    reads = [looks_until_callback(usual, ends, slow) for ends in durations]
    assert max(reads) <= 2
    assert sum(reads) <= 1.1 * len(reads)  # the one after the callback
    unmeasured = [looks_until_callback(usual, ends, None) for ends in durations]
    assert sum(reads) <= sum(unmeasured)
    assert (max(unmeasured) > 1) is (real > 1)
    lost = [looks_until_end(usual, ends, calls_back=True, slow=slow)[1] for ends in durations]
    assert max(lost) <= first_look_seconds(usual, slow) - min(durations)


@given(
    usual=st.integers(1, 10_000),
    slow=st.one_of(st.none(), st.floats(0, 1e9)),
)
def test_first_look_is_bounded_by_the_usual_duration(usual: int, slow: float | None) -> None:
    first = first_look_seconds(usual, slow) - LATE_SECONDS
    assert LEAST_SHARE * usual * 0.99 <= first <= MOST_SHARE * usual * 1.01


def test_job_is_read_often_after_a_callback_or_a_cancel() -> None:
    assert look_seconds(job(age=5, called=True, calls_back=True)) == MIN_POLL_SECONDS
    assert look_seconds(job(age=5, cancelled=1, calls_back=True)) == MIN_POLL_SECONDS


def test_failed_looks_are_repeated_soon_with_growing_pauses() -> None:
    pauses = [failed_look_seconds(count) for count in range(1, 2000)]
    assert pauses[0] <= 2
    assert pauses[:5] == sorted(set(pauses[:5]))
    assert set(pauses[10:]) == {MAX_FAILED_LOOK_SECONDS}


def test_pause_of_a_wait_ends_at_its_deadline() -> None:
    assert 100 <= seconds_left(job()) < 101
    assert seconds_left(job(late=True)) < 1
    assert seconds_left(job(cancelled=CANCEL_GRACE.total_seconds() - 5)) < 6


def test_wait_ends_after_the_deadline_or_cancel_grace_period() -> None:
    grace = CANCEL_GRACE.total_seconds()
    assert [wait_is_over(job()), wait_is_over(job(late=True))] == [False, True]
    assert [
        wait_is_over(job(late=True, cancelled=grace - 1)),
        wait_is_over(job(cancelled=grace + 1)),
    ] == [False, True]


def test_find_pauses_grow_and_the_last_one_repeats() -> None:
    assert tuple(find_seconds(job(), looks) for looks in range(1, 6)) == FIND_BACKOFF_SECONDS
    assert find_seconds(job(), 1000) == FIND_BACKOFF_SECONDS[-1]
    assert find_seconds(job(cancelled=1), 1000) == CANCELLED_FIND_SECONDS


def test_find_continues_past_the_deadline_until_the_horizon() -> None:
    """A job whose worker was killed before the POST is kept until its horizon, then sent again."""
    late = job(late=True)
    assert not find_is_over(late, send_age_seconds=1080, horizon_seconds=1080)
    assert find_is_over(
        late, send_age_seconds=1080 + HORIZON_SLACK_SECONDS + 1, horizon_seconds=1080
    )
    assert not find_is_over(job(), send_age_seconds=100_000, horizon_seconds=1080)


def test_look_that_can_prove_an_absence_is_on_time() -> None:
    assert 7.0 < until_due(20.0, 7.0) < 7.5
    assert until_due(1.0, 7.0) == 1.0
    assert until_due(20.0, -100.0) == DUE_FIND_SECONDS
    assert until_due(1.0, -100.0) == 1.0


def test_late_find_waits_for_a_readable_list() -> None:
    """An outage may have lasted for longer than the deadline."""
    late, is_over = (
        job(late=True),
        partial(find_is_over, send_age_seconds=5000, horizon_seconds=1080),
    )
    assert is_over(late)
    assert not is_over(late, unread=True)
    assert not is_over(late, due_seconds=50)
    assert is_over(late, due_seconds=-HORIZON_SLACK_SECONDS - 1)
    assert is_over(replace(late, execution_late=True), unread=True)


def test_find_of_a_cancelled_job_ends_at_grace_or_deadline() -> None:
    grace = CANCEL_GRACE.total_seconds()
    assert not find_is_over(job(cancelled=grace - 1), send_age_seconds=1, horizon_seconds=1080)
    assert find_is_over(job(cancelled=grace + 1), send_age_seconds=1, horizon_seconds=1080)
    assert find_is_over(
        replace(job(), execution_late=True), send_age_seconds=1, horizon_seconds=1080
    )


@given(seconds=st.floats(0.1, 100), chance=st.floats(0, 1))
def test_pause_is_jittered_around_its_value(seconds: float, chance: float) -> None:
    pause = jittered(seconds, chance)
    assert seconds * (1 - JITTER) * 0.999 <= pause <= seconds * (1 + JITTER) * 1.001
    assert jittered(seconds, 0) < jittered(seconds, 0.5) < jittered(seconds, 1)


def test_pause_respects_a_providers_minimum_and_is_bounded() -> None:
    assert at_least(5, 0) == 5
    assert at_least(5, 20) == 20
    assert at_least(5, -1) == 5
    assert at_least(5, 1e9) == MAX_RETRY_AFTER_SECONDS
