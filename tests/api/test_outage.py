"""PostgreSQL hangs or is killed: requests end with 503, and the API recovers with it."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from core.store.migrate import migrate
from deploy.local.ports import free_ports
from deploy.local.servers.postgres import postgres
from deploy.local.servers.process import Part, PartFailedError, Running, start_ready
from tests.api.conftest import Api, TestUser, api_settings, running_api
from tests.api.whole import check_refused, check_whole
from tests.support.part_servers import PASSWORD
from tests.support.servers import FreshDatabase, PostgresServer

pytestmark = pytest.mark.guarantee("G5")

GREEN_SECONDS = 10.0
BUYERS = 6


@dataclass(slots=True)
class Line:
    """A connection proxy that can be frozen: it neither refuses bytes nor passes them on."""

    port: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def _line_to(port: int) -> AsyncGenerator[Line]:
    line = Line()
    line.open.set()
    tasks: set[asyncio.Task[None]] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError):
                while data := await reader.read(65536):
                    await line.open.wait()
                    writer.write(data)
                    await writer.drain()
        finally:
            writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        for task in (
            asyncio.create_task(pass_on(reader, back)),
            asyncio.create_task(pass_on(there, writer)),
        ):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        server.close()
        await server.wait_closed()
        line.open.set()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_api_answers_503_while_postgresql_is_silent_and_recovers(
    fresh_database: FreshDatabase, temporal_address: str
) -> None:
    port = urlsplit(fresh_database.application_dsn).port
    assert port is not None
    async with _line_to(port) as line:
        dsn = fresh_database.application_dsn.replace(f":{port}/", f":{line.port}/")
        async with running_api(
            api_settings(replace(fresh_database, application_dsn=dsn), temporal_address)
        ) as api:
            user = await api.new_user()
            assert (await user.http.get("/api/executions")).status_code == 200

            line.open.clear()
            started = time.monotonic()
            listed, ready, posted = await asyncio.gather(
                user.http.get("/api/executions"),
                api.http.get("/readyz"),
                user.http.post("/api/generate-video", json={"prompt": "A paper boat"}),
            )
            waited_seconds = time.monotonic() - started
            assert {answer.status_code for answer in (listed, ready, posted)} == {503}
            assert (
                waited_seconds < 30
            )  # 8 s for a connection, 10 s for a statement, 10 s for its rollback

            line.open.set()
            assert (await user.http.get("/api/executions")).status_code == 200
            await until_ready(api)


async def until_ready(api: Api) -> None:
    """Wait while the result of an earlier check holds."""
    for _ in range(100):
        if (await api.http.get("/readyz")).status_code == 200:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("not ready again")


@dataclass(slots=True)
class OwnPostgres:
    """A server that this test may kill; it is durable, like a production server."""

    part: Part
    running: Running

    @property
    def database(self) -> FreshDatabase:
        server = PostgresServer(
            port=int(self.part.address.rpartition(":")[2]), running=self.running
        )
        return FreshDatabase(
            name="postgres",
            owner_dsn=server.owner_dsn(),
            application_dsn=server.application_dsn("postgres"),
        )

    async def die(self) -> None:
        os.kill(self.running.pid, signal.SIGKILL)
        assert await self.running.wait_ended() == -signal.SIGKILL

    async def come_back(self) -> None:
        """Restart, repeatedly if necessary: old sessions may block the start for a moment."""
        for _ in range(50):
            try:
                self.running = await start_ready(self.part)
            except PartFailedError:
                await asyncio.sleep(0.1)
            else:
                return
        raise TimeoutError("PostgreSQL does not start again")


@pytest.fixture
async def own_postgres(servers_folder: Path) -> AsyncGenerator[OwnPostgres]:
    (port,) = free_ports(1)
    folder = servers_folder / "outage"
    folder.mkdir(mode=0o711, exist_ok=True)
    part = postgres(folder, port, PASSWORD, log=folder / "postgres.log")
    server = OwnPostgres(part=part, running=await start_ready(part))
    yield server
    await server.running.stop()


@dataclass(slots=True)
class Buyers:
    """Clients that order one video after the other, each with a new key.

    Records the time and the result of each response.
    """

    user: TestUser
    accepted: dict[str, str] = field(default_factory=dict[str, str])
    refused: list[str] = field(default_factory=list[str])
    last_accepted_at: float = 0.0
    stopping: bool = False

    async def order(self, key: str) -> httpx.Response:
        answer = await self.user.http.post(
            "/api/generate-video",
            json={"prompt": "A paper boat", "duration": 2},
            headers={"Idempotency-Key": key},
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
            number += 1
            key = f"{name}/{number}"
            if (await self.order(key)).status_code != 202:
                self.refused.append(key)
                await asyncio.sleep(0.05)

    async def until_accepted_after(self, moment: float) -> None:
        async with asyncio.timeout(30):
            while self.last_accepted_at < moment:  # noqa: ASYNC110 - responses set no event
                await asyncio.sleep(0.02)


async def test_postgresql_killed_under_load_loses_no_accepted_execution(
    own_postgres: OwnPostgres, temporal_address: str
) -> None:
    database = own_postgres.database
    await migrate(database.owner_dsn, database.application_dsn)
    async with running_api(api_settings(database, temporal_address)) as api:
        buyers = Buyers(await api.new_user())
        buying = [asyncio.create_task(buyers.buy(f"buyer {number}")) for number in range(BUYERS)]
        await buyers.until_accepted_after(time.monotonic() + 0.3)
        await own_postgres.die()
        died_at = time.monotonic()
        listed, ready = await asyncio.gather(
            buyers.user.http.get("/api/executions"), api.http.get("/readyz")
        )
        check_refused(listed)
        check_refused(ready)
        assert time.monotonic() - died_at < 20
        await own_postgres.come_back()
        back_at = time.monotonic()
        await buyers.until_accepted_after(back_at)
        await until_ready(api)
        assert time.monotonic() - back_at <= GREEN_SECONDS
        buyers.stopping = True
        await asyncio.gather(*buying)

        assert buyers.refused, "no request met the outage"
        await check_whole(database.owner_dsn, api.database, buyers.accepted.values(), more=BUYERS)
        # A refused order may have been committed with its response lost: the same key returns it.
        for key in buyers.refused:
            assert (await buyers.order(key)).status_code == 202
        await check_whole(database.owner_dsn, api.database, buyers.accepted.values())
        for execution_id in buyers.accepted.values():
            assert (
                await buyers.user.http.get(f"/api/executions/{execution_id}")
            ).status_code == 200
