"""One user's hundreds delay another's single execution by little; and no more runs at a provider
than may.

Measured against the flood itself, on the same machine at the same time: no clock time is right for
every machine.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from deploy.local.config import Config
from deploy.local.stack import Stack, prepared
from tests.end_to_end.test_media import stopped_program, upload
from tests.end_to_end.world import MODELS, World
from tests.media.operations import sources
from tests.support.folders import data_folder
from tests.support.stack_ports import free_receivers, free_stack_ports

pytestmark = pytest.mark.guarantee("G7")

FLOOD = 200
AT_ONCE = 6
"""What may be in flight at each provider: much less than what the flood would have."""
SENT_AT_ONCE = 20
SHARE = 4
"""The single one takes at most one part in so many of what the flood still takes."""


@asynccontextmanager
async def fair_stack(environment: dict[str, str]) -> AsyncGenerator[Stack]:
    with data_folder("takeone-fair-") as folder:
        config = Config(
            folder=folder, ports=free_stack_ports(), live=None, receivers=free_receivers()
        )
        async with prepared(config, lambda _line: None) as stack:
            stack.environment |= environment
            await stack.start()
            yield stack


@pytest.fixture(scope="module")
async def narrow_stack() -> AsyncGenerator[Stack]:
    async with fair_stack(
        {
            "FAL_MAX_IN_FLIGHT": str(AT_ONCE),
            "REPLICATE_MAX_IN_FLIGHT": str(AT_ONCE),
            "MEDIA_SLOTS": "1",
        }
    ) as stack:
        yield stack


@pytest.fixture
async def wide_stack() -> AsyncGenerator[Stack]:
    async with fair_stack({}) as stack:
        yield stack


@pytest.mark.timeout(600)
async def test_single_execution_does_not_wait_behind_hundreds_of_another_user(
    narrow_stack: Stack,
) -> None:
    async with World.open(narrow_stack) as flood, World.open(narrow_stack) as single:
        assert (await flood.control.post("/reset")).is_success
        await flood.settings(tiny_media=True, image_seconds=0.4, video_seconds=1.0)
        await _order(flood, FLOOD)
        await flood.until_true(
            lambda: _some_have_ended(flood), "the flood does not move", seconds=60
        )
        began = time.monotonic()
        left = FLOOD - await _ended(flood)
        mine = await single.generate(**MODELS["fal"])
        assert (await single.ended(mine, seconds=200))["status"] == "completed"
        took = time.monotonic() - began
        passed_by = left - (FLOOD - await _ended(flood))
        await asyncio.sleep(took * (SHARE - 1))
        still = FLOOD - await _ended(flood)
        assert left > FLOOD // 2, "most of the flood was over before it was put to the test"
        assert still, f"the flood took no {SHARE} times as long as the single one's {took:.1f} s"
        statuses = await flood.rows("SELECT DISTINCT status FROM executions")
        assert {row["status"] for row in statuses} <= {"completed", "running", "queued"}

        async def is_full() -> (
            bool
        ):  # the last place may stay free for a while: many who ask at once see each other
            return _most_together(await flood.bill()) >= AT_ONCE - 1

        await flood.until_true(
            is_full, "there was always room: nothing was put to the test", seconds=90
        )
        assert _most_together(await flood.bill()) <= AT_ONCE
        assert passed_by < left // 4, (took, passed_by, left, still)


@pytest.mark.timeout(300)
async def test_media_step_does_not_wait_behind_those_of_another_user(
    narrow_stack: Stack, tmp_path: Path
) -> None:
    """The first step occupies the only slot until all the others wait for it."""
    async with World.open(narrow_stack) as flood, World.open(narrow_stack) as single:
        tone = sources.ffmpeg(tmp_path / "tone.wav", *sources.tone(20.0)).read_bytes()
        of_flood, of_single = await upload(flood, tone), await upload(single, tone)
        ordered = [await _cut(flood, of_flood, start=0.0)]
        async with stopped_program(narrow_stack.pid_of("Worker")) as program:
            ordered += [await _cut(flood, of_flood, start=10 + each) for each in range(5)]
            mine = await _cut(single, of_single, start=10)
            await flood.until_true(
                lambda: _all_wait(flood, [*ordered, mine]), "the steps are not scheduled"
            )
            os.kill(program, signal.SIGCONT)
        for execution_id in ordered:
            assert (await flood.ended(execution_id, seconds=120))["status"] == "completed"
        assert (await single.ended(mine))["status"] == "completed"
        ends = await flood.rows(
            "SELECT execution_id FROM executions WHERE execution_id = ANY($1) ORDER BY ended_at",
            [*ordered, mine],
        )
        assert [row["execution_id"] for row in ends].index(mine) <= 2


async def _cut(world: World, sound: str, *, start: float) -> str:
    """Order a part of a sound: one media step."""
    params = {"source": {"asset": sound}, "start": start}
    plan = {"version": 1, "steps": [{"name": "part", "kind": "trim", "params": params}]}
    answer = await world.api.post("/api/executions", json={"plan": plan})
    assert answer.status_code == 202, answer.text
    return answer.json()["executionId"]


async def _all_wait(world: World, ids: Sequence[str]) -> bool:
    """Return whether each execution has a media step at Temporal."""
    client = await world.temporal()
    described = [await client.get_workflow_handle(each).describe() for each in ids]
    return all(each.raw_description.pending_activities for each in described)


@pytest.mark.long
@pytest.mark.timeout(1200)
async def test_single_execution_does_not_wait_behind_five_thousand(
    wide_stack: Stack,
) -> None:
    """This uses the default limits."""
    async with World.open(wide_stack) as flood, World.open(wide_stack) as single:
        assert (await flood.control.post("/reset")).is_success
        await flood.settings(tiny_media=True, image_seconds=0.4, video_seconds=1.0)
        await _order(flood, 5000)
        left = 5000 - await _ended(flood)
        assert left > 2500, "most of the flood was over before it was put to the test"
        took: list[float] = []
        for _ in range(5):
            began = time.monotonic()
            mine = await single.generate(**MODELS["fal"])
            assert (await single.ended(mine, seconds=300))["status"] == "completed"
            took.append(time.monotonic() - began)
        passed_by = left - (5000 - await _ended(flood))
        sys.stdout.write(
            f"five after one another took {[round(seconds, 1) for seconds in took]} s; {passed_by} of {left} ended\n"
        )
        assert passed_by < left // 10


async def _order(world: World, number: int) -> None:
    gate = asyncio.Semaphore(SENT_AT_ONCE)

    async def one() -> None:
        async with gate:
            await world.generate(**MODELS["fal"], webhook=None)

    await asyncio.gather(*(one() for _ in range(number)))


async def _ended(world: World) -> int:
    sql = "SELECT count(*) AS number FROM executions WHERE user_id = $1 AND ended_at IS NOT NULL"
    return (await world.rows(sql, world.user.user_id))[0]["number"]


async def _some_have_ended(world: World) -> bool:
    return await _ended(world) >= 3


def _most_together(lines: list[dict[str, Any]]) -> int:
    """By the sandbox's own clock: the most that were accepted but not ended at one moment."""
    moves = [(datetime.fromisoformat(line["time"]), 1) for line in lines]
    moves += [(datetime.fromisoformat(line["ended_at"]), -1) for line in lines if line["ended_at"]]
    return max(accumulate(step for _, step in sorted(moves)))
