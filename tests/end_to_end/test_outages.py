"""Storage that is unavailable after the render, and a worker that stops during its create calls.

No step is bought again and no job becomes unknown.
"""

import asyncio
import os
import signal
import time

import pytest

from core.platform.temporal.policies import EXIT_SECONDS
from tests.end_to_end.world import MODELS, World

pytestmark = pytest.mark.guarantee("G2")

OUTAGE_SECONDS = 10.0
ANSWER_AFTER_SECONDS = 3.0


@pytest.mark.timeout(150)
async def test_storage_outage_after_the_render_fetches_again_and_buys_nothing(world: World) -> None:
    """The address of one video's file expires meanwhile, and the provider is asked for it again by
    the job's id; the file of another is gone for good.
    """
    await world.settings(video_seconds=2.0)
    gone = await world.fault(
        "expired_file",
        provider="fal",
        model=MODELS["fal"]["videoModel"],
        times=-1,
        params={"status": 410},
    )
    # Their first downloads break off, so that none of them is at work with the old address when
    # storage is back.
    cut = await world.fault(
        "wrong_bytes",
        provider="replicate",
        model=MODELS["replicate"]["videoModel"],
        times=2,
        params={"form": "cut"},
    )
    kept, moved = [await world.generate(**MODELS["replicate"]) for _ in range(2)]
    lost = await world.generate(**MODELS["fal"])
    for execution_id in (kept, moved, lost):
        await world.until(execution_id, job="video", state="submitted")
    pid = world.stack.pid_of("S3")
    os.kill(pid, signal.SIGSTOP)
    try:
        for execution_id in (kept, moved, lost):
            await world.until(execution_id, job="video", state="completed")
        await _expire_address(world, moved)
        asked_before = len(await world.calls("status"))
        await asyncio.sleep(OUTAGE_SECONDS)
        assert await _stored(world, kept, moved) == 0
    finally:
        os.kill(pid, signal.SIGKILL)  # open requests get no response
    for execution_id in (kept, moved):
        seen = await world.until_final(execution_id, seconds=90)
        assert seen["status"] == "completed", seen
        assert [asset["kind"] for asset in seen["result"]["assets"]] == ["image", "video"]
    seen = await world.until_final(lost, seconds=90)
    assert (seen["status"], seen["error"]["code"]) == ("failed", "output_expired"), seen
    assert (await world.fired(gone), await world.fired(cut)) >= (1, 2)
    ids = {job["id"] for job in await world.provider_jobs(moved)}
    asked = (await world.calls("status"))[asked_before:]
    assert any(ids & set(call["path"].split("/")) for call in asked), (
        "the provider was not asked again"
    )
    for execution_id in (kept, moved, lost):
        await world.check_money(execution_id)
        await world.check_one_event(execution_id)
    assert len(await world.calls("create")) == 6
    await world.check_bought(dict.fromkeys((kept, moved, lost), 2))
    await world.check_budget()


async def _stored(world: World, *ids: str) -> int:
    sql = "SELECT 1 FROM assets JOIN jobs USING (job_id) WHERE jobs.execution_id = ANY($1) AND step_name = 'video'"
    return len(await world.rows(sql, list(ids)))


async def _expire_address(world: World, execution_id: str) -> None:
    """Replace the stored output URL with an invalid one, as if it had expired."""
    changed = await world.rows(
        """UPDATE jobs
           SET report = jsonb_set(report, '{outputs,0,url}', to_jsonb((report #>> '{outputs,0,url}') || 'x'))
           WHERE execution_id = $1 AND step_name = 'video' RETURNING report""",
        execution_id,
    )
    assert len(changed) == 1


@pytest.mark.guarantee("G5")
@pytest.mark.timeout(150)
async def test_sigterm_lets_create_calls_in_flight_end(world: World) -> None:
    """Each provider holds the answers of its create calls, taken already, for three seconds."""
    ids: list[str] = []
    for provider, models in MODELS.items():
        image = {
            "provider": provider,
            "model": models["imageModel"],
            "params": {"stage": "after_accept"},
        }
        ids += [await world.caught("hold", **image, body=models) for _ in range(3)]
    pid = world.stack.pid_of("Worker")
    os.kill(pid, signal.SIGTERM)
    asked_at = time.monotonic()
    await asyncio.sleep(ANSWER_AFTER_SECONDS)
    assert _lives(pid), "it did not wait for its calls"
    for provider in MODELS:
        await world.release_held(provider)

    async def has_gone() -> bool:
        return not _lives(pid)

    await world.until_true(has_gone, "it does not exit", seconds=EXIT_SECONDS)
    assert time.monotonic() - asked_at < EXIT_SECONDS
    sends = await world.rows(
        "SELECT outcome FROM sends JOIN jobs USING (job_id) WHERE execution_id = ANY($1) AND step_name = 'image'",
        ids,
    )
    assert [row["outcome"] for row in sends] == ["accepted"] * len(ids)
    for execution_id in ids:
        seen = await world.until_final(execution_id, seconds=60)
        assert seen["status"] == "completed", seen
        await world.check_money(execution_id)
        await world.check_one_event(execution_id)
    assert await world.calls("list") == [], "a send was looked up, so its answer was not known"
    await world.check_bought(dict.fromkeys(ids, 2))
    await world.check_budget()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
