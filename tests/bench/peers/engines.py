"""The peers as processes: how each is started, gets an order, and loses its worker."""

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import asyncpg
import httpx
from temporalio.client import Client

from deploy.local.config import ROOT
from deploy.local.ports import free_ports
from deploy.local.servers.process import Part, PartFailedError, Running, start, start_ready
from tests.bench.bare_activities import PROMPT
from tests.bench.peers.install import BullMq, Dbos
from tests.bench.peers.temporal_worker import QUEUE, PeerVideoWorkflow
from tests.bench.servers import Servers

DBOS_DATABASE: Final = "dbos_peer"
QUEUE_POLL_SECONDS: Final = 0.1
"""DBOS looks for new workflows this often; its default of a second would be most of the latency."""
ORDER_TRIES: Final = 5
ORDER_PAUSE_SECONDS: Final = 0.5
Order = Mapping[str, Any]


class Engine(Protocol):
    """What runs the orders. pids: of its own processes."""

    name: str
    version: str

    @property
    def pids(self) -> dict[str, int]: ...

    async def order(self, order: Order) -> None: ...

    async def kill_worker(self) -> None:
        """Kill the worker with SIGKILL; it is started again."""
        ...


@dataclass(slots=True, kw_only=True)
class Product:
    """Takeone, ordered like by a customer. Its local stack restarts a killed worker."""

    servers: Servers
    http: httpx.AsyncClient
    name: str = "Takeone"
    version: str = ""
    pids: dict[str, int] = field(default_factory=dict[str, int])

    async def order(self, order: Order) -> None:
        answer = await self.http.post(
            f"{self.servers.config.api_url}/api/generate-video",
            json={"prompt": PROMPT, "webhook": order["webhook"]},
            headers={"authorization": f"Bearer {self.servers.user.api_key}"},
        )
        answer.raise_for_status()

    async def kill_worker(self) -> None:
        os.kill(self.servers.current_pids()["Worker"], signal.SIGKILL)


@dataclass(slots=True, kw_only=True)
class BareTemporal:
    """A workflow as in Temporal's tutorials, on the same Temporal server."""

    client: Client
    worker: Running
    version: str
    name: str = "bare Temporal"

    @property
    def pids(self) -> dict[str, int]:
        return {"worker": self.worker.pid}

    async def order(self, order: Order) -> None:
        await self.client.start_workflow(
            PeerVideoWorkflow.run, dict(order), id=order["id"], task_queue=QUEUE
        )

    async def kill_worker(self) -> None:
        await self.worker.kill()
        self.worker = await start(self.worker.part)


@dataclass(slots=True, kw_only=True)
class WithFront:
    """A peer with a process that accepts orders over HTTP, a worker, and perhaps a server."""

    name: str
    version: str
    http: httpx.AsyncClient
    url: str
    worker: Running
    others: Sequence[Running]

    @property
    def pids(self) -> dict[str, int]:
        return {one.part.name: one.pid for one in (self.worker, *self.others)}

    async def order(self, order: Order) -> None:
        """Order, again after a lost answer: its id is the job's, so that no order counts twice."""
        for attempt in range(ORDER_TRIES):
            try:
                answer = await self.http.post(f"{self.url}/orders", json=dict(order))
            except httpx.TransportError:
                if attempt == ORDER_TRIES - 1:
                    raise
                await asyncio.sleep(ORDER_PAUSE_SECONDS)
            else:
                answer.raise_for_status()
                return

    async def kill_worker(self) -> None:
        await self.worker.kill()
        self.worker = await start(self.worker.part)


@asynccontextmanager
async def running_temporal(servers: Servers, version: str) -> AsyncGenerator[BareTemporal]:
    address = f"127.0.0.1:{servers.config.ports.temporal}"
    part = Part(
        name="peer worker",
        command=(sys.executable, "-m", "tests.bench.peers.temporal_worker"),
        environment={**_plain(), "PYTHONPATH": str(ROOT), "TEMPORAL_ADDRESS": address},
        log=servers.config.logs / "peer_temporal.log",
        address=QUEUE,
        ready=_at_once,
        folder=servers.config.folder,
    )
    engine = BareTemporal(client=servers.temporal, worker=await start(part), version=version)
    try:
        yield engine
    finally:
        await engine.worker.stop()


@asynccontextmanager
async def running_bullmq(
    servers: Servers, http: httpx.AsyncClient, installed: BullMq, concurrency: int
) -> AsyncGenerator[WithFront]:
    """Run Redis with an append-only file, the front and the worker."""
    redis_port, port = free_ports(2)
    data = servers.config.folder / "redis"
    data.mkdir()
    redis = Part(
        name="Redis",
        command=(
            str(installed.redis), "--port", str(redis_port), "--bind", "127.0.0.1", "--dir", str(data),
            "--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction",
        ),
        log=servers.config.logs / "redis.log",
        address=f"127.0.0.1:{redis_port}",
        ready=partial(_accepts, redis_port),
        folder=data,
    )  # fmt: skip
    environment = {
        **_plain(),
        "REDIS_PORT": str(redis_port),
        "PORT": str(port),
        "CONCURRENCY": str(concurrency),
    }

    def script(name: str) -> tuple[str, ...]:
        return (str(installed.node), str(installed.folder / f"{name}.mjs"))

    async with _with_front(
        servers, http, "BullMQ", installed.version, port, script("front"), script("worker"),
        environment, installed.folder, (redis,),
    ) as engine:  # fmt: skip
        yield engine


@asynccontextmanager
async def running_dbos(
    servers: Servers, http: httpx.AsyncClient, installed: Dbos, concurrency: int
) -> AsyncGenerator[WithFront]:
    """Run the front and the worker on a database of the same PostgreSQL server."""
    (port,) = free_ports(1)
    connection = await asyncpg.connect(servers.superuser_url)
    try:
        await connection.execute(f"CREATE DATABASE {DBOS_DATABASE}")
    finally:
        await connection.close()
    environment = {
        **_plain(),
        "DBOS_DATABASE_URL": f"{servers.superuser_url.rpartition('/')[0]}/{DBOS_DATABASE}",
        "PORT": str(port),
        "CONCURRENCY": str(concurrency),
        "QUEUE_POLL_SECONDS": str(QUEUE_POLL_SECONDS),
    }
    here = Path(__file__).parent / "dbos_app"

    def script(name: str) -> tuple[str, ...]:
        return (str(installed.python), str(here / f"{name}.py"))

    async with _with_front(
        servers, http, "DBOS", installed.version, port, script("front"), script("worker"),
        environment, servers.config.folder, (),
    ) as engine:  # fmt: skip
        yield engine


@asynccontextmanager
async def _with_front(
    servers: Servers,
    http: httpx.AsyncClient,
    name: str,
    version: str,
    port: int,
    front: tuple[str, ...],
    worker: tuple[str, ...],
    environment: Mapping[str, str],
    folder: Path,
    before: Sequence[Part],
) -> AsyncGenerator[WithFront]:
    url = f"http://127.0.0.1:{port}"
    log = servers.config.logs / f"peer_{name.lower()}_worker.log"
    parts = [
        *before,
        # The worker creates the tables that the front needs.
        Part(
            name=f"{name} worker",
            command=worker,
            environment=environment,
            log=log,
            address=name,
            ready=partial(_is_ready, log),
            folder=folder,
        ),
        Part(
            name=f"{name} front",
            command=front,
            environment=environment,
            log=servers.config.logs / f"peer_{name.lower()}_front.log",
            address=url,
            ready=partial(_answers, http, url),
            folder=folder,
        ),
    ]
    async with AsyncExitStack() as stack:
        started: list[Running] = []
        for part in parts:
            started.append(await start_ready(part))
            if part.name != f"{name} worker":
                stack.push_async_callback(started[-1].stop)
        running_worker = started.pop(len(before))
        engine = WithFront(
            name=name,
            version=version,
            http=http,
            url=url,
            worker=running_worker,
            others=started,
        )
        stack.push_async_callback(_stop_worker, engine)
        yield engine


async def _stop_worker(engine: WithFront) -> None:
    await engine.worker.stop()


def new_key() -> str:
    return f"peer-{secrets.token_hex(8)}"


def _plain() -> dict[str, str]:
    """Return the few variables that a program needs: none of them redirects it."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}


async def _at_once() -> None:
    """Return at once: a worker that polls a queue needs no check, because its orders wait there."""


async def _accepts(port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()


async def _is_ready(log: Path) -> None:
    if "ready" not in await asyncio.to_thread(log.read_text, "utf-8", "replace"):
        raise PartFailedError("the worker is not ready yet")


async def _answers(http: httpx.AsyncClient, url: str) -> None:
    (await http.get(url)).raise_for_status()
