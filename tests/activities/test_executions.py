"""What a claim returns to the workflow."""

from core.domain.messages.executions import CURRENT_PATH, ClaimOutcome
from tests.support.activity_harness import ActivityHarness


async def test_claim_returns_the_path_of_this_version(harness: ActivityHarness) -> None:
    accepted = await harness.accepted()
    claim = await harness.run(harness.executions.claim, accepted.ref)
    assert (claim.outcome, claim.path) == (ClaimOutcome.CLAIMED, CURRENT_PATH)
