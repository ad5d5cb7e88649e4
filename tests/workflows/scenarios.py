"""Every way an execution can go, as far as its workflow decides it. Run by the tests, and recorded
by `record.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import uuid4

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from core.domain.failures import Failure, FailureCode
from core.domain.ids import ExecutionId, JobId, UserId
from core.domain.messages.assets import StoreAssetResult
from core.domain.messages.executions import (
    ClaimOutcome,
    ClaimResult,
    ExecutionOrder,
    ExecutionOutcome,
    StepJob,
)
from core.domain.messages.jobs import (
    FindJobResult,
    FindOutcome,
    SettleJobResult,
    SubmitJobResult,
    SubmitOutcome,
)
from core.domain.money import NanoUsd
from core.domain.plans import Plan
from core.domain.states import ExecutionStatus, JobState
from tests.workflows.fake_activities import IMAGE, PLAN, VIDEO, FakeActivities, workers
from workflows.execution import ExecutionWorkflow

Handle = WorkflowHandle[ExecutionWorkflow, ExecutionOutcome]
Act = Callable[[Handle, FakeActivities], Awaitable[None]]
LIMIT_SECONDS = 45.0
REASON = "changed my mind"


async def _nothing(_handle: Handle, _stage: FakeActivities) -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """answers: results of the activities. act: what a user or operator does meanwhile.

    closed_as_cancelled: Temporal shows the workflow as Canceled, because it was cancelled natively.
    repeatable: its commands are the same every time; not where two things race at the server.
    skips_time: not where the act has to come while a timer of the workflow runs.
    plan: the image's file is stored at once, or waits for the video's.
    """

    status: ExecutionStatus | None
    answers: dict[str, list[object]] = field(default_factory=dict[str, list[object]])
    failure: FailureCode | None = None
    act: Act = _nothing
    closed_as_cancelled: bool = False
    repeatable: bool = True
    plan: Plan = PLAN
    breakpoints: tuple[str, ...] = ()
    skips_time: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """outcome: None if the workflow closed as Canceled."""

    stage: FakeActivities
    handle: Handle
    outcome: ExecutionOutcome | None


async def play(client: Client, scenario: Scenario, *, cached: int = 100) -> Played:
    stage = FakeActivities(
        answers={call: list(answers) for call, answers in scenario.answers.items()}
    )
    for call in scenario.breakpoints:
        stage.breakpoint_at(call)
    queue = f"executions-{uuid4()}"
    order = ExecutionOrder(
        execution_id=ExecutionId("exec_1"),
        user_id=UserId("usr_1"),
        generation=1,
        plan=scenario.plan,
    )
    if not scenario.skips_time:
        client = await Client.connect(
            client.service_client.config.target_host, namespace=client.namespace
        )
    async with workers(client, stage, queue, cached=cached), asyncio.timeout(LIMIT_SECONDS):
        handle = await client.start_workflow(
            ExecutionWorkflow.run, order, id=f"exec_{uuid4().hex}", task_queue=queue
        )
        await scenario.act(handle, stage)
        try:
            outcome = await handle.result()
        except WorkflowFailureError:
            outcome = None
    return Played(stage=stage, handle=handle, outcome=outcome)


async def signal(handle: Handle, stage: FakeActivities) -> None:
    """As the API does it: committed in the row first."""
    stage.cancel_requested = True
    await handle.signal(ExecutionWorkflow.cancel_requested, REASON)


async def _reconciler_cancels(handle: Handle, stage: FakeActivities) -> None:
    """Cancel as the reconciler does past the deadline."""
    stage.cancel_requested = True
    await handle.signal(ExecutionWorkflow.cancel_requested, FailureCode.DEADLINE_EXCEEDED)


async def _native(handle: Handle, _stage: FakeActivities) -> None:
    await handle.cancel(reason=REASON)


def at(call: str, *orders: Act) -> Act:
    """Give orders while an activity is at work; it answers only after the workflow has seen the
    first of them.
    """

    async def act(handle: Handle, stage: FakeActivities) -> None:
        stop = stage.breakpoint_at(call)
        await stop.reached.wait()
        for order in orders:
            await order(handle, stage)
        if not call.startswith(
            ("claim", "finish")
        ):  # a local activity's task must end before anything is seen
            await _seen(handle, len(orders))
        stop.open()

    return act


_ORDERS = (
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED,
)


async def _seen(handle: Handle, count: int) -> None:
    """Until this many orders are in the history, and a workflow task after the last of them."""
    while True:
        types = [event.event_type for event in (await handle.fetch_history()).events]
        ordered = [position for position, type_ in enumerate(types) if type_ in _ORDERS]
        if (
            len(ordered) >= count
            and EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED in types[ordered[-1] :]
        ):
            return
        await asyncio.sleep(0.02)


async def _twice(handle: Handle, stage: FakeActivities) -> None:
    await at("wait video", signal)(handle, stage)
    await at("finish", _native)(handle, stage)


UNKNOWN = SubmitJobResult(outcome=SubmitOutcome.UNKNOWN)
CANCELLED, FAILED, COMPLETED = (
    ExecutionStatus.CANCELLED,
    ExecutionStatus.FAILED,
    ExecutionStatus.COMPLETED,
)


def _refused(code: FailureCode) -> SubmitJobResult:
    return SubmitJobResult(outcome=SubmitOutcome.REFUSED, failure=Failure.of(code))


def failed_free(number: int) -> SettleJobResult:
    return SettleJobResult(
        state=JobState.WAITING,
        failure=Failure.of(FailureCode.PROVIDER_FAILED),
        execution_spent_nano_usd=NanoUsd(0),
        resend=number,
    )


def _cancelled(
    call: str, *orders: Act, native: bool, answers: dict[str, list[object]] | None = None
) -> Scenario:
    return Scenario(
        status=CANCELLED,
        failure=FailureCode.CANCELLED,
        breakpoints=(call,),
        act=at(call, *orders),
        answers=answers or {},
        closed_as_cancelled=native,
    )


def _claimed(*, image_stored: bool, video: JobState = JobState.WAITING) -> ClaimResult:
    """Of a retry: the image was paid for by the generation before."""
    return ClaimResult(
        outcome=ClaimOutcome.CLAIMED,
        jobs=(
            StepJob(
                step=IMAGE, job_id=JobId("job_image"), state=JobState.COMPLETED, stored=image_stored
            ),
            StepJob(step=VIDEO, job_id=JobId("job_video"), state=video),
        ),
    )


def _ordered(reason: str) -> Act:
    async def order(handle: Handle, stage: FakeActivities) -> None:
        stage.cancel_requested = True
        await handle.signal(ExecutionWorkflow.cancel_requested, args=[reason, 1])

    return order


async def _of_an_earlier_generation(handle: Handle, _stage: FakeActivities) -> None:
    """A signal of the generation before a retry arrives after it."""
    await handle.signal(ExecutionWorkflow.cancel_requested, args=[REASON, 9])


GIVEN_UP: dict[str, list[object]] = {
    "submit video": [SubmitJobResult(outcome=SubmitOutcome.UNKNOWN)],
    "find video": [
        FindJobResult(
            outcome=FindOutcome.GIVEN_UP, failure=Failure.of(FailureCode.SUBMISSION_UNKNOWN)
        )
    ],
}

RUNS: dict[str, list[object]] = {"wait video": ["runs"]}
NO_ROOM = ClaimResult(outcome=ClaimOutcome.WAITING)
NEVER_ROOM: dict[str, list[object]] = {"claim": [NO_ROOM, NO_ROOM, NO_ROOM]}
BOTH: dict[str, list[object]] = {"wait image": ["runs"]}

SCENARIOS: dict[str, Scenario] = {
    "happy": Scenario(status=COMPLETED),
    "lost": Scenario(status=None, answers={"claim": [ClaimResult(outcome=ClaimOutcome.LOST)]}),
    "no_room": Scenario(status=None, answers={"claim": [NO_ROOM]}),
    "refused": Scenario(
        status=FAILED,
        failure=FailureCode.PROVIDER_REJECTED_INPUT,
        answers={"submit image": [_refused(FailureCode.PROVIDER_REJECTED_INPUT)]},
    ),
    "unknown_found": Scenario(status=COMPLETED, answers={"submit video": [UNKNOWN]}),
    "unknown_absent_sent": Scenario(
        status=COMPLETED,
        answers={
            "submit image": [UNKNOWN],
            "find image": [FindJobResult(outcome=FindOutcome.ABSENT)],
        },
    ),
    "unknown_given_up": Scenario(
        status=FAILED,
        failure=FailureCode.SUBMISSION_UNKNOWN,
        answers=GIVEN_UP,
    ),
    "submit_lost": Scenario(
        status=COMPLETED, answers={"submit video": [ApplicationError("the database went away")]}
    ),
    "not_sent_retry_after": Scenario(
        status=COMPLETED,
        answers={
            "submit image": [
                SubmitJobResult(
                    outcome=SubmitOutcome.NOT_SENT,
                    retry_after_seconds=300,
                    failure=Failure.of(FailureCode.PROVIDER_RATE_LIMITED),
                )
            ]
            * 2
        },
    ),
    "held_back": Scenario(
        status=COMPLETED,
        answers={
            "submit image": [SubmitJobResult(outcome=SubmitOutcome.NOT_SENT, held_back=True)] * 12
        },
    ),
    "image_store_fails": Scenario(
        status=COMPLETED,
        answers={
            "store image": [
                StoreAssetResult(asset_id=None, failure=Failure.of(FailureCode.OUTPUT_EXPIRED))
            ]
        },
    ),
    "result_store_fails": Scenario(
        status=FAILED,
        failure=FailureCode.OUTPUT_INVALID,
        answers={
            "store video": [
                StoreAssetResult(asset_id=None, failure=Failure.of(FailureCode.OUTPUT_INVALID))
            ]
        },
    ),
    "storage_away": Scenario(
        status=FAILED,
        failure=FailureCode.STORAGE_UNAVAILABLE,
        answers={
            "store video": [
                ApplicationError("the storage is away", next_retry_delay=timedelta(hours=2))
            ]
            * 2
        },
    ),
    "kept": Scenario(status=COMPLETED, answers={"claim": [_claimed(image_stored=True)]}),
    "kept_and_not_stored": Scenario(
        status=COMPLETED, answers={"claim": [_claimed(image_stored=False)]}
    ),
    "all_kept": Scenario(
        status=COMPLETED, answers={"claim": [_claimed(image_stored=True, video=JobState.COMPLETED)]}
    ),
    "provider_fails": Scenario(
        status=FAILED,
        failure=FailureCode.PROVIDER_FAILED,
        answers={"wait video": [JobState.FAILED]},
    ),
    "deadline_passed": Scenario(
        status=FAILED,
        failure=FailureCode.PROVIDER_TIMED_OUT,
        answers={"wait video": [JobState.SUBMITTED, "runs"]},
    ),
    "deadline_passed_and_never_ends": Scenario(
        status=FAILED,
        failure=FailureCode.PROVIDER_FAILED,
        answers={"wait video": [JobState.SUBMITTED, JobState.SUBMITTED]},
    ),
    "signal_at_claim": _cancelled("claim", signal, native=False),
    "native_at_claim": replace(
        _cancelled("claim", _native, native=True, answers=BOTH), repeatable=False
    ),
    # Cancelled while it waits for a slot: this run ends it from the queue.
    "signal_while_no_room": replace(
        _cancelled("claim", signal, native=False, answers=NEVER_ROOM), repeatable=False
    ),
    "native_while_no_room": replace(
        _cancelled("claim", _native, native=True, answers=NEVER_ROOM), repeatable=False
    ),
    "signal_in_submit": _cancelled("submit image", signal, native=False, answers=BOTH),
    "native_in_submit": _cancelled("submit image", _native, native=True, answers=BOTH),
    "signal_then_native_in_submit": _cancelled(
        "submit image", signal, _native, native=True, answers=BOTH
    ),
    "native_then_signal_in_submit": _cancelled(
        "submit image", _native, signal, native=True, answers=BOTH
    ),
    "signal_while_unknown": _cancelled(
        "find video", signal, native=False, answers={"submit video": [UNKNOWN], **RUNS}
    ),
    "given_up_after_a_cancel": _cancelled(
        "find video", _ordered(REASON), native=False, answers=GIVEN_UP
    ),
    "given_up_after_the_deadline": Scenario(
        status=FAILED,
        failure=FailureCode.SUBMISSION_UNKNOWN,
        breakpoints=("find video",),
        act=at("find video", _ordered(FailureCode.DEADLINE_EXCEEDED)),
        answers=GIVEN_UP,
    ),
    "free_failure_sent_again": Scenario(
        status=COMPLETED,
        answers={
            "wait video": [JobState.FAILED, JobState.FAILED],
            "settle video": [failed_free(1), failed_free(2)],
        },
    ),
    "cancelled_after_a_free_failure": Scenario(
        status=CANCELLED,
        failure=FailureCode.CANCELLED,
        answers={"wait video": [JobState.FAILED], "settle video": [failed_free(1)]},
        breakpoints=("wait video",),
        act=at("wait video", signal),
    ),
    "refused_until_the_deadline": Scenario(
        status=FAILED,
        failure=FailureCode.PROVIDER_RATE_LIMITED,
        breakpoints=("submit video",),
        act=at("submit video", _ordered(FailureCode.DEADLINE_EXCEEDED)),
        answers={
            "submit video": [
                SubmitJobResult(
                    outcome=SubmitOutcome.NOT_SENT,
                    failure=Failure.of(FailureCode.PROVIDER_RATE_LIMITED),
                )
            ]
        },
    ),
    "signal_of_another_generation": Scenario(
        status=COMPLETED,
        breakpoints=("wait video",),
        act=at("wait video", _of_an_earlier_generation),
    ),
    "signal_while_waiting": Scenario(
        status=CANCELLED,
        failure=FailureCode.CANCELLED,
        answers=RUNS,
        breakpoints=("wait video",),
        act=at("wait video", signal),
    ),
    "native_while_waiting": Scenario(
        status=CANCELLED,
        failure=FailureCode.CANCELLED,
        answers=RUNS,
        breakpoints=("wait video",),
        act=at("wait video", _native),
        closed_as_cancelled=True,
    ),
    "deadline_of_the_execution": Scenario(
        status=FAILED,
        failure=FailureCode.DEADLINE_EXCEEDED,
        answers=RUNS,
        breakpoints=("wait video",),
        act=at("wait video", _reconciler_cancels),
    ),
    "cancel_loses": Scenario(
        status=COMPLETED, breakpoints=("wait video",), act=at("wait video", signal)
    ),
    "signal_then_native_in_finish": Scenario(
        status=COMPLETED, breakpoints=("finish",), act=at("finish", signal, _native)
    ),
    "cancelled_then_native_in_finish": Scenario(
        status=CANCELLED,
        failure=FailureCode.CANCELLED,
        answers=RUNS,
        breakpoints=("wait video", "finish"),
        act=_twice,
        closed_as_cancelled=True,
        # The task that the server refused is done again with everything in it: settling the job and
        # recording the cancel are then two local activities at once, and either may end first.
        repeatable=False,
    ),
}

RECORDED = (
    "happy", "lost", "no_room", "unknown_found", "submit_lost", "image_store_fails",
    "kept_and_not_stored", "all_kept", "deadline_passed_and_never_ends",
    "free_failure_sent_again", "signal_while_waiting", "native_while_waiting", "cancel_loses",
)  # fmt: skip
"""Scenarios whose histories are stored: together they give each command."""
