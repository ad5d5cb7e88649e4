"""Every way the first attempt of a webhook can go in the execution's workflow."""

from dataclasses import dataclass

from temporalio.exceptions import ApplicationError

from core.domain.failures import FailureCode
from core.domain.messages.webhooks import AttemptOutcome, AttemptResult
from core.domain.states import ExecutionStatus, JobState
from tests.workflows.fake_activities import FakeActivities
from tests.workflows.scenarios import REASON, RUNS, Act, Handle, Scenario, at
from workflows.execution import ExecutionWorkflow

PAUSE = 5.5
WEBHOOK: dict[str, list[object]] = {"finish": ["webhook"]}
FAILS: dict[str, list[object]] = {**WEBHOOK, "wait video": [JobState.FAILED]}
REFUSED = ApplicationError("Temporal refuses the start", non_retryable=True)
COMPLETED, FAILED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED


def _down() -> ApplicationError:
    return ApplicationError("the database is down")


def _retry(generation: int) -> Act:
    """Signal that this generation is queued; the running one is 1."""

    async def order(handle: Handle, _stage: FakeActivities) -> None:
        await handle.signal(ExecutionWorkflow.retry_queued, generation)

    return order


async def _native(handle: Handle, _stage: FakeActivities) -> None:
    await handle.cancel(reason=REASON)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookScenario:
    """attempts: tries of the first attempt. pauses: of the deliveries that are started after it.

    webhook: in the workflow's result; None: it closes as cancelled.
    """

    scenario: Scenario
    webhook: AttemptOutcome | None
    attempts: int = 1
    pauses: tuple[float, ...] = ()


def _completed(*results: object, **more: object) -> Scenario:
    answers = {**WEBHOOK, "deliver": list(results)}
    return Scenario(status=COMPLETED, answers=answers, **more)  # pyright: ignore[reportArgumentType]


def _failed(call: str, *orders: Act) -> Scenario:
    return Scenario(
        status=FAILED,
        failure=FailureCode.PROVIDER_FAILED,
        answers=FAILS,
        breakpoints=(call,),
        act=at(call, *orders),
    )


DELIVERED, RETRY, GONE = AttemptOutcome.DELIVERED, AttemptOutcome.RETRY, AttemptOutcome.GONE
WEBHOOK_SCENARIOS: dict[str, WebhookScenario] = {
    "webhook_delivered": WebhookScenario(scenario=_completed(), webhook=DELIVERED),
    "webhook_refused": WebhookScenario(
        scenario=_completed(AttemptResult(outcome=RETRY, number=1, pause_seconds=PAUSE)),
        webhook=RETRY,
        pauses=(PAUSE,),
    ),
    "webhook_gone": WebhookScenario(
        scenario=_completed(AttemptResult(outcome=GONE, number=1)), webhook=GONE
    ),
    "webhook_lost_once": WebhookScenario(
        scenario=_completed(_down()), webhook=DELIVERED, attempts=2
    ),
    "webhook_lost": WebhookScenario(
        scenario=_completed(_down(), _down()), webhook=RETRY, attempts=2, pauses=(0.0,)
    ),
    "webhook_not_started": WebhookScenario(
        scenario=Scenario(
            status=COMPLETED,
            answers={**WEBHOOK, "deliver": [_down(), _down()], "start_delivery": [REFUSED]},
        ),
        webhook=RETRY,
        attempts=2,
    ),
    "webhook_of_a_failure": WebhookScenario(
        scenario=Scenario(status=FAILED, failure=FailureCode.PROVIDER_FAILED, answers=FAILS),
        webhook=DELIVERED,
    ),
    "webhook_after_a_native_cancel": WebhookScenario(
        scenario=Scenario(
            status=ExecutionStatus.CANCELLED,
            failure=FailureCode.CANCELLED,
            answers={**WEBHOOK, **RUNS},
            breakpoints=("wait video",),
            act=at("wait video", _native),
            closed_as_cancelled=True,
        ),
        webhook=None,
    ),
    "native_while_delivering": WebhookScenario(
        scenario=_completed(breakpoints=("deliver",), act=at("deliver", _native)),
        webhook=DELIVERED,
    ),
    "retried_while_delivering": WebhookScenario(
        scenario=_failed("deliver", _retry(2)), webhook=RETRY
    ),
    "retried_before_the_attempt": WebhookScenario(
        scenario=_failed("wait video", _retry(2)), webhook=RETRY, attempts=0, pauses=(0.0,)
    ),
    "same_generation_while_delivering": WebhookScenario(
        scenario=_failed("deliver", _retry(1)), webhook=DELIVERED
    ),
}
