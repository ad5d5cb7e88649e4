"""The real stack as processes, two APIs and two workers, with a proxy on every connection."""

import asyncio
import base64
import contextlib
import os
import shutil
import signal
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import psutil

from core.platform.crypto.sealing import Sealer
from core.store.accounts.users import UserLimits, insert_api_key, insert_user
from core.store.database import Database
from deploy.local.config import ROOT, Config
from deploy.local.keys import LocalKeys, keep_keys
from deploy.local.ports import free_ports
from deploy.local.product import (
    api,
    make_temporal_config,
    product_environment,
    run_tool,
    s3_access,
    sandbox,
    worker,
)
from deploy.local.servers.postgres import postgres
from deploy.local.servers.process import Part, PartFailedError, Running, start
from deploy.local.servers.s3 import s3
from deploy.local.servers.temporal import temporal
from tests.chaos.http_taps import ProviderTap, StorageTap, TemporalTap
from tests.chaos.links import Line, Link, PlainTap, Tap
from tests.chaos.parts import (
    PRODUCT_LOG_BYTES,
    ROOM_TO_HOLD,
    SHORT_HORIZONS,
    as_provider,
    receiver,
    with_connections,
)
from tests.chaos.postgres_tap import PostgresTap
from tests.chaos.traps import TrapSet
from tests.support.folders import new_data_folder
from tests.support.stack_ports import free_receivers, free_stack_ports, receiver_port

WORKERS: Final = ("Worker 1", "Worker 2")
APIS: Final[tuple[str, ...]] = ("API 1", "API 2")
SERVERS: Final = ("PostgreSQL", "Temporal", "S3", "Sandbox")
RESTART_SECONDS = 0.5
"""The time in which a supervisor notices an end and restarts the process."""
READY_SECONDS = 180.0
"""Start-up limit, on a machine that other runs keep busy."""
USERS = 200
"""Transactions that can be held at once: each locks its user's budget row."""


@dataclass(slots=True, kw_only=True)
class Incident:
    """One end of a process and its next readiness, by the wall clock."""

    name: str
    ended_at: float
    code: int
    ready_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    api_key: str


@dataclass(slots=True, kw_only=True)
class Testbed:
    """The running stack.

    preferred_api: gets all new connections of clients and providers while it accepts any; None:
    both in turn. settings: of the APIs and workers, in place of the usual ones.
    """

    config: Config
    keys: LocalKeys
    environment: dict[str, str]
    say: Callable[[str], None]
    product_root: Path = ROOT
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    trap_set: TrapSet = field(default_factory=TrapSet)
    incidents: list[Incident] = field(default_factory=list[Incident])
    customers: list[Customer] = field(default_factory=list[Customer])
    restart_seconds: float = RESTART_SECONDS
    preferred_api: str | None = None
    _running: dict[str, Running] = field(default_factory=dict[str, Running])
    _keepers: list["asyncio.Task[None]"] = field(default_factory=list["asyncio.Task[None]"])
    _links: dict[tuple[str, str], Link] = field(default_factory=dict[tuple[str, str], Link])
    _front: Link | None = None
    _speech: Link | None = None
    _receiver_port: int = 0

    @property
    def owner_dsn(self) -> str:
        return self.environment["DATABASE_OWNER_URL"]

    @property
    def api_url(self) -> str:
        assert self._front is not None
        return f"http://127.0.0.1:{self._front.port}"

    @property
    def control_url(self) -> str:
        return self.config.sandbox_control_url

    @property
    def receiver_url(self) -> str:
        return f"http://127.0.0.1:{self._receiver_port}"

    @property
    def receiver_log(self) -> Path:
        return self.config.folder / "webhooks.jsonl"

    async def start(self) -> None:
        config, logs, ports = self.config, self.config.logs, self.config.ports
        self._receiver_port = receiver_port(config)
        servers = [
            with_connections(
                postgres(
                    config.folder,
                    ports.postgres,
                    self.keys.postgres_password,
                    log=logs / "postgres.log",
                    durable=False,
                )
            ),
            temporal(
                config.folder,
                ports.temporal,
                None,
                ports.temporal_metrics,
                log=logs / "temporal.log",
            ),
            s3(config.folder, ports.s3_all, s3_access(config, self.keys), log=logs / "s3.log"),
            as_provider(sandbox(config, self.keys, os.environ), config.sandbox_url),
            receiver(self.receiver_url, self.receiver_log, config),
        ]
        await asyncio.gather(*(self._begin(part) for part in servers))
        await asyncio.to_thread(run_tool, config, self.environment, "core.store.migrate")
        await self._make_customers()
        parts = await self._product_parts()
        await asyncio.gather(*(self._begin(part) for part in parts))

    async def stop(self) -> None:
        """Stop in reverse order, each process by its own pid.

        Repeating is safe.
        """
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for name, running in reversed(self._running.items()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(running.pid, signal.SIGCONT)
            if name.startswith(("API", "Worker")):
                await running.kill()
        for name, running in reversed(self._running.items()):
            if not name.startswith(("API", "Worker")):
                await running.stop()
        for link in [*self._links.values(), self._front, self._speech]:
            if link is not None:
                await link.close()

    def signal(self, name: str, number: signal.Signals) -> None:
        os.kill(self._running[name].pid, number)

    def pid_of(self, name: str) -> int:
        return self._running[name].pid

    def link(self, process: str, server: str) -> Link:
        """Return the proxy between a process and `postgres`, `temporal`, `provider` or `s3`."""
        return self._links[process, server]

    async def until_up(
        self, names: tuple[str, ...], since: float, timeout_seconds: float = 60
    ) -> None:
        """Wait until each process has ended since this time (wall clock) and is ready again.

        Raise TimeoutError.
        """
        async with asyncio.timeout(timeout_seconds):
            while not all(self._is_up_since(name, since) for name in names):  # noqa: ASYNC110 - the supervisors set no event
                await asyncio.sleep(0.05)

    def ends_since(self, since: float) -> list[Incident]:
        return [incident for incident in self.incidents if incident.ended_at >= since]

    def _is_up_since(self, name: str, since: float) -> bool:
        mine = [incident for incident in self.ends_since(since) if incident.name == name]
        return bool(mine) and mine[-1].ready_at is not None

    async def _begin(self, part: Part) -> None:
        running = await start(part)
        self._running[part.name] = running
        await running.wait_ready(READY_SECONDS)
        self._keepers.append(asyncio.create_task(self._keep(part.name), name=part.name))

    async def _keep(self, name: str) -> None:
        """Restart a part whenever it ends, always after the same short pause."""
        while True:
            running = self._running[name]
            code = await running.wait_ended()
            incident = Incident(name=name, ended_at=time.time(), code=code)
            self.incidents.append(incident)
            running.part.clean()
            await asyncio.sleep(self.restart_seconds)
            try:
                running = self._running[name] = await start(running.part)
                await running.wait_ready(READY_SECONDS)
                incident.ready_at = time.time()
            except (PartFailedError, OSError) as error:
                self.say(f"  {error}")
                await self._running[name].stop()

    async def _make_customers(self) -> None:
        keys = [base64.b64decode(part) for part in self.keys.encryption_key.split(",")]
        async with Database.open(self.environment["DATABASE_URL"], max_connections=1) as database:
            for number in range(USERS):
                async with database.as_system() as conn:
                    limits = UserLimits(monthly_videos=None, monthly_nano_usd=None)
                    user = await insert_user(conn, Sealer(keys), f"customer {number}", limits)
                    key = await insert_api_key(conn, user.user_id, "first")
                self.customers.append(Customer(api_key=key.key.text))

    async def _product_parts(self) -> list[Part]:
        ports = self.config.ports
        api_ports, metrics = free_ports(2), iter(free_ports(6))
        around = cycle((APIS, APIS[::-1]))
        port_of = dict(zip(APIS, api_ports, strict=True))

        def in_turn() -> list[int]:
            preferred = self.preferred_api
            names = sorted(APIS, key=preferred.__ne__) if preferred else next(around)
            return [port_of[name] for name in names]

        self._front = Link("clients", self.trap_set, in_turn, PlainTap)
        await self._front.open()
        # Of all processes, because the addresses of stored speech begin with its address.
        to_sandbox = partial(list[int], (ports.sandbox,))
        self._speech = Link(self._client_of, self.trap_set, to_sandbox, ProviderTap)
        await self._speech.open()
        parts: list[Part] = []
        for name, port in zip(APIS, api_ports, strict=True):
            config = replace(self.config, ports=replace(ports, api=port, api_metrics=next(metrics)))
            parts.append(self._named(name, api(config, await self._environment_of(name, config))))
        for name in WORKERS:
            own = replace(ports, worker_metrics=next(metrics), worker_sdk_metrics=next(metrics))
            config = replace(self.config, ports=own)
            parts.append(
                self._named(name, worker(config, await self._environment_of(name, config)))
            )
        return parts

    def _client_of(self, port: int) -> str:
        """Return the process whose connection has this local port."""
        for name in (*WORKERS, *APIS):
            with contextlib.suppress(psutil.Error, KeyError):
                connections = psutil.Process(self.pid_of(name)).net_connections("tcp4")
                if any(one.laddr.port == port for one in connections):
                    return name
        return ""

    def log_of(self, name: str) -> Path:
        """Return the log of an API or a worker."""
        return self.config.logs / f"{name.lower().replace(' ', '')}.log"

    def _named(self, name: str, part: Part) -> Part:
        command = tuple(
            str(self.product_root / "worker.py") if one.endswith("worker.py") else one
            for one in part.command
        )
        return replace(
            part,
            name=name,
            log=self.log_of(name),
            command=command,
            log_kept_bytes=PRODUCT_LOG_BYTES,
        )

    async def _environment_of(self, process: str, config: Config) -> dict[str, str]:
        """Return an environment whose server addresses are the process's own proxies."""
        plain, ports = product_environment(config, self.keys, os.environ), self.config.ports
        targets: dict[str, tuple[int, Callable[[Line], Tap]]] = {
            "postgres": (ports.postgres, PostgresTap),
            "temporal": (ports.temporal, TemporalTap),
            "provider": (ports.sandbox, ProviderTap),
            "s3": (ports.s3, StorageTap),
        }
        assert self._speech is not None
        through: dict[str, int] = {}
        for server, (port, tap) in targets.items():
            link = self._links[process, server] = Link(
                process, self.trap_set, partial(list[int], (port,)), tap
            )
            await link.open()
            through[server] = link.port
        login = urlsplit(plain["DATABASE_URL"]).netloc.rpartition("@")[0]
        provider = f"http://127.0.0.1:{through['provider']}"
        return {
            **plain,
            **SHORT_HORIZONS,
            **ROOM_TO_HOLD,
            "PYTHONPATH": str(self.product_root),
            "PUBLIC_URL": self.api_url,
            "DATABASE_URL": f"postgresql://{login}@127.0.0.1:{through['postgres']}/postgres",
            "TEMPORAL_ADDRESS": f"127.0.0.1:{through['temporal']}",
            "S3_ENDPOINT_URL": f"http://127.0.0.1:{through['s3']}",
            "FAL_QUEUE_URL": f"{provider}/fal/queue",
            "FAL_API_URL": f"{provider}/fal/api/v1",
            "REPLICATE_BASE_URL": f"{provider}/replicate",
            "ELEVENLABS_BASE_URL": f"http://127.0.0.1:{self._speech.port}/elevenlabs",
            "ALLOWED_PRIVATE_HOSTS": f"{plain['ALLOWED_PRIVATE_HOSTS']},127.0.0.1:{self._speech.port}",
            **self.settings,
        }

    async def rows(self, sql: str, *arguments: Any) -> list[dict[str, Any]]:
        """Query as the owner, without a proxy."""
        connection = await asyncpg.connect(self.owner_dsn)
        try:
            return [dict(row) for row in await connection.fetch(sql, *arguments)]
        finally:
            await connection.close()


@asynccontextmanager
async def running_testbed(
    say: Callable[[str], None],
    *,
    product_root: Path = ROOT,
    keep: bool = False,
    in_memory: bool = False,
    trap_set: TrapSet | None = None,
    settings: Mapping[str, str] | None = None,
) -> AsyncGenerator[Testbed]:
    """Start everything on free ports in a new folder, and stop it by its pids.

    product_root: folder of the product's sources (planted bugs live in a copy). keep: leave the
    logs. in_memory: the servers' data, which grows with the run.
    """
    folder = new_data_folder("takeone-chaos-", in_memory=in_memory)
    (folder / "logs").mkdir()
    config = Config(folder=folder, ports=free_stack_ports(), live=None, receivers=free_receivers())
    make_temporal_config(folder)
    keys = keep_keys(folder)
    environment = product_environment(config, keys, os.environ)
    testbed = Testbed(
        config=config,
        keys=keys,
        environment=environment,
        say=say,
        product_root=product_root,
        settings=settings or {},
        trap_set=trap_set or TrapSet(),
    )
    try:
        await testbed.start()
        yield testbed
    finally:
        await testbed.stop()
        if keep:
            say(f"Logs are kept in {config.logs}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
