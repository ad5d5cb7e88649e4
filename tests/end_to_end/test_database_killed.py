"""PostgreSQL killed ten times under load: accepted executions end, are paid once and reported once.

The outage ends soon after PostgreSQL is back.
"""

import asyncio
import os
import random
import signal
import time
from dataclasses import dataclass, field

import asyncpg
import httpx
import pytest

from deploy.local import stack as local_stack
from tests.api.whole import check_refused
from tests.end_to_end.world import PROMPT, World

pytestmark = pytest.mark.guarantee("G5")

KILLS = 10
BUYERS = 3
GREEN_SECONDS = 10.0


@dataclass(slots=True)
class Buyers:
    """They order small videos, and repeat what was refused under the same key until it
    is accepted.
    """

    world: World
    accepted: dict[str, str] = field(default_factory=dict[str, str])
    last_accepted_at: float = 0.0
    stopping: bool = False

    async def order(self, key: str) -> httpx.Response:
        body = {
            "prompt": PROMPT,
            "duration": 2,
            "resolution": "480p",
            "webhook": self.world.receiver.url,
        }
        answer = await self.world.api.post(
            "/api/generate-video", json=body, headers={"Idempotency-Key": key}
        )
        if answer.status_code == 202:
            self.accepted[key] = answer.json()["executionId"]
            self.last_accepted_at = time.monotonic()
        else:
            check_refused(answer)
        return answer

    async def buy(self, name: str) -> None:
        number = 0
        while not self.stopping:
            answer = await self.order(f"{name}/{number}")
            if answer.status_code == 202:
                number += 1
            await asyncio.sleep(2.0 if answer.status_code == 202 else 0.2)

    async def until_green(self) -> float:
        """Return the seconds from PostgreSQL's first answer until the API is ready and accepts."""
        await self.world.until_true(
            self._database_answers, "PostgreSQL does not come back", seconds=60, every=0.1
        )
        back_at = time.monotonic()

        async def green() -> bool:
            return (
                self.last_accepted_at > back_at
                and (await self.world.api.get("/readyz")).status_code == 200
            )

        await self.world.until_true(green, "the API does not recover", seconds=60)
        return time.monotonic() - back_at

    async def until_refused(self) -> None:
        """Its sessions outlive a killed server for a moment."""

        async def refused() -> bool:
            answer = await self.world.api.get("/api/executions")
            if answer.status_code != 200:
                check_refused(answer)
            return answer.status_code != 200

        await self.world.until_true(
            refused, "no process has met the outage", seconds=30, every=0.02
        )

    async def _database_answers(self) -> bool:
        try:
            await (await asyncpg.connect(self.world.owner_dsn, timeout=5)).close()
        except (OSError, asyncpg.PostgresError):
            return False
        return True


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_postgresql_killed_ten_times_under_load_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        local_stack, "LONGEST_PAUSE_SECONDS", 2.0
    )  # it dies too often here to be waited for longer
    buyers = Buyers(world)
    chance = random.Random(5)
    buying = [asyncio.create_task(buyers.buy(f"buyer {number}")) for number in range(BUYERS)]
    green_seconds: list[float] = []
    for _ in range(KILLS):
        await asyncio.sleep(chance.uniform(1.0, 4.0))
        os.kill(world.stack.pid_of("PostgreSQL"), signal.SIGKILL)
        await buyers.until_refused()
        green_seconds.append(await buyers.until_green())
    buyers.stopping = True
    await asyncio.gather(*buying)

    assert max(green_seconds) <= GREEN_SECONDS, green_seconds
    accepted = sorted(buyers.accepted.values())
    assert len(accepted) >= KILLS
    for execution_id in accepted:
        seen = await world.until_final(
            execution_id, seconds=240
        )  # what failed often is tried again late
        assert seen["status"] == "completed", seen
        await world.check_money(execution_id)
        await world.check_one_event(execution_id)
    await world.check_bought(dict.fromkeys(accepted, 2))
    await world.check_budget()
