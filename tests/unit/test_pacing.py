"""When to look: often about when a job should be ready, never hot, never for ever."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from activities.pacing import find_seconds, poll_is_due, poll_seconds, time_is_up
from contracts.ids import ExecutionId, JobId, UserId
from contracts.plans import Parameters, StepKind
from contracts.states import JobState
from runtime.policies import CANCEL_GRACE, FIND_BACKOFF_SECONDS, MAX_POLL_SECONDS, MIN_POLL_SECONDS
from store.jobs import JobRecord

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def job(
    *, age: float = 0, usual: int = 60, late: bool = False, cancelled: float | None = None, called: bool = False
) -> JobRecord:
    """age: seconds since it was submitted. cancelled: seconds since its provider was asked to end it."""
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
        parameters=Parameters(prompt="x"),
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
        cancel_requested=cancelled is not None,
        now=NOW,
    )


@given(age=st.floats(0, 100_000), usual=st.integers(1, 10_000))
def test_poll_pause_is_never_hot_and_never_long(age: float, usual: int) -> None:
    assert MIN_POLL_SECONDS <= poll_seconds(job(age=age, usual=usual)) <= MAX_POLL_SECONDS


def test_poll_is_quickest_when_the_job_should_be_ready() -> None:
    assert poll_seconds(job(age=60)) == MIN_POLL_SECONDS
    assert poll_seconds(job(age=0)) == MIN_POLL_SECONDS  # most refusals come within seconds
    assert poll_seconds(job(age=600)) == poll_seconds(job(age=100, usual=1000)) == MAX_POLL_SECONDS
    assert poll_seconds(job(age=0, cancelled=1)) == MIN_POLL_SECONDS


def test_poll_is_due_at_the_first_look_after_a_callback_or_a_long_pause() -> None:
    assert not poll_is_due(job(age=1))
    assert poll_is_due(job(age=1, called=True))
    assert poll_is_due(job(age=30))
    assert poll_is_due(job(age=1, cancelled=0))


def test_time_is_up_past_the_deadline_or_past_the_grace_of_a_cancel() -> None:
    grace = CANCEL_GRACE.total_seconds()
    assert [time_is_up(job()), time_is_up(job(late=True))] == [False, True]
    assert [time_is_up(job(late=True, cancelled=grace - 1)), time_is_up(job(cancelled=grace + 1))] == [False, True]


def test_find_pauses_grow_and_the_last_one_repeats() -> None:
    assert tuple(find_seconds(looks) for looks in range(1, 6)) == FIND_BACKOFF_SECONDS
    assert find_seconds(1000) == FIND_BACKOFF_SECONDS[-1]
