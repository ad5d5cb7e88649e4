"""Steps that reuse purchases claim them first, and buy what no earlier job brought."""

import pytest
from temporalio.client import Client

from tests.workflows.fake_activities import IMAGE
from tests.workflows.reuse_scenarios import CALLS, RECORDED_REUSE, REUSE_SCENARIOS
from tests.workflows.scenarios import play
from tests.workflows.stored_histories import fingerprint, newest, stored

pytestmark = pytest.mark.guarantee("G1", "G2")

OF_PURCHASES = ("claim_purchase", "reuse", "submit")


@pytest.mark.parametrize("name", REUSE_SCENARIOS)
async def test_purchase_is_claimed_before_it_is_bought(
    skipping_temporal: Client, name: str
) -> None:
    scenario = REUSE_SCENARIOS[name]
    stage = (await play(skipping_temporal, scenario, cached=0)).stage
    assert stage.status is scenario.status
    assert [call for call in stage.calls if call.startswith(OF_PURCHASES)] == CALLS[name]
    assert stage.sent[IMAGE] == (f"submit {IMAGE}" in CALLS[name])


async def test_files_are_stored_before_their_bytes_decide(skipping_temporal: Client) -> None:
    calls = (await play(skipping_temporal, REUSE_SCENARIOS["reuse_nothing"])).stage.calls
    assert calls.index("store image") < calls.index("claim_purchase video")


@pytest.mark.parametrize("name", RECORDED_REUSE)
async def test_commands_of_reuse_are_those_of_their_stored_history(
    skipping_temporal: Client, name: str
) -> None:
    played = await play(skipping_temporal, REUSE_SCENARIOS[name])
    name_of_stored = newest(name)
    assert name_of_stored is not None
    assert fingerprint(await played.handle.fetch_history()) == fingerprint(stored()[name_of_stored])
