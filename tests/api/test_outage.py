"""PostgreSQL that stops answering: requests end in a 503 and not in silence; when it is back, so is the API."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from tests.api.conftest import api_settings, running_api
from tests.servers import FreshDatabase


@dataclass(slots=True)
class Line:
    """A line to a server that can be frozen: bytes are neither refused nor passed on."""

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
        for task in (asyncio.create_task(pass_on(reader, back)), asyncio.create_task(pass_on(there, writer))):
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
        async with running_api(api_settings(replace(fresh_database, application_dsn=dsn), temporal_address)) as api:
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
            assert waited_seconds < 30  # for a connection 8 s, for a statement 10 s, for its rollback the same

            line.open.set()
            assert (await user.http.get("/api/executions")).status_code == 200
            assert (await api.http.get("/readyz")).status_code == 200
