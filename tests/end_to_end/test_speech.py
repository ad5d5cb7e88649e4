"""Speech through the whole stack: a worker killed with its answer buys no second one."""

import asyncio
import os
import signal

import pytest

from core.domain.ids import UserId
from core.providers.http.transport import NoHttp
from core.providers.inputs import complete_inputs
from core.providers.vendors.elevenlabs.adapter import ElevenLabsProvider
from core.store.database import Database
from core.store.executions.executions import insert_execution
from tests.end_to_end.world import World
from tests.support.speech import SPEECH, new_speech

pytestmark = pytest.mark.guarantee("G1", "G2", "G3")

TEXT = "A red kite over a grey harbour."


async def order(world: World) -> str:
    """Accept an order of speech; the reconciler starts it."""
    provider = ElevenLabsProvider(
        NoHttp(), key="none", base_url="http://localhost", usd_per_credit=None, horizon_seconds=240
    )
    model = provider.models[0]
    quote = provider.quote(model, complete_inputs(model, {"text": TEXT}, {}))
    new = new_speech(UserId(world.user.user_id), model, quote, TEXT)
    dsn = world.stack.environment["DATABASE_URL"]
    async with (
        Database.open(dsn, max_connections=1) as database,
        database.as_user(new.user_id) as conn,
    ):
        await insert_execution(conn, new)
    world.ids.append(new.execution_id)
    return new.execution_id


@pytest.mark.timeout(180)
async def test_worker_killed_after_the_head_buys_no_second_speech(world: World) -> None:
    fault = await world.fault("hold", provider="elevenlabs", params={"stage": "after_head"})
    execution_id = await order(world)
    await world.until(execution_id, job=SPEECH, state="submitted", seconds=60)
    pid = world.stack.pid_of("Worker")
    os.kill(pid, signal.SIGKILL)
    assert await world.fired(fault) == 1
    seen = await world.ended(execution_id, seconds=90)
    assert seen["status"] == "completed", seen
    assert await world.check_money(execution_id) == len(TEXT) * 100_000
    assert len(await world.bill()) == 1
    async with asyncio.timeout(60):
        while world.stack.pid_of("Worker") == pid:  # noqa: ASYNC110 - the supervisor sets no event
            await asyncio.sleep(0.2)
