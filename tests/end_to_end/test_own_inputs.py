"""A user's own pictures reach the model: the sandbox records what it fetched."""

import hashlib

import pytest

from tests.end_to_end.world import MODELS, World
from tests.support.media_files import picture


@pytest.mark.guarantee("G1", "G3")
async def test_own_pictures_arrive_as_start_and_end_frame(world: World) -> None:
    frames = {"image": picture("PNG"), "end_image": picture("JPEG")}
    ids: dict[str, str] = {}
    for name, content in frames.items():
        uploaded = await world.api.post("/api/assets", files={"file": ("a", content)})
        assert uploaded.status_code == 201, uploaded.text
        ids[name] = uploaded.json()["id"]

    execution_id = await world.generate(
        videoModel=MODELS["fal"]["videoModel"],
        image={"asset": ids["image"]},
        endImage={"asset": ids["end_image"]},
    )
    seen = await world.ended(execution_id)

    assert seen["status"] == "completed", seen
    assert seen["completedJobs"] == ["video"], "no image is bought"
    (job,) = await world.provider_jobs(execution_id)
    fetched = {record["role"]: record["sha256"] for record in job["fetched"]}
    assert fetched == {
        name: hashlib.sha256(content).hexdigest() for name, content in frames.items()
    }
    assert await world.check_money(execution_id) > 0
