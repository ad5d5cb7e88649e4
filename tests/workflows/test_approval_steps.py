"""Approval steps wait for a decision in a row, whatever becomes of the signal."""

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from tests.workflows.approval_scenarios import APPROVAL_SCENARIOS, CHOOSE, RECORDED_APPROVALS
from tests.workflows.scenarios import play
from tests.workflows.stored_histories import fingerprint, newest, stored

pytestmark = pytest.mark.guarantee("G2", "G5")

LOOKS = {
    "approval_chosen": 2,
    "approval_of_another_generation": 2,
    "approval_rejected": 2,
    "approval_expired": 2,
    "approval_beside_another_step": 3,
}
"""How often the row is read, where not once."""
FILM = {"approval_rejected", "approval_expired", "approval_cancelled", "approval_without_options"}
"""Scenarios without a film."""


@pytest.mark.parametrize("name", APPROVAL_SCENARIOS)
async def test_approval_follows_the_decision_of_its_row(
    skipping_temporal: Client, name: str
) -> None:
    scenario = APPROVAL_SCENARIOS[name]
    stage = (await play(skipping_temporal, scenario, cached=0)).stage
    assert stage.status is scenario.status
    failure = stage.ends[0].failure
    assert (failure.code if failure is not None else None) is scenario.failure
    assert stage.count(CHOOSE) == LOOKS.get(name, 1)
    assert stage.count("media film") == (0 if name in FILM else 1)
    bought = [step.name for step in scenario.plan.steps if not step.is_free]
    sent = 0 if name == "approval_kept" else 1
    assert {step: stage.sent[step] for step in bought} == dict.fromkeys(bought, sent)


async def test_option_is_stored_before_it_is_offered(skipping_temporal: Client) -> None:
    calls = (await play(skipping_temporal, APPROVAL_SCENARIOS["approval_chosen"])).stage.calls
    assert calls.index("store a") < calls.index(CHOOSE)


async def test_execution_gives_up_its_slot_once_nothing_else_runs(
    skipping_temporal: Client,
) -> None:
    stage = (
        await play(skipping_temporal, APPROVAL_SCENARIOS["approval_beside_another_step"])
    ).stage
    seen = [order.is_idle for order in stage.approval_orders]
    assert (seen[0], seen[-1]) == (False, True)


async def test_waiting_costs_no_command_but_a_timer(skipping_temporal: Client) -> None:
    played = await play(skipping_temporal, APPROVAL_SCENARIOS["approval_expired"])
    history = await played.handle.fetch_history()
    types = [event.event_type for event in history.events]
    started = types.index(EventType.EVENT_TYPE_TIMER_STARTED)
    meanwhile = types[started : types.index(EventType.EVENT_TYPE_TIMER_FIRED)]
    assert EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED not in meanwhile


@pytest.mark.parametrize("name", RECORDED_APPROVALS)
async def test_commands_of_approvals_are_those_of_their_stored_history(
    skipping_temporal: Client, name: str
) -> None:
    played = await play(skipping_temporal, APPROVAL_SCENARIOS[name])
    name_of_stored = newest(name)
    assert name_of_stored is not None
    assert fingerprint(await played.handle.fetch_history()) == fingerprint(stored()[name_of_stored])
