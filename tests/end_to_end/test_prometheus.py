"""A real Prometheus reads the running stack: every panel and alert has data, and the rules load."""

import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from deploy.local.servers.process import start_ready
from deploy.local.servers.prometheus import find_prometheus, prometheus
from deploy.local.stack import Stack
from deploy.observability.alerts import ALERTS
from deploy.observability.objectives import RECORDINGS
from deploy.observability.panels import ROWS
from deploy.observability.table import Job
from tests.end_to_end.world import World
from tests.support.admin import run_admin

PROGRAM = find_prometheus()
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="prometheus is not installed (Debian package prometheus)"
)
EVERY_SECONDS = 2
RATE_INTERVAL = "1m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A query of the table. name: of its panel, alert or recording."""

    name: str
    query: str
    may_be_empty: bool


def asked() -> Iterator[Asked]:
    for row in ROWS:
        for panel in row.panels:
            for query in panel.queries:
                yield Asked(
                    name=panel.title,
                    query=query.expr.replace("$__rate_interval", RATE_INTERVAL),
                    may_be_empty=bool(query.may_be_empty),
                )
    for alert in ALERTS:
        # True only during an incident, but Prometheus must understand it.
        yield Asked(name=alert.full_name, query=alert.condition, may_be_empty=True)
        for measure in alert.measures:
            yield Asked(name=alert.full_name, query=measure, may_be_empty=bool(alert.may_be_empty))
    for recording in RECORDINGS:
        yield Asked(name=recording.name, query=recording.name, may_be_empty=False)


async def read(server: httpx.AsyncClient, query: str) -> list[dict[str, Any]]:
    answer = await server.get("/api/v1/query", params={"query": query})
    assert answer.status_code == 200, (query, answer.text)
    return answer.json()["data"]["result"]


@asynccontextmanager
async def observed(stack: Stack, world: World) -> AsyncGenerator[httpx.AsyncClient]:
    """Run Prometheus alongside the stack, until it has read each process."""
    assert PROGRAM is not None
    running = await start_ready(prometheus(PROGRAM, stack.config, every_seconds=EVERY_SECONDS))
    address = f"http://127.0.0.1:{stack.config.ports.prometheus}"
    try:
        async with httpx.AsyncClient(base_url=address, timeout=10, trust_env=False) as server:
            await until_all_have_data(world, server, [f'up{{job="{job}"}} == 1' for job in Job])
            yield server
    finally:
        await running.stop()


async def until_all_have_data(
    world: World, server: httpx.AsyncClient, queries: list[str], *, seconds: float = 60
) -> None:
    left = list(queries)

    async def have_data() -> bool:
        left[:] = [query for query in left if not await read(server, query)]
        return not left

    await world.until_true(have_data, lambda: f"no data: {left}", seconds=seconds, every=0.5)


@pytest.mark.timeout(240)  # with the start of the stack on a busy machine
async def test_every_panel_and_alert_has_data(stack: Stack, world: World) -> None:
    queries = list(asked())
    database_url = stack.environment["DATABASE_URL"]
    await run_admin(database_url, "ledger", "check")
    async with observed(stack, world) as server:
        completes = await world.generate()
        await world.ended(completes)
        await world.webhook(completes)
        await world.fault("refuse", provider="fal", operation="create", params={"status": 422})
        fails = await world.generate()
        await world.ended(fails)
        await world.settings(video_seconds=30.0)
        cancelled = await world.generate()
        await world.until(cancelled, job="video", state="submitted")
        await world.cancel(cancelled)
        ended = [(await world.ended(each))["status"] for each in (completes, fails, cancelled)]
        assert ended == ["completed", "failed", "cancelled"]
        await until_all_have_data(
            world, server, [each.query for each in queries if not each.may_be_empty]
        )
        for each in queries:  # Prometheus answers a query that it cannot read with 400
            await read(server, each.query)
        rules = (await server.get("/api/v1/rules")).json()["data"]["groups"]
    health = {rule["name"]: rule["health"] for group in rules for rule in group["rules"]}
    assert set(health) == {each.full_name for each in ALERTS} | {each.name for each in RECORDINGS}
    assert set(health.values()) == {"ok"}


def test_alert_queries_are_complete() -> None:
    names = {each.name for each in asked()}
    assert {alert.full_name for alert in ALERTS} <= names
    assert not any(re.search(r"\$__", each.query) for each in asked())
