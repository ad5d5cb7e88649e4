"""The servers of a benchmark: a stack like that of `make up`, and the bare worker.

The stack has free ports and a folder of its own.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import httpx
from temporalio.client import Client

from core.platform.temporal.client import queue_backlogs
from deploy.local.config import Config
from deploy.local.demo.client import User
from deploy.local.product import run_tool
from deploy.local.servers.postgres import superuser_dsn
from deploy.local.servers.process import Part, PartFailedError
from deploy.local.servers.temporal import NAMESPACE
from deploy.local.stack import prepared
from tests.bench.bare import QUEUE
from tests.support.stack_ports import free_receivers, free_stack_ports

Say = Callable[[str], None]

BARE_WORKER = "Bare worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Running servers and their addresses.

    pids: by the name of the part. user: without limits. owner_url, application_url: of the
    product's database. superuser_url: of its server. environment: the product's settings.
    """

    config: Config
    temporal: Client
    user: User
    pids: dict[str, int]
    owner_url: str
    application_url: str
    superuser_url: str
    environment: Mapping[str, str]

    def current_pids(self) -> dict[str, int]:
        """Return the pids as they are now: a part that was killed has been started again."""
        return _pids(self.config.folder)


ANY_RATE: Final = {f"{provider}_SUBMITS_PER_SECOND": "0" for provider in ("FAL", "REPLICATE")}
"""The provider's limit of ten create requests a second would hide what the engine can do."""
NO_POSTERS: Final = {"MEDIA_POSTERS": "false"}
"""They take processor time of ffmpeg after each video, which is not what is measured."""


@asynccontextmanager
async def running_servers(
    say: Say,
    *,
    image_seconds: float,
    video_seconds: float,
    environment: Mapping[str, str] | None = None,
    bare: bool = True,
) -> AsyncGenerator[Servers]:
    """Start the servers; at the end stop them by their pids and remove the folder.

    environment: more settings of the product. bare: also start the bare workflow's worker.
    """
    folder = _new_folder()
    config = Config(folder=folder, ports=free_stack_ports(), live=None, receivers=free_receivers())
    try:
        async with prepared(config, say) as stack:
            stack.environment |= ANY_RATE | NO_POSTERS | dict(environment or {})
            await stack.start()
            await _set_sandbox(config, image_seconds, video_seconds)
            client = await Client.connect(f"127.0.0.1:{config.ports.temporal}", namespace=NAMESPACE)
            if bare:
                await stack.run_parts([_bare_worker(config, stack.environment, client)])
            created = run_tool(
                config, stack.environment, "cli", "users", "create", "bench", "--json"
            )
            yield Servers(
                config=config,
                temporal=client,
                user=User.model_validate_json(created),
                pids=_pids(folder),
                owner_url=stack.environment["DATABASE_OWNER_URL"],
                application_url=stack.environment["DATABASE_URL"],
                superuser_url=superuser_dsn(config.ports.postgres, stack.keys.postgres_password),
                environment=stack.environment,
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _new_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="takeone-bench-"))
    folder.chmod(0o711)  # PostgreSQL's own system user enters it, when we are root
    return folder


def _pids(folder: Path) -> dict[str, int]:
    """As the stack notes them, and this process, which makes the load and takes the webhooks."""
    noted = json.loads((folder / "processes.json").read_text(encoding="utf-8"))
    return {one["name"]: one["pid"] for one in noted} | {"Load and inbox": os.getpid()}


def _bare_worker(config: Config, environment: dict[str, str], client: Client) -> Part:
    return Part(
        name=BARE_WORKER,
        command=(sys.executable, "-m", "tests.bench.bare_worker"),
        environment=environment,
        log=config.logs / "bare_worker.log",
        address=QUEUE,
        ready=partial(_is_polled, client),
        folder=config.folder,
        stop_seconds=10.0,
    )


async def _is_polled(client: Client) -> None:
    if not all(backlog.pollers for backlog in await queue_backlogs(client, [QUEUE])):
        raise PartFailedError("it asks Temporal for no work yet")


async def _set_sandbox(config: Config, image_seconds: float, video_seconds: float) -> None:
    settings = {
        "image_seconds": image_seconds,
        "video_seconds": video_seconds,
        "queue_seconds": 0.0,
        "tiny_media": True,
    }
    async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
        (await http.put(f"{config.sandbox_control_url}/settings", json=settings)).raise_for_status()


def machine() -> str:
    """Return the machine on which the numbers were measured."""
    model = "unknown CPU"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        model = next(
            (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
            model,
        )
    return f"{os.cpu_count()} x {model}, Python {sys.version.split()[0]}"
