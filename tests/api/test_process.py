"""`python -m api` as a process: port, metrics and shutdown."""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator

import pytest

from core.platform.crypto.sealing import Sealer
from core.store.accounts.users import insert_api_key, insert_user
from core.store.database import Database
from tests.api.conftest import ENCRYPTION_KEY, NO_LIMITS
from tests.api.processes import Served, api_environment, served, start_api
from tests.support.servers import FreshDatabase, PostgresServer, new_database


async def _api_key(database: FreshDatabase) -> str:
    async with Database.open(database.application_dsn) as db, db.as_system() as conn:
        user = await insert_user(conn, Sealer([ENCRYPTION_KEY]), "Ada", NO_LIMITS)
        return (await insert_api_key(conn, user.user_id, "test")).key.text


@pytest.fixture(scope="module")
async def api(
    postgres_server: PostgresServer, template_database: str, temporal_address: str
) -> AsyncGenerator[Served]:
    """Yield a process that no test ends: its start takes seconds."""
    async with (
        new_database(postgres_server, template_database) as database,
        served(database, temporal_address, await _api_key(database)) as process,
    ):
        yield process


async def test_api_process_serves_and_measures_by_route(api: Served) -> None:
    accepted = (await api.http.post("/api/generate-video", json={"prompt": "A paper boat"})).json()
    read = await api.http.get(f"/api/executions/{accepted['executionId']}")
    await api.http.get("/nothing/here")
    metrics = (await api.http.get(api.metrics_url)).text
    on_the_api = await api.http.get("/metrics")

    assert accepted["statusUrl"] == f"{api.url}/api/executions/{accepted['executionId']}"
    assert read.status_code == 200
    assert "server" not in read.headers
    count = "takeone_api_request_duration_seconds_count"
    assert f'{count}{{method="POST",route="/api/generate-video",status="202"}} 1.0' in metrics
    assert (
        f'{count}{{method="GET",route="/api/executions/{{execution_id}}",status="200"}} 1.0'
        in metrics
    )
    assert f'{count}{{method="GET",route="unmatched",status="404"}} 1.0' in metrics
    assert accepted["executionId"] not in metrics
    assert on_the_api.status_code == 404


async def test_api_process_answers_413_to_an_endless_body(api: Served) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    key = api.http.headers["authorization"]
    writer.write(
        b"POST /api/generate-video HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\nAuthorization: " + key.encode() + b"\r\n\r\n"
    )
    for _ in range(20):  # and never ends
        writer.write(b"2000\r\n" + b" " * 0x2000 + b"\r\n")
    status = await asyncio.wait_for(reader.readline(), 10)
    writer.close()

    assert b" 413 " in status


async def test_api_process_finishes_open_requests_and_exits_0(
    fresh_database: FreshDatabase, temporal_address: str
) -> None:
    """A client that disconnects within its body is no error either."""
    async with served(fresh_database, temporal_address, await _api_key(fresh_database)) as api:
        await _disconnect_within_the_body(api)
        accepted = (
            await api.http.post("/api/generate-video", json={"prompt": "A paper boat"})
        ).json()
        cancelling = asyncio.create_task(
            api.http.post(f"/api/executions/{accepted['executionId']}/cancel")
        )
        await asyncio.sleep(1)
        api.process.terminate()
        answer = await cancelling
        _, err = await api.process.communicate()

    assert answer.status_code == 202
    assert api.process.returncode == 0
    assert b"Traceback" not in err
    assert b"unexpected error" not in err
    assert b'"route": "/api/generate-video", "status": 422' in err
    assert b"secret-secret" not in err
    assert api.http.headers["authorization"].split("_")[-1].encode() not in err


async def _disconnect_within_the_body(api: Served) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    key = api.http.headers["authorization"]
    writer.write(
        b"POST /api/generate-video HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 100\r\nAuthorization: " + key.encode() + b"\r\n\r\n{"
    )
    await writer.drain()
    await asyncio.sleep(0.5)
    writer.close()


async def test_api_process_reports_a_busy_port_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for name in ("API_PORT", "METRICS_PORT"):
            environment = api_environment(
                "postgresql://x@127.0.0.1:9/x", "127.0.0.1:9", API_PORT="0"
            )
            process = await start_api({**environment, name: port})
            _, err = await process.communicate()

            assert process.returncode == 2
            (line,) = err.decode().splitlines()
            assert name in line
            assert port in line


async def test_api_process_names_every_missing_setting() -> None:
    process = await start_api({"PATH": os.environ["PATH"], "DATABASE_URL": "mysql://"})
    _, err = await process.communicate()

    assert process.returncode == 2
    for name in ("DATABASE_URL", "S3_BUCKET", "ENCRYPTION_KEYS", "REPLICATE_API_TOKEN"):
        assert any(line.startswith(f"{name}:") for line in err.decode().splitlines()), name


async def test_api_process_reports_an_invalid_key_in_one_line() -> None:
    process = await start_api(
        api_environment(
            "postgresql://x@127.0.0.1:9/x",
            "127.0.0.1:9",
            API_PORT="0",
            REPLICATE_API_TOKEN="r8 with é",
        )
    )
    _, err = await process.communicate()

    assert process.returncode == 2
    (line,) = err.decode().splitlines()
    assert line.startswith("REPLICATE_API_TOKEN: ")
    assert "r8 with" not in line


async def test_api_process_help_names_its_settings() -> None:
    process = await start_api({"PATH": os.environ["PATH"]}, "--help")
    out, _ = await process.communicate()

    assert process.returncode == 0
    for name in ("API_PORT", "PUBLIC_URL", "DATABASE_URL", "TEMPORAL_ADDRESS", "ENCRYPTION_KEYS"):
        assert name in out.decode()
