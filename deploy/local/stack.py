"""The whole product on this machine: started in order, watched, restarted, stopped in reverse."""

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from deploy.local.config import Config
from deploy.local.keys import LocalKeys, keep_keys
from deploy.local.leftovers import Started, exclusive, note_started, stop_leftovers
from deploy.local.ports import is_free
from deploy.local.product import (
    api,
    codec,
    make_temporal_config,
    operator_console,
    product_environment,
    run_tool,
    s3_access,
    sandbox,
    worker,
)
from deploy.local.servers.postgres import postgres
from deploy.local.servers.process import LocalError, Part, PartFailedError, Running, start
from deploy.local.servers.prometheus import MISSING, find_prometheus, prometheus
from deploy.local.servers.s3 import s3
from deploy.local.servers.temporal import temporal

NEEDED_FREE_BYTES = 500_000_000
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
# A process that ran this long has recovered: its next restart waits the shortest pause again.
RECOVERED_SECONDS = 60.0

PART_NAMES = {
    "API_PORT": "the API",
    "OPERATOR_PORT": "the operator's console",
    "SANDBOX_PORT": "the provider sandbox",
    "SANDBOX_CONTROL_PORT": "the sandbox's control routes",
    "DEMO_WEBHOOK_PORT": "the demo's webhook receiver",
    "TEMPORAL_PORT": "Temporal",
    "TEMPORAL_UI_PORT": "the Temporal Web UI",
    "CODEC_PORT": "the codec endpoint of the Web UI",
    "POSTGRES_PORT": "PostgreSQL",
    "S3_PORT": "the S3 server, which needs eight consecutive ports",
    "API_METRICS_PORT": "metrics of the API",
    "WORKER_METRICS_PORT": "metrics of the worker",
    "WORKER_SDK_METRICS_PORT": "metrics of the worker's Temporal SDK",
    "TEMPORAL_METRICS_PORT": "metrics of Temporal",
    "PROMETHEUS_PORT": "Prometheus",
}

Say = Callable[[str], None]


class Stack:
    """The running processes of one data folder."""

    def __init__(
        self, config: Config, keys: LocalKeys, environment: Mapping[str, str], say: Say
    ) -> None:
        self.config = config
        self.keys = keys
        self.environment = dict(environment)
        self._say = say
        self._running: dict[str, Running] = {}
        self._stages: list[list[str]] = []
        self._watchers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start everything in the order of dependencies.

        Raise LocalError; the caller then stops what has started.
        """
        config, logs, ports = self.config, self.config.logs, self.config.ports
        servers = [
            postgres(
                config.folder,
                ports.postgres,
                self.keys.postgres_password,
                log=logs / "postgres.log",
            ),
            temporal(
                config.folder,
                ports.temporal,
                ports.temporal_ui,
                ports.temporal_metrics,
                log=logs / "temporal.log",
                codec_url=config.codec_url if config.encrypt_payloads else None,
            ),
            s3(config.folder, ports.s3_all, s3_access(config, self.keys), log=logs / "s3.log"),
        ]
        if config.live is None:
            servers.append(sandbox(config, self.keys, os.environ))
        await self.run_parts(servers)
        began = time.monotonic()
        await asyncio.to_thread(run_tool, config, self.environment, "core.store.migrate")
        self._say(f"  {'Migrations':<11} done    {time.monotonic() - began:5.1f} s")
        processes = [api(config, self.environment), worker(config, self.environment)]
        if config.encrypt_payloads:
            processes.append(codec(config, self.environment))
        if config.operator:
            processes.append(operator_console(config, self.environment))
        if config.observe:
            processes += self._observers()
        await self.run_parts(processes)

    def _observers(self) -> list[Part]:
        """Return Prometheus, or say that it is not installed."""
        program = find_prometheus()
        if program is None:
            self._say(MISSING)
            return []
        return [prometheus(program, self.config)]

    async def run_parts(self, *stages: list[Part]) -> None:
        """Start processes stage by stage, and from then on restart each that ends."""
        for stage in stages:
            await self._start_together(stage)
        watched = {task.get_name() for task in self._watchers}
        self._watchers += [
            asyncio.create_task(self._keep(name), name=name)
            for name in self._running.keys() - watched
        ]

    async def stop(self) -> None:
        """Stop the stages in reverse order, each stage at once.

        Repeating is safe.
        """
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        self._watchers = []
        while self._stages:
            await asyncio.gather(*(self._stop_one(name) for name in self._stages.pop()))

    def kill(self) -> None:
        """Kill every process; stored data stays intact."""
        for running in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                running.process.kill()

    def pid_of(self, name: str) -> int:
        """Return the current process id of a part.

        Raise KeyError for a part that has not started.
        """
        return self._running[name].pid

    async def _stop_one(self, name: str) -> None:
        if (running := self._running.get(name)) is None:
            return
        await running.stop()
        del self._running[name]
        self._note()
        self._say(f"  {name} stopped")

    async def _start_together(self, parts: list[Part]) -> None:
        self._stages.append([part.name for part in parts])
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(self._start_one(part))

    async def _start_one(self, part: Part) -> None:
        began = time.monotonic()
        running = await self._launch(part)
        await running.wait_ready()
        # By now each process runs its final program, even if a shell or a wrapper started it.
        self._note()
        self._say(f"  {part.name:<11} healthy {time.monotonic() - began:5.1f} s   {part.address}")

    async def _launch(self, part: Part) -> Running:
        running = await start(part)
        self._running[part.name] = running
        self._note()
        return running

    async def _keep(self, name: str) -> None:
        """Restart a process whenever it ends."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            running = self._running[name]
            code = await running.wait_ended()
            running.part.clean()
            if time.monotonic() - running.started_monotonic > RECOVERED_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            reason = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            self._say(f"{name} {reason}: restarting it in {pause:g} s (log: {running.part.log})")
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            try:
                running = await self._launch(running.part)
                self._say(f"{name} is ready again after {await running.wait_ready():.1f} s")
            except (PartFailedError, OSError) as error:
                self._say(str(error))
                await self._running[name].stop()

    def _note(self) -> None:
        started = [
            Started.of(name, running.pid, running.part.stop_seconds)
            for name, running in self._running.items()
        ]
        note_started(self.config.folder, [process for process in started if process is not None])


@asynccontextmanager
async def prepared(config: Config, say: Say) -> AsyncGenerator[Stack]:
    """Yield a stack that is ready to start, and stop it at the end.

    Locks the folder, stops leftover processes, and checks the disk and the ports.
    """
    config.folder.mkdir(parents=True, exist_ok=True)
    # Databases, keys and logs. As root, PostgreSQL's system user must be able to pass through.
    config.folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    with exclusive(config.folder):
        for process in await asyncio.to_thread(stop_leftovers, config.folder):
            say(f"Stopped {process.name} (process {process.pid}), left running by a killed start")
        check_disk(config.folder)
        check_ports(config)
        config.logs.mkdir(exist_ok=True)
        config.logs.chmod(0o700)
        make_temporal_config(config.folder)
        keys = keep_keys(config.folder)
        stack = Stack(config, keys, product_environment(config, keys, os.environ), say)
        try:
            yield stack
        finally:
            await stack.stop()


def check_disk(folder: Path, needed_bytes: int = NEEDED_FREE_BYTES) -> None:
    """Raise LocalError if the disk of the folder is nearly full."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise LocalError(
            f"Only {free // 1_000_000} MB are free on the disk of {folder}, {needed_bytes // 1_000_000} MB are "
            "needed: free some space, or set TAKEONE_DATA_DIR to a folder on another disk"
        )


def check_ports(config: Config) -> None:
    """Raise LocalError for the first port that another program listens on."""
    for variable, port in config.ports.by_variable():
        if variable.startswith("SANDBOX_") and config.live is not None:
            continue
        if variable == "CODEC_PORT" and not config.encrypt_payloads:
            continue
        if variable == "OPERATOR_PORT" and not config.operator:
            continue
        if variable == "PROMETHEUS_PORT" and not config.observe:
            continue
        if not is_free(port):
            raise LocalError(
                f"Port {port} ({PART_NAMES[variable]}) is in use by another program: "
                f"stop it, or choose another port with {variable}=PORT"
            )
