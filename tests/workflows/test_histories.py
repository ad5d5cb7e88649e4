"""Jobs read from a history, event by event: whether a send may be out, and which one."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.converter import DataConverter

from core.domain.failures import Failure, FailureCode
from core.domain.ids import ExecutionId, JobId, ProviderJobId, ProviderKeyId, UserId
from core.domain.messages.executions import ExecutionOutcome
from core.domain.messages.jobs import (
    FindJobResult,
    FindOutcome,
    JobRef,
    SubmitJobResult,
    SubmitOutcome,
)
from core.domain.states import ExecutionStatus
from core.maintenance.restores.histories import (
    NATIVE_CANCEL_REASON,
    HistoryReader,
    JobFate,
    RecordedJob,
)

JOB = JobId("job_1")
REF = JobRef(user_id=UserId("usr_1"), execution_id=ExecutionId("exec_1"), job_id=JOB, generation=1)
AT = datetime(2026, 1, 2, tzinfo=UTC)
ANSWERED = AT + timedelta(minutes=20)
LOST = "lost"
P1 = ProviderJobId("p1")
AT_START, LATER = ProviderKeyId("pkey_1"), ProviderKeyId("pkey_2")
REFUSED = Failure.of(FailureCode.CONTENT_MODERATED)
UNKNOWN = Failure.of(FailureCode.SUBMISSION_UNKNOWN)


async def payloads(*values: Any) -> Payloads:
    return Payloads(payloads=await DataConverter.default.encode(values))


async def activity(numbers: Iterator[int], name: str, result: Any) -> list[HistoryEvent]:
    """Ordered, and answered unless it was lost."""
    ordered = HistoryEvent(
        event_id=next(numbers), event_type=EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    )
    ordered.event_time.FromDatetime(AT)
    ordered.activity_task_scheduled_event_attributes.activity_type.name = name
    ordered.activity_task_scheduled_event_attributes.input.CopyFrom(await payloads(REF))
    if result == LOST:
        timed_out = HistoryEvent(
            event_id=next(numbers), event_type=EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT
        )
        return [ordered, timed_out]
    done = HistoryEvent(
        event_id=next(numbers), event_type=EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
    )
    done.event_time.FromDatetime(ANSWERED)
    done.activity_task_completed_event_attributes.scheduled_event_id = ordered.event_id
    done.activity_task_completed_event_attributes.result.CopyFrom(await payloads(result))
    return [ordered, done]


def submit(outcome: SubmitOutcome, number: int = 0, **more: Any) -> tuple[str, SubmitJobResult]:
    return "submit_job", SubmitJobResult(outcome=outcome, send_number=number, **more)


def find(outcome: FindOutcome, number: int = 0, **more: Any) -> tuple[str, FindJobResult]:
    return "find_job", FindJobResult(outcome=outcome, send_number=number, **more)


LOST_SUBMIT = ("submit_job", LOST)
NOT_SENT = submit(SubmitOutcome.NOT_SENT, 1)


@pytest.mark.parametrize(
    ("answers", "fate", "number", "provider_job_id", "failure"),
    [
        ([], JobFate.WAITING, 0, None, None),
        ([LOST_SUBMIT], JobFate.UNKNOWN, 1, None, None),
        ([submit(SubmitOutcome.SUBMITTED, 1, provider_job_id=P1)], JobFate.SUBMITTED, 1, P1, None),
        ([NOT_SENT], JobFate.WAITING, 1, None, None),
        (
            [submit(SubmitOutcome.NOT_SENT)],
            JobFate.WAITING,
            0,
            None,
            None,
        ),  # paused: there was no send
        ([NOT_SENT, LOST_SUBMIT], JobFate.UNKNOWN, 2, None, None),
        (
            [NOT_SENT, submit(SubmitOutcome.SUBMITTED, 2, provider_job_id=P1)],
            JobFate.SUBMITTED,
            2,
            P1,
            None,
        ),
        ([submit(SubmitOutcome.UNKNOWN, 1)], JobFate.UNKNOWN, 1, None, None),
        ([LOST_SUBMIT, ("find_job", LOST)], JobFate.UNKNOWN, 1, None, None),
        (
            [LOST_SUBMIT, find(FindOutcome.FOUND, 1, provider_job_id=P1)],
            JobFate.SUBMITTED,
            1,
            P1,
            None,
        ),
        ([LOST_SUBMIT, find(FindOutcome.ABSENT, 1)], JobFate.WAITING, 1, None, None),
        ([LOST_SUBMIT, find(FindOutcome.ABSENT, 1), LOST_SUBMIT], JobFate.UNKNOWN, 2, None, None),
        (
            [LOST_SUBMIT, find(FindOutcome.GIVEN_UP, 1, failure=UNKNOWN)],
            JobFate.FAILED,
            1,
            None,
            UNKNOWN,
        ),
        ([submit(SubmitOutcome.REFUSED, 1, failure=REFUSED)], JobFate.FAILED, 1, None, REFUSED),
        ([NOT_SENT, submit(SubmitOutcome.STOPPED, 1)], JobFate.WAITING, 1, None, None),
        (
            [submit(SubmitOutcome.ENDED, 1, provider_job_id=P1)],
            JobFate.SUBMITTED,
            1,
            P1,
            None,
        ),  # asked there again
    ],
)
async def test_history_shows_the_last_send(
    answers: list[tuple[str, Any]],
    fate: JobFate,
    number: int,
    provider_job_id: ProviderJobId | None,
    failure: Failure | None,
) -> None:
    waiting = RecordedJob(fate=JobFate.WAITING, send_number=0, at=AT)
    reading = HistoryReader(converter=DataConverter.default, jobs={JOB: waiting})
    numbers = itertools.count(5)
    for name, result in answers:
        for event in await activity(numbers, name, result):
            await reading.read(event)
    submits = [result for name, result in answers if name == "submit_job"]
    expected = RecordedJob(
        fate=fate,
        send_number=number,
        at=AT,
        until=ANSWERED if submits and submits[-1] != LOST else None,
        provider_job_id=provider_job_id,
        failure=failure,
    )
    assert {job_id: replace(past, key_known=False) for job_id, past in reading.jobs.items()} == {
        JOB: expected
    }


ACCEPTED = submit(SubmitOutcome.SUBMITTED, 1, provider_job_id=P1)
P2 = ProviderJobId("p2")


@pytest.mark.guarantee("G1")
@pytest.mark.parametrize(
    ("answers", "fate", "number", "provider_job_id", "retired"),
    [
        ([ACCEPTED, LOST_SUBMIT], JobFate.UNKNOWN, 2, None, [P1]),
        (
            [ACCEPTED, submit(SubmitOutcome.SUBMITTED, 2, provider_job_id=P2)],
            JobFate.SUBMITTED,
            2,
            P2,
            [P1],
        ),
        ([ACCEPTED, NOT_SENT], JobFate.WAITING, 1, None, [P1]),
        ([ACCEPTED, NOT_SENT, LOST_SUBMIT], JobFate.UNKNOWN, 2, None, [P1]),
        (
            [ACCEPTED, LOST_SUBMIT, find(FindOutcome.FOUND, 2, provider_job_id=P2), LOST_SUBMIT],
            JobFate.UNKNOWN,
            3,
            None,
            [P1, P2],
        ),
        # A reset run submits a job that is still at its provider: nothing is sent.
        ([ACCEPTED, ACCEPTED], JobFate.SUBMITTED, 1, P1, []),
    ],
)
async def test_history_shows_the_sends_that_failed_at_no_cost(
    answers: list[tuple[str, Any]],
    fate: JobFate,
    number: int,
    provider_job_id: ProviderJobId | None,
    retired: list[ProviderJobId],
) -> None:
    """A run submits a job again after it was accepted only if that send failed at no cost."""
    reading = HistoryReader(converter=DataConverter.default, jobs={})
    numbers = itertools.count(5)
    for name, result in answers:
        for event in await activity(numbers, name, result):
            await reading.read(event)
    job = reading.jobs[JOB]
    assert (job.fate, job.send_number, job.provider_job_id) == (fate, number, provider_job_id)
    assert [send.provider_job_id for send in job.retired] == retired
    assert all(send.retired == () for send in job.retired)


async def test_accepted_job_of_an_earlier_run_is_not_sent_again() -> None:
    """The run that an operator started finds the job at its provider."""
    reading = HistoryReader(converter=DataConverter.default, jobs={})
    numbers = itertools.count(5)
    for event in await activity(numbers, *ACCEPTED):
        await reading.read(event)
    await reading.read(
        HistoryEvent(event_id=1, event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED)
    )
    for event in await activity(numbers, *LOST_SUBMIT):
        await reading.read(event)
    assert (reading.jobs[JOB].fate, reading.jobs[JOB].retired) == (JobFate.SUBMITTED, ())


@pytest.mark.guarantee("G1")
@pytest.mark.parametrize(
    ("answers", "key", "known"),
    [
        ([LOST_SUBMIT], AT_START, False),
        ([submit(SubmitOutcome.UNKNOWN, 1, provider_key_id=LATER)], LATER, True),
        ([submit(SubmitOutcome.UNKNOWN, 1)], None, True),  # the service's own
        (
            [LOST_SUBMIT, find(FindOutcome.FOUND, 1, provider_job_id=P1, provider_key_id=LATER)],
            LATER,
            True,
        ),
        ([submit(SubmitOutcome.NOT_SENT, 1, provider_key_id=LATER), LOST_SUBMIT], AT_START, False),
    ],
)
async def test_history_shows_the_key_of_the_last_send(
    answers: list[tuple[str, Any]], key: ProviderKeyId | None, known: bool
) -> None:
    waiting = RecordedJob(fate=JobFate.WAITING, send_number=0, at=AT)
    reading = HistoryReader(
        converter=DataConverter.default, jobs={JOB: waiting}, own_keys={JOB: AT_START}
    )
    numbers = itertools.count(5)
    for name, result in answers:
        for event in await activity(numbers, name, result):
            await reading.read(event)
    assert (reading.jobs[JOB].provider_key_id, reading.jobs[JOB].key_known) == (key, known)


@pytest.mark.parametrize(
    ("status", "failure", "stands"),
    [
        (None, None, True),
        (ExecutionStatus.CANCELLED, None, True),
        (ExecutionStatus.COMPLETED, None, False),
        (ExecutionStatus.FAILED, REFUSED, False),
        (ExecutionStatus.FAILED, Failure.of(FailureCode.DEADLINE_EXCEEDED), True),
    ],
)
async def test_history_shows_whether_a_cancel_is_effective(
    status: ExecutionStatus | None, failure: Failure | None, stands: bool
) -> None:
    reading = HistoryReader(converter=DataConverter.default, jobs={})
    await reading.read(
        HistoryEvent(
            event_id=3, event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED
        )
    )
    assert reading.cancel_reason == NATIVE_CANCEL_REASON
    if status is not None:
        ended = HistoryEvent(
            event_id=9, event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED
        )
        outcome = await payloads(ExecutionOutcome(status=status, failure=failure))
        ended.workflow_execution_completed_event_attributes.result.CopyFrom(outcome)
        await reading.read(ended)
    assert reading.cancel_is_effective() is stands


async def test_history_keeps_the_users_own_reason_of_a_cancel() -> None:
    reading = HistoryReader(converter=DataConverter.default, jobs={})
    signal = HistoryEvent(event_id=3, event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)
    signal.workflow_execution_signaled_event_attributes.signal_name = "cancel_requested"
    signal.workflow_execution_signaled_event_attributes.input.CopyFrom(
        await payloads("asked for by the user", 1)
    )
    await reading.read(signal)
    assert reading.cancel_reason == "asked for by the user"
