"""`python worker.py` as processes that a test stops and kills, with shorter times.

Run as a program, it applies the changes of CHANGES to the product and runs the worker.
"""

import asyncio
import base64
import functools
import importlib
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import worker
from tests.support.servers import FreshDatabase, S3Server, TemporalServer

ROOT = Path(__file__).parents[2]
CHANGES = "TEST_CHANGES"
"""Values of product constants by `module:name`, as JSON."""
STOP_AT = "TEST_STOP_AT"
"""An asynchronous function, `module:name`: its first call in any process stops that process."""
STOPPED = "TEST_STOPPED"
"""The file that the stopped process creates; another process that finds it does not stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerProcess:
    """A running worker. log: the file of its log."""

    process: Process
    log: Path

    @property
    def is_stopped(self) -> bool:
        return psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED

    def send(self, signal_number: int) -> None:
        os.kill(self.process.pid, signal_number)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log's events of this name."""
        lines = [
            json.loads(line)
            for line in self.log.read_text().splitlines(keepends=True)
            if line.startswith("{") and line.endswith("\n")
        ]
        return [line for line in lines if line["event"] == name]

    async def until(self, condition: Callable[[], bool], *, seconds: float = 60) -> None:
        """Wait for something that this or another process does."""
        async with asyncio.timeout(seconds):
            while not condition():
                assert self.process.returncode is None, self.log.read_text()[-3000:]
                await asyncio.sleep(0.05)


def worker_environment(
    database: FreshDatabase, temporal: TemporalServer, s3: S3Server, **more: str
) -> dict[str, str]:
    """Return the settings of a worker on the tests' servers, with the key of tests.support.rows."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": database.application_dsn,
        "TEMPORAL_ADDRESS": temporal.address,
        "TEMPORAL_NAMESPACE": temporal.namespace,
        "S3_ENDPOINT_URL": s3.access.endpoint_url,
        "S3_BUCKET": s3.access.bucket,
        "AWS_ACCESS_KEY_ID": s3.access.access_key_id,
        "AWS_SECRET_ACCESS_KEY": s3.access.secret_access_key,
        "FAL_KEY": "00000000-0000-0000-0000-000000000000:0123456789abcdef0123456789abcdef",
        "REPLICATE_API_TOKEN": "r8_0123456789012345678901234567890123456",
        # No test may reach a real provider.
        "FAL_QUEUE_URL": "http://127.0.0.1:9",
        "FAL_API_URL": "http://127.0.0.1:9",
        "REPLICATE_BASE_URL": "http://127.0.0.1:9",
        "ENCRYPTION_KEYS": base64.b64encode(bytes(range(32))).decode(),
        "MEDIA_POSTERS": "false",
        "METRICS_PORT": "0",
        "SDK_METRICS_PORT": "0",
        **more,
    }


@asynccontextmanager
async def running_worker(
    environment: dict[str, str], log: Path, **changes: float
) -> AsyncGenerator[WorkerProcess]:
    """Start a worker, and kill it at the end. changes: of product constants, by `module:name`."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.support.worker_process",
            cwd=ROOT,
            env={**environment, CHANGES: json.dumps(changes)},
            stdout=output,
            stderr=output,
        )
    try:
        yield WorkerProcess(process=process, log=log)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _change(place: str, change: Callable[[Any], Any]) -> None:
    module_name, _, name = place.partition(":")
    module = importlib.import_module(module_name)
    setattr(module, name, change(getattr(module, name)))


def _stopping(act: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(act)
    async def stop_first(*arguments: Any, **options: Any) -> Any:
        if _is_first():
            os.kill(os.getpid(), signal.SIGSTOP)
        return await act(*arguments, **options)

    return stop_first


def _is_first() -> bool:
    """Return whether no other process has stopped here, and no call of this one."""
    try:
        Path(os.environ[STOPPED]).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def main() -> int:
    for place, value in json.loads(os.environ.pop(CHANGES)).items():
        _change(place, lambda _, value=value: value)
    if STOP_AT in os.environ:
        _change(os.environ[STOP_AT], _stopping)
    return worker.main()


if __name__ == "__main__":
    sys.exit(main())
