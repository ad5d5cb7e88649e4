"""`python -m api` as a process: its port, its metrics, its end."""

import asyncio
import base64
import os
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from deploy.local.ports import free_ports
from runtime.encryption import Sealer
from store.database import Database
from store.users import insert_api_key, insert_user
from tests.api.conftest import ENCRYPTION_KEY, NO_LIMITS
from tests.servers import FreshDatabase


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    process: Process
    url: str
    metrics_url: str
    http: httpx.AsyncClient


def _environment(database_url: str, temporal_address: str, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": database_url,
        "TEMPORAL_ADDRESS": temporal_address,
        "S3_ENDPOINT_URL": "http://127.0.0.1:9",
        "S3_BUCKET": "takeone-test",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret-secret",
        "FAL_KEY": "00000000-0000-0000-0000-000000000000:0123456789abcdef0123456789abcdef",
        "REPLICATE_API_TOKEN": "r8_0123456789012345678901234567890123456",
        "ENCRYPTION_KEYS": base64.b64encode(ENCRYPTION_KEY).decode(),
        "METRICS_PORT": "0",
        **more,
    }


async def _start(environment: dict[str, str], *arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "api",
        *arguments,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def _api_key(database: FreshDatabase) -> str:
    async with Database.open(database.application_dsn) as db, db.as_system() as conn:
        user = await insert_user(conn, Sealer([ENCRYPTION_KEY]), "Ada", NO_LIMITS)
        return (await insert_api_key(conn, user.user_id, "test")).key.text


@asynccontextmanager
async def _served(database: FreshDatabase, temporal_address: str) -> AsyncGenerator[Served]:
    api_port, metrics_port = free_ports(2)
    environment = _environment(
        database.application_dsn, temporal_address, API_PORT=str(api_port), METRICS_PORT=str(metrics_port)
    )
    process = await _start(environment)
    url = f"http://127.0.0.1:{api_port}"
    headers = {"Authorization": f"Bearer {await _api_key(database)}"}
    try:
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as http:
            await _until_alive(http, process)
            yield Served(process=process, url=url, metrics_url=f"http://127.0.0.1:{metrics_port}/metrics", http=http)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _until_alive(http: httpx.AsyncClient, process: Process) -> None:
    for _ in range(200):
        assert process.returncode is None
        try:
            if (await http.get("/healthz")).status_code == 200:
                return
        except httpx.TransportError:
            await asyncio.sleep(0.1)
    raise TimeoutError("the API is not alive")


async def test_api_process_serves_and_measures_by_route(fresh_database: FreshDatabase, temporal_address: str) -> None:
    async with _served(fresh_database, temporal_address) as served:
        accepted = (await served.http.post("/api/generate-video", json={"prompt": "A paper boat"})).json()
        read = await served.http.get(f"/api/executions/{accepted['executionId']}")
        await served.http.get("/nothing/here")
        metrics = (await served.http.get(served.metrics_url)).text
        on_the_api = await served.http.get("/metrics")

    assert accepted["statusUrl"] == f"{served.url}/api/executions/{accepted['executionId']}"
    assert read.status_code == 200
    assert "server" not in read.headers
    count = "takeone_api_request_duration_seconds_count"
    assert f'{count}{{method="POST",route="/api/generate-video",status="202"}} 1.0' in metrics
    assert f'{count}{{method="GET",route="/api/executions/{{execution_id}}",status="200"}} 1.0' in metrics
    assert f'{count}{{method="GET",route="unmatched",status="404"}} 1.0' in metrics
    assert accepted["executionId"] not in metrics
    assert on_the_api.status_code == 404


async def test_api_process_answers_413_to_an_endless_body(fresh_database: FreshDatabase, temporal_address: str) -> None:
    async with _served(fresh_database, temporal_address) as served:
        host, port = served.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        key = served.http.headers["authorization"]
        writer.write(
            b"POST /api/generate-video HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\nAuthorization: " + key.encode() + b"\r\n\r\n"
        )
        for _ in range(20):  # and never an end
            writer.write(b"2000\r\n" + b" " * 0x2000 + b"\r\n")
        status = await asyncio.wait_for(reader.readline(), 10)
        writer.close()

    assert b" 413 " in status


async def test_api_process_calls_a_client_that_left_no_error_of_its_own(
    fresh_database: FreshDatabase, temporal_address: str
) -> None:
    async with _served(fresh_database, temporal_address) as served:
        host, port = served.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        key = served.http.headers["authorization"]
        writer.write(
            b"POST /api/generate-video HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\nAuthorization: " + key.encode() + b"\r\n\r\n{"
        )
        await writer.drain()
        await asyncio.sleep(0.5)
        writer.close()
        await asyncio.sleep(0.5)
        served.process.terminate()
        _, err = await served.process.communicate()

    assert b"unexpected error" not in err
    assert b'"route": "/api/generate-video", "status": 422' in err


async def test_api_process_finishes_what_has_begun_and_exits_0(
    fresh_database: FreshDatabase, temporal_address: str
) -> None:
    async with _served(fresh_database, temporal_address) as served:
        accepted = (await served.http.post("/api/generate-video", json={"prompt": "A paper boat"})).json()
        cancelling = asyncio.create_task(served.http.post(f"/api/executions/{accepted['executionId']}/cancel"))
        await asyncio.sleep(1)
        served.process.terminate()
        answer = await cancelling
        _, err = await served.process.communicate()

    assert answer.status_code == 202
    assert served.process.returncode == 0
    assert b"Traceback" not in err
    assert b"secret-secret" not in err
    assert served.http.headers["authorization"].split("_")[-1].encode() not in err


async def test_api_process_says_in_one_line_that_its_port_is_busy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for name in ("API_PORT", "METRICS_PORT"):
            environment = _environment("postgresql://x@127.0.0.1:9/x", "127.0.0.1:9", API_PORT="0")
            process = await _start({**environment, name: port})
            _, err = await process.communicate()

            assert process.returncode == 1
            (line,) = err.decode().splitlines()
            assert name in line
            assert port in line


async def test_api_process_names_every_missing_setting() -> None:
    process = await _start({"PATH": os.environ["PATH"], "DATABASE_URL": "mysql://"})
    _, err = await process.communicate()

    assert process.returncode == 2
    for name in ("DATABASE_URL", "S3_BUCKET", "ENCRYPTION_KEYS", "REPLICATE_API_TOKEN"):
        assert any(line.startswith(f"{name}:") for line in err.decode().splitlines()), name


async def test_api_process_says_in_one_line_that_a_key_cannot_be_one() -> None:
    process = await _start(
        _environment("postgresql://x@127.0.0.1:9/x", "127.0.0.1:9", API_PORT="0", REPLICATE_API_TOKEN="r8 with é")
    )
    _, err = await process.communicate()

    assert process.returncode == 1
    (line,) = err.decode().splitlines()
    assert "replicate" in line
    assert "r8 with" not in line


async def test_api_process_help_names_its_settings() -> None:
    process = await _start({"PATH": os.environ["PATH"]}, "--help")
    out, _ = await process.communicate()

    assert process.returncode == 0
    for name in ("API_PORT", "PUBLIC_URL", "DATABASE_URL", "TEMPORAL_ADDRESS", "ENCRYPTION_KEYS"):
        assert name in out.decode()
