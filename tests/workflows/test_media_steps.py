"""Media steps run once their files are stored, and their failures reach what needs them."""

import pytest
from temporalio.client import Client

from core.platform.temporal import policies
from tests.workflows.media_scenarios import CALLS, MEDIA_SCENARIOS, RECORDED_MEDIA
from tests.workflows.scenarios import play
from tests.workflows.stored_histories import fingerprint, newest, stored

pytestmark = pytest.mark.guarantee("G2", "G5")

OF_MEDIA = ("media", "fail_media", "killed", "poster")


@pytest.mark.parametrize("name", MEDIA_SCENARIOS)
async def test_media_steps_follow_their_plan(skipping_temporal: Client, name: str) -> None:
    scenario = MEDIA_SCENARIOS[name]
    played = await play(skipping_temporal, scenario, cached=0)
    stage = played.stage
    assert stage.status is scenario.status
    failure = stage.ends[0].failure
    assert (failure.code if failure is not None else None) is scenario.failure
    assert [call for call in stage.calls if call.startswith(OF_MEDIA)] == CALLS[name]
    bought = [name for name in ("a", "b") if name in {step.name for step in scenario.plan.steps}]
    kept = name == "media_kept"
    assert {step: stage.sent[step] for step in bought} == dict.fromkeys(bought, 0 if kept else 1)


@pytest.mark.parametrize("name", ["media_fan_in", "media_optional_left_out"])
async def test_files_are_stored_before_a_media_step_reads_them(
    skipping_temporal: Client, name: str
) -> None:
    calls = (await play(skipping_temporal, MEDIA_SCENARIOS[name])).stage.calls
    read = ["a", "b"] if name != "media_optional_left_out" else ["a"]
    assert all(calls.index(f"store {step}") < calls.index("media film") for step in read)


async def test_only_published_files_are_encoded_as_final(skipping_temporal: Client) -> None:
    orders = (
        await play(skipping_temporal, MEDIA_SCENARIOS["media_assets_only"])
    ).stage.media_orders
    assert {step: order.is_final for step, order in orders.items()} == {
        "film": True,
        "cover": False,
    }


@pytest.mark.parametrize("name", ["media_assets_only", "media_fan_in"])
async def test_media_steps_have_one_priority(skipping_temporal: Client, name: str) -> None:
    """Temporal shares a queue between users within each priority only."""
    history = await (await play(skipping_temporal, MEDIA_SCENARIOS[name])).handle.fetch_history()
    scheduled = [event.activity_task_scheduled_event_attributes for event in history.events]
    keys = [
        each.priority.priority_key
        for each in scheduled
        if each.activity_type.name == "run_media_job"
    ]
    assert keys
    assert set(keys) == {policies.CONTINUING.priority_key}


@pytest.mark.parametrize("name", RECORDED_MEDIA)
async def test_commands_of_media_steps_are_those_of_their_stored_history(
    skipping_temporal: Client, name: str
) -> None:
    played = await play(skipping_temporal, MEDIA_SCENARIOS[name])
    name_of_stored = newest(name)
    assert name_of_stored is not None
    assert fingerprint(await played.handle.fetch_history()) == fingerprint(stored()[name_of_stored])
