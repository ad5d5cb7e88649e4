"""Processes of two releases on one set of servers, behind the proxy of production."""

import asyncio
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import httpx

from deploy.local.config import ROOT, Config
from deploy.local.demo.client import User
from deploy.local.ports import free_ports
from deploy.local.product import api, s3_access, sandbox, worker
from deploy.local.servers.postgres import postgres
from deploy.local.servers.process import Part, Running, start_ready
from deploy.local.servers.s3 import s3
from deploy.local.servers.temporal import temporal
from deploy.local.stack import Stack, prepared
from tests.end_to_end.conftest import FAST_HORIZONS
from tests.end_to_end.world import World
from tests.support.caddy import running_caddy
from tests.support.folders import data_folder
from tests.support.receiver import Receiver
from tests.support.rollout import DEPLOYMENT
from tests.support.stack_ports import free_receivers, free_stack_ports, receiver_port

OLD: Final[str] = "old"
NEW: Final[str] = "new"
PREVIOUS_RELEASE = "f58aaf47"
"""The last commit before 0.2.0; later the tag of the release before the present one."""


def previous_release(folder: Path) -> Path | None:
    """Write the code of the previous release; None if the repository has no such commit."""
    archive = subprocess.run(
        ["git", "archive", PREVIOUS_RELEASE], cwd=ROOT, capture_output=True, check=False
    )
    if archive.returncode != 0:
        return None
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


@dataclass(slots=True, kw_only=True)
class Releases:
    """The processes of both releases. code, api_ports: by release. running: by part and release."""

    stack: Stack
    code: dict[str, Path]
    api_ports: dict[str, int]
    running: dict[str, Running] = field(default_factory=dict[str, Running])

    def run(self, release: str, *arguments: str) -> str:
        """Run a module of a release and return its output."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            env=self._environment(release),
            cwd=self.stack.config.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    async def start_api(self, release: str) -> None:
        await self._start(release, api(self._config(release), self._environment(release)))

    async def start_worker(self, release: str, *, build_id: str | None = None) -> None:
        """Start a worker; with a build id, as a version of the deployment."""
        environment = self._environment(release)
        if build_id is not None:
            environment |= {
                "TEMPORAL_DEPLOYMENT_NAME": DEPLOYMENT,
                "TEMPORAL_WORKER_BUILD_ID": build_id,
            }
        part = worker(self._config(release), environment)
        command = (sys.executable, str(self.code[release] / "worker.py"))
        await self._start(release, replace(part, command=command))

    async def stop(self, part: str, release: str) -> None:
        """Send SIGTERM, and check that the process ends by itself."""
        running = self.running.pop(f"{part} {release}")
        running.process.terminate()
        async with asyncio.timeout(60):
            assert await running.wait_ended() == 0

    async def _start(self, release: str, part: Part) -> None:
        log = self.stack.config.logs / f"{part.name}-{release}.log"
        self.running[f"{part.name} {release}"] = await start_ready(replace(part, log=log))

    def _config(self, release: str) -> Config:
        config = self.stack.config
        metrics, worker_metrics, sdk_metrics = free_ports(3)
        ports = replace(
            config.ports,
            api=self.api_ports[release],
            api_metrics=metrics,
            worker_metrics=worker_metrics,
            worker_sdk_metrics=sdk_metrics,
        )
        return replace(config, ports=ports)

    def _environment(self, release: str) -> dict[str, str]:
        return {
            **self.stack.environment,
            "PYTHONPATH": str(self.code[release]),
            "API_PORT": str(self.api_ports[release]),
        }


@asynccontextmanager
async def two_releases(previous: Path) -> AsyncGenerator[tuple[Releases, World]]:
    """Start the servers, and the API and a worker of the previous release, behind a proxy.

    Yield the releases and a world whose API is the proxy.
    """
    ports = free_stack_ports()
    (proxy_port,) = free_ports(1)
    api_ports = dict[str, int](zip((OLD, NEW), free_ports(2), strict=True))
    with data_folder("takeone-upgrade-") as folder:
        config = Config(
            folder=folder, ports=replace(ports, api=proxy_port), live=None, receivers=free_receivers()
        )  # fmt: skip
        async with prepared(config, lambda _line: None) as stack:
            stack.environment |= {**FAST_HORIZONS, "LOG_LEVEL": "DEBUG", "MEDIA_POSTERS": "false"}
            code = {OLD: previous, NEW: ROOT}
            releases = Releases(stack=stack, code=code, api_ports=api_ports)
            await stack.run_parts(_servers(stack))
            await asyncio.to_thread(releases.run, OLD, "core.store.migrate")
            try:
                await releases.start_api(OLD)
                await releases.start_worker(OLD)
                upstreams = [f"127.0.0.1:{port}" for port in api_ports.values()]
                async with (
                    running_caddy(proxy_port, *upstreams, folder=folder) as url,
                    _world(releases, url) as world,
                ):
                    yield releases, world
            finally:
                await asyncio.gather(*(part.stop() for part in releases.running.values()))


def _servers(stack: Stack) -> list[Part]:
    config, keys, ports = stack.config, stack.keys, stack.config.ports
    return [
        postgres(
            config.folder, ports.postgres, keys.postgres_password, log=config.logs / "postgres.log"
        ),
        temporal(
            config.folder, ports.temporal, None, ports.temporal_metrics,
            log=config.logs / "temporal.log",
        ),
        s3(config.folder, ports.s3_all, s3_access(config, keys), log=config.logs / "s3.log"),
        sandbox(config, keys, os.environ),
    ]  # fmt: skip


@asynccontextmanager
async def _world(releases: Releases, url: str) -> AsyncGenerator[World]:
    """Yield a world with a user whom the previous release created."""
    stack = releases.stack
    created = await asyncio.to_thread(
        releases.run, OLD, "cli", "users", "create", "upgrade", "--json"
    )
    user = User.model_validate_json(created)
    login = {"authorization": f"Bearer {user.api_key}"}
    control_url = stack.config.sandbox_control_url
    async with (
        httpx.AsyncClient(base_url=url, headers=login, timeout=30, trust_env=False) as client,
        httpx.AsyncClient(base_url=control_url, timeout=10, trust_env=False) as control,
        Receiver.open(port=receiver_port(stack.config)) as receiver,
    ):
        world = World(
            stack=stack,
            user=user,
            api=client,
            control=control,
            receiver=receiver,
            owner_dsn=stack.environment["DATABASE_OWNER_URL"],
        )
        await world.settings(tiny_media=True, image_seconds=0.3, video_seconds=1.0)
        yield world
