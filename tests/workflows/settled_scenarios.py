"""Executions whose jobs were settled together with their reports, by the poller."""

from core.domain.failures import FailureCode
from core.domain.messages.jobs import (
    SettleJobResult,
    SubmitJobResult,
    SubmitOutcome,
    WaitJobResult,
)
from core.domain.money import NanoUsd
from core.domain.states import ExecutionStatus, JobState
from tests.workflows.scenarios import Scenario, failed_free


def settled(state: JobState = JobState.COMPLETED) -> WaitJobResult:
    result = SettleJobResult(state=state, execution_spent_nano_usd=NanoUsd(5), cost_nano_usd=5)
    return WaitJobResult(state=state, settled=result)


def submitted(result: SettleJobResult | None) -> SubmitJobResult:
    """Return the result of a submit that saw the end of its job."""
    return SubmitJobResult(outcome=SubmitOutcome.SUBMITTED, send_number=1, settled=result)


SETTLED_SCENARIOS: dict[str, Scenario] = {
    "settled_with_the_report": Scenario(
        status=ExecutionStatus.COMPLETED,
        answers={"wait image": [settled()], "wait video": [settled()]},
    ),
    "free_failure_settled_with_the_report": Scenario(
        status=ExecutionStatus.COMPLETED,
        answers={
            "wait image": [settled()],
            "wait video": [
                WaitJobResult(state=JobState.FAILED, settled=failed_free(1)),
                WaitJobResult(state=JobState.FAILED, settled=failed_free(2)),
                settled(),
            ],
        },
    ),
    "settled_within_the_submit": Scenario(
        status=ExecutionStatus.COMPLETED,
        answers={
            "submit image": [submitted(failed_free(1)), submitted(settled().settled)],
            "wait video": [settled()],
        },
    ),
    "deadline_passed_then_settled": Scenario(
        status=ExecutionStatus.CANCELLED,
        failure=FailureCode.CANCELLED,
        answers={"wait video": [JobState.SUBMITTED, settled(JobState.CANCELLED)]},
    ),
}
