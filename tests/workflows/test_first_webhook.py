"""The first attempt of a webhook in the execution's workflow, and what starts its delivery."""

import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from tests.workflows.scenarios import play
from tests.workflows.stored_histories import fingerprint
from tests.workflows.webhook_scenarios import WEBHOOK_SCENARIOS

pytestmark = pytest.mark.guarantee("G5")

SHOWN = "search attributes"
ATTEMPT, START = "activity deliver_webhook_once", "marker start_webhook_delivery"
COMMANDS = {
    "webhook_delivered": [SHOWN, ATTEMPT, "completed"],
    "webhook_refused": [SHOWN, ATTEMPT, START, "completed"],
    "webhook_after_a_native_cancel": [SHOWN, ATTEMPT, "cancelled"],
    "retried_while_delivering": [SHOWN, ATTEMPT, "completed"],
    "retried_before_the_attempt": [SHOWN, START, "completed"],
}
"""After the end is committed. The end is shown before the webhook is attempted."""


@pytest.mark.parametrize("name", WEBHOOK_SCENARIOS)
async def test_delivery_is_started_only_after_a_failed_first_attempt(
    skipping_temporal: Client, name: str
) -> None:
    expected = WEBHOOK_SCENARIOS[name]
    scenario = expected.scenario
    played = await play(skipping_temporal, scenario)
    stage = played.stage
    (end,) = stage.ends
    assert (end.status, end.attempts_webhook) == (scenario.status, True)
    assert stage.count("deliver") == expected.attempts
    assert stage.delivery_pauses == list(expected.pauses)
    description = await played.handle.describe()
    assert (description.status is WorkflowExecutionStatus.CANCELED) == scenario.closed_as_cancelled
    assert (played.outcome is None) == scenario.closed_as_cancelled
    if played.outcome is not None:
        outcome = played.outcome
        assert (outcome.status, outcome.webhook) == (scenario.status, expected.webhook)
        assert not outcome.attempt_webhook
    if name in COMMANDS:
        commands = fingerprint(await played.handle.fetch_history())
        assert commands[commands.index("marker finish_execution") + 1 :] == COMMANDS[name]


async def test_execution_without_a_webhook_attempts_none(skipping_temporal: Client) -> None:
    """Also with a worker whose `finish_execution` is of an earlier version."""
    scenario = WEBHOOK_SCENARIOS["webhook_delivered"].scenario
    scenario = type(scenario)(status=scenario.status)
    played = await play(skipping_temporal, scenario)
    assert played.stage.count("deliver") == 0
    assert played.outcome is not None
    assert played.outcome.webhook is None
