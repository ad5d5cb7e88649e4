"""A result that cannot be read once: the job completes, and is paid once."""

import pytest

from tests.end_to_end.world import MODELS, World

pytestmark = pytest.mark.guarantee("G2", "G3")


async def test_failed_result_read_decides_nothing(world: World) -> None:
    """Each fault meets the result of another step, after its status shows COMPLETED."""
    orders = (
        ("error_5xx_before_accept", 504, MODELS["fal"]["imageModel"]),
        ("refuse", 400, MODELS["fal"]["videoModel"]),
    )
    faults = [
        await world.fault(
            fault,
            provider="fal",
            model=model,
            operation="result",
            times=1,
            params={"status": status},
        )
        for fault, status, model in orders
    ]
    execution_id = await world.generate(**MODELS["fal"])
    seen = await world.until_final(execution_id, seconds=60)
    assert [await world.fired(fault) for fault in faults] == [1, 1]
    assert seen["status"] == "completed", seen
    assert {job["step"]: job["tries"] for job in seen["jobs"]} == {"image": 1, "video": 1}
    await world.check_bought({execution_id: 2})
    assert await world.check_money(execution_id) > 0
    await world.check_one_event(execution_id)
    await world.check_budget()
