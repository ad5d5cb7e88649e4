"""The proxy in front of the API: slow clients, large bodies, an API that is down."""

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from api.http.middleware.body_limits import JSON_BODY_BYTES
from api.http.schemas import Problem
from deploy.local.ports import free_ports
from tests.api.processes import Served
from tests.api.raw import raw
from tests.api.test_server import quiet_api
from tests.support.caddy import running_caddy
from tests.support.servers import FreshDatabase, PostgresServer, new_database

TIMEOUT_SECONDS = 3
"""Every time-out of the proxy in these tests; the defaults are longer."""
MARGIN_SECONDS = 3.0
CROWD_SECONDS = {100: 12, 1000: 30}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """http: sends requests to the proxy, with the API's key."""

    port: int
    api: Served
    http: httpx.AsyncClient


@asynccontextmanager
async def proxied(api: Served, folder: Path) -> AsyncGenerator[Proxy]:
    """Run Caddy with the configuration of production, but without TLS and with short time-outs."""
    (port,) = free_ports(1)
    timeouts = ("HEADER", "BODY", "WRITE", "IDLE")
    short = {f"PROXY_{name}_TIMEOUT": f"{TIMEOUT_SECONDS}s" for name in timeouts}
    upstream = api.url.removeprefix("http://")
    async with (
        running_caddy(port, upstream, folder=folder, PROXY_RETRY_TIMEOUT="1s", **short) as url,
        httpx.AsyncClient(base_url=url, headers=api.http.headers, timeout=30) as http,
    ):
        yield Proxy(port=port, api=api, http=http)


@pytest.fixture(scope="module")
async def proxy(
    postgres_server: PostgresServer,
    template_database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncGenerator[Proxy]:
    """Yield a proxy with an API that no test ends: their start takes seconds."""
    async with (
        new_database(postgres_server, template_database) as database,
        quiet_api(database, RATE_LIMIT_READS="0") as api,
        proxied(api, tmp_path_factory.mktemp("proxy")) as proxy,
    ):
        yield proxy


async def _p99_seconds(http: httpx.AsyncClient, seconds: float) -> float:
    """Send requests one after the other, assert that each is answered, and return the p99."""
    durations: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        started = time.perf_counter()
        assert (await http.get("/api/executions")).status_code == 200
        durations.append(time.perf_counter() - started)
        await asyncio.sleep(0.02)
    return sorted(durations)[len(durations) * 99 // 100]


@pytest.mark.parametrize("clients", [100, pytest.param(1000, marks=pytest.mark.long)])
async def test_honest_client_is_served_amid_slow_clients(proxy: Proxy, clients: int) -> None:
    """Slow headers, bodies and readers hang at the proxy, and are cut off there."""
    seconds = CROWD_SECONDS[clients]
    alone = await _p99_seconds(proxy.http, 2)
    crowd = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.api.crowd", str(proxy.port), str(clients), str(seconds)),
        stdout=asyncio.subprocess.PIPE,
    )
    amid = await _p99_seconds(proxy.http, seconds)
    output, _ = await crowd.communicate()

    result = json.loads(output)
    sys.stdout.write(f"p99 {amid * 1000:.0f} ms, alone {alone * 1000:.0f} ms; crowd: {result}\n")
    assert amid < 1.0
    assert result["connections"] > clients, "no slow client was cut off"
    assert result["longest_seconds"] < 2 * TIMEOUT_SECONDS + MARGIN_SECONDS


async def test_slow_body_never_reaches_the_api(proxy: Proxy) -> None:
    """The proxy buffers a body before it opens a connection to the API."""
    proxy.api.process.send_signal(signal.SIGSTOP)  # the API would not even accept a connection
    try:
        async with raw(proxy.port) as client:
            await client.send(
                b"POST /api/quotes HTTP/1.1\r\nHost: x\r\nContent-Length: 60\r\n\r\n{"
            )
            limit = TIMEOUT_SECONDS + MARGIN_SECONDS
            assert await client.ended_after(limit) < limit
    finally:
        proxy.api.process.send_signal(signal.SIGCONT)


async def test_uploads_may_be_larger_than_other_bodies(proxy: Proxy) -> None:
    file = {"file": ("a", bytes(JSON_BODY_BYTES * 4))}
    reached = await proxy.http.post("/api/assets", files=file)
    assert (reached.status_code, reached.json()["code"]) == (422, "media_unsupported")
    async with raw(proxy.port) as client:
        await client.send(
            b"POST /api/assets HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 999999999\r\n\r\n"
            + bytes(400_000)  # the proxy reads some of a body before it answers
        )
        large = await client.receive()
    assert large.startswith(b"HTTP/1.1 413 ")


async def test_proxy_errors_are_problem_documents(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    async with quiet_api(fresh_database) as api, proxied(api, tmp_path) as proxy:
        large = await proxy.http.post("/api/quotes", content=b" " * (JSON_BODY_BYTES * 4))
        api.process.kill()
        await api.process.wait()
        down = await proxy.http.get("/api/executions")

    for response, status, code in (
        (large, 413, "payload_too_large"),
        (down, 503, "service_unavailable"),
    ):
        assert response.headers["content-type"] == "application/problem+json"
        problem = Problem.model_validate(response.json())
        assert (response.status_code, problem.status, problem.code) == (status, status, code)
        assert response.json()["requestId"] == response.headers["x-request-id"]
    assert large.json()["instance"] == "/", "the proxy itself refuses a declared length"
    assert int(down.headers["retry-after"]) > 0
