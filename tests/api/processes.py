"""`python -m api` as processes, for tests across processes."""

import asyncio
import base64
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx

from deploy.local.ports import free_ports
from deploy.local.servers.process import READY_TIMEOUT_SECONDS
from tests.api.conftest import ENCRYPTION_KEY
from tests.support.servers import FreshDatabase


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A running process.

    http: sends the API key that it was opened with.
    """

    process: Process
    url: str
    metrics_url: str
    http: httpx.AsyncClient


def api_environment(database_url: str, temporal_address: str, **more: str) -> dict[str, str]:
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


async def start_api(environment: dict[str, str], *arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "api",
        *arguments,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@asynccontextmanager
async def served(
    database: FreshDatabase, temporal_address: str, api_key: str, **environment: str
) -> AsyncGenerator[Served]:
    """Yield one ready process.

    The caller stops it, or kills it.
    """
    api_port, metrics_port = free_ports(2)
    ports = {"API_PORT": str(api_port), "METRICS_PORT": str(metrics_port)}
    process = await start_api(
        api_environment(database.application_dsn, temporal_address, **ports, **environment)
    )
    url = f"http://127.0.0.1:{api_port}"
    headers = {"Authorization": f"Bearer {api_key}"}
    unbounded = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    try:
        async with httpx.AsyncClient(
            base_url=url, headers=headers, timeout=60, limits=unbounded
        ) as http:
            await _until_alive(http, process)
            yield Served(
                process=process,
                url=url,
                metrics_url=f"http://127.0.0.1:{metrics_port}/metrics",
                http=http,
            )
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def two_served(
    database: FreshDatabase, temporal_address: str, api_key: str, **environment: str
) -> AsyncGenerator[tuple[Served, Served]]:
    """Yield two processes on one database.

    They log errors only: their output is not read, and a full pipe would block them.
    """
    quiet = {"LOG_LEVEL": "ERROR", **environment}
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(served(database, temporal_address, api_key, **quiet))
        other = await stack.enter_async_context(
            served(database, temporal_address, api_key, **quiet)
        )
        yield one, other


async def _until_alive(http: httpx.AsyncClient, process: Process) -> None:
    async with asyncio.timeout(READY_TIMEOUT_SECONDS):
        while True:
            assert process.returncode is None
            try:
                if (await http.get("/healthz")).status_code == 200:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.1)
