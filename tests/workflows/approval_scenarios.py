"""Every way of an approval step: a clip is bought, and a film of it is made once it is chosen."""

import asyncio
from dataclasses import replace

from temporalio.api.enums.v1 import EventType

from core.domain.failures import Failure, FailureCode
from core.domain.messages.approvals import ApprovalResult
from core.domain.plans import (
    MEDIA,
    DecisionKind,
    OnFailure,
    OperationKind,
    Plan,
    PlanType,
    Step,
)
from core.domain.states import JobState
from tests.workflows.fake_activities import IMAGE_PROVIDER, FakeActivities
from tests.workflows.media_scenarios import bought, claimed, made, scenario
from tests.workflows.scenarios import CANCELLED, FAILED, Handle, Scenario, signal
from workflows.execution import ExecutionWorkflow

CHOOSE = "approval choose"
WAITS = ApprovalResult(state=JobState.WAITING, seconds_left=3600.0)
EXPIRED = ApprovalResult(state=JobState.FAILED, failure=Failure.of(FailureCode.APPROVAL_EXPIRED))
REJECTED = ApprovalResult(
    state=JobState.CANCELLED, failure=Failure.of(FailureCode.APPROVAL_REJECTED)
)
NOTHING_LEFT = ApprovalResult(
    state=JobState.FAILED, failure=Failure.of(FailureCode.PROVIDER_FAILED)
)


def approval(name: str, *needs: str, optional: tuple[str, ...] = ()) -> Step:
    return Step(
        name=name,
        kind=DecisionKind.APPROVAL,
        provider=MEDIA,
        model=DecisionKind.APPROVAL,
        deadline_seconds=3600,
        usual_seconds=1,
        needs=needs,
        optional_needs=optional,
    )


ONE = Plan(
    type=PlanType.PLAN,
    steps=(bought("a"), approval("choose", "a"), made("film", OperationKind.REFRAME, "choose")),
    result_step="film",
)
OF_TWO = replace(
    ONE,
    steps=(
        replace(bought("a"), on_failure=OnFailure.CONTINUE),
        replace(bought("b", IMAGE_PROVIDER), on_failure=OnFailure.CONTINUE),
        approval("choose", "a", "b", optional=("a", "b")),
        ONE.step("film"),
    ),
)
BESIDE = replace(ONE, steps=(*ONE.steps, bought("other", IMAGE_PROVIDER)))
"""A step that does not wait for the decision."""


async def _waits(handle: Handle) -> None:
    """Wait until the timer of the approval is started."""
    while True:
        types = [event.event_type for event in (await handle.fetch_history()).events]
        if EventType.EVENT_TYPE_TIMER_STARTED in types:
            return
        await asyncio.sleep(0.02)


async def decide(handle: Handle, _stage: FakeActivities) -> None:
    """Signal a decision while the workflow waits for it."""
    await _waits(handle)
    await handle.signal(ExecutionWorkflow.approval_decided, args=["choose", 1])


async def _decide_of_another_generation(handle: Handle, stage: FakeActivities) -> None:
    await _waits(handle)
    await handle.signal(ExecutionWorkflow.approval_decided, args=["choose", 9])
    await decide(handle, stage)


async def _cancel(handle: Handle, stage: FakeActivities) -> None:
    await _waits(handle)
    await signal(handle, stage)


async def _end_the_other_step(handle: Handle, stage: FakeActivities) -> None:
    """Let the step end that does not wait for the decision, and then decide."""
    other = stage.breakpoint_at("wait other")
    await other.reached.wait()
    await _waits(handle)
    other.open()
    while stage.count(CHOOSE) < 2:  # noqa: ASYNC110 - the workflow sets no event
        await asyncio.sleep(0.02)
    await handle.signal(ExecutionWorkflow.approval_decided, args=["choose", 1])


APPROVAL_SCENARIOS: dict[str, Scenario] = {
    "approval_chosen": replace(
        scenario(ONE, answers={CHOOSE: [WAITS]}), act=decide, skips_time=False
    ),
    "approval_of_another_generation": replace(
        scenario(ONE, answers={CHOOSE: [WAITS]}),
        act=_decide_of_another_generation,
        skips_time=False,
    ),
    "approval_decided_before_the_first_look": scenario(ONE),
    "approval_rejected": replace(
        scenario(
            ONE,
            status=CANCELLED,
            failure=FailureCode.APPROVAL_REJECTED,
            answers={CHOOSE: [WAITS, REJECTED]},
        ),
        act=decide,
        skips_time=False,
    ),
    "approval_expired": scenario(
        ONE,
        status=FAILED,
        failure=FailureCode.APPROVAL_EXPIRED,
        answers={CHOOSE: [WAITS, EXPIRED]},
    ),
    "approval_cancelled": replace(
        scenario(ONE, status=CANCELLED, failure=FailureCode.CANCELLED, answers={CHOOSE: [WAITS]}),
        act=_cancel,
        skips_time=False,
    ),
    "approval_beside_another_step": replace(
        scenario(BESIDE, answers={CHOOSE: [WAITS, WAITS]}),
        breakpoints=("wait other",),
        act=_end_the_other_step,
        repeatable=False,
        skips_time=False,
    ),
    "approval_one_option_failed": scenario(OF_TWO, answers={"wait b": [JobState.FAILED]}),
    "approval_without_options": scenario(
        OF_TWO,
        status=FAILED,
        failure=FailureCode.PROVIDER_FAILED,
        answers={
            "wait a": [JobState.FAILED],
            "wait b": [JobState.FAILED],
            CHOOSE: [NOTHING_LEFT],
        },
    ),
    "approval_kept": scenario(
        OF_TWO,
        answers={
            "claim": [
                claimed(
                    OF_TWO,
                    a=(JobState.COMPLETED, True),
                    b=(JobState.FAILED, False),
                    choose=(JobState.COMPLETED, False),
                )
            ]
        },
    ),
}
RECORDED_APPROVALS = (
    "approval_chosen",
    "approval_rejected",
    "approval_expired",
    "approval_cancelled",
    "approval_kept",
)
"""Scenarios whose histories are stored."""
