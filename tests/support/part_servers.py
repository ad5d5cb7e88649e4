"""The server processes that tests use: PostgreSQL, Temporal and S3 on free ports."""

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from deploy.local.ports import free_ports
from deploy.local.servers.postgres import postgres
from deploy.local.servers.process import Part, Running, start_ready
from deploy.local.servers.s3 import PORTS, S3Access, s3
from deploy.local.servers.temporal import temporal

SERVER_NAMES = "PostgreSQL, Temporal and S3"
PASSWORD = "test"


def postgres_part(folder: Path) -> Part:
    (port,) = free_ports(1)
    return postgres(folder, port, PASSWORD, log=folder / "postgres.log", durable=False)


def temporal_part(folder: Path) -> Part:
    port, metrics_port = free_ports(2)
    return temporal(folder, port, None, metrics_port, log=folder / "temporal.log")


def s3_part(folder: Path) -> tuple[Part, S3Access]:
    ports = free_ports(PORTS)
    access = S3Access(
        endpoint_url=f"http://127.0.0.1:{ports[0]}",
        bucket="takeone-test",
        access_key_id="TESTKEY",
        secret_access_key=secrets.token_hex(16),
    )
    return s3(folder, ports, access, log=folder / "s3.log"), access


@asynccontextmanager
async def running(part: Part) -> AsyncGenerator[Running]:
    """Run a server, and stop it at the end."""
    started = await start_ready(part)
    try:
        yield started
    finally:
        await started.stop()
