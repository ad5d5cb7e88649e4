"""A job ends whatever is wrong with its money, and its money is never guessed."""

import pytest

from core.domain.messages.jobs import JobRef
from core.domain.money import NanoUsd
from core.domain.states import CostBasis, JobState
from core.platform.observability import metrics
from core.store.money.budget_counters import move_budget
from core.store.money.charges import release_charge
from core.store.money.settlement import settle_charge
from tests.maintenance.test_open_bills import value_of
from tests.support.activity_harness import ActivityHarness, polling


async def submitted(harness: ActivityHarness) -> JobRef:
    image = (await harness.accepted()).image
    await harness.run(harness.jobs.submit, image)
    return image


async def end(harness: ActivityHarness, ref: JobRef) -> None:
    """Let the poller settle the job, and its workflow once more."""
    async with polling(harness.poller):
        result = await harness.run(harness.jobs.wait, ref)
    assert result.state is JobState.COMPLETED
    assert (await harness.run(harness.jobs.settle, ref)).state is JobState.COMPLETED


async def test_job_settled_before_with_another_amount_still_ends(
    still: ActivityHarness,
) -> None:
    """Two different costs of one job are a bug; its workflow must still end."""
    image = await submitted(still)
    async with still.database.as_user(image.user_id) as conn:
        await settle_charge(conn, image.job_id, NanoUsd(1), CostBasis.COMPUTED)
    booked = value_of(metrics.CHARGE_CONFLICTS.labels("replicate"))
    await end(still, image)
    assert await still.charge(image) == ("settled", 1)
    assert value_of(metrics.CHARGE_CONFLICTS.labels("replicate")) - booked == 1


@pytest.mark.parametrize("by_hand", ["settled", "released"])
async def test_manual_settlement_is_corrected_by_the_providers_bill(
    still: ActivityHarness, by_hand: str
) -> None:
    image = await submitted(still)
    async with still.database.as_user(image.user_id) as conn:
        if by_hand == "settled":
            await settle_charge(conn, image.job_id, NanoUsd(1), CostBasis.ASSUMED)
        else:
            move = await release_charge(conn, image.job_id)
            assert move is not None
            await move_budget(conn, move)
    await end(still, image)
    assert await still.charge(image) == ("settled", still.bill()[0]["billed_nano_usd"])


async def test_unpriceable_job_ends_with_an_open_bill(
    still: ActivityHarness,
) -> None:
    image = await submitted(still)
    await still.as_owner(
        """UPDATE sends SET inputs = '{"not": ["ours"]}' WHERE job_id = $1""", image.job_id
    )
    await end(still, image)
    assert await still.charge(image) == ("held", 0)
