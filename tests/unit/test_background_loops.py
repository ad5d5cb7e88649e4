"""A background loop that fails with an error ends its process or restarts."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

import api.http.recovery_admission
import core.jobs.waiting.wakeups
import worker
from core.jobs.waiting.poller import wait
from core.jobs.waiting.wakeups import Wakeups


async def forever() -> None:
    await asyncio.Event().wait()


async def broken() -> None:
    raise LookupError("a defect")


@pytest.mark.parametrize("loop", ["watch", "run", "poll"])
async def test_worker_ends_with_the_error_of_its_loop(
    monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    def no_workers(*_: object) -> list[object]:
        return []

    def poller(*_: object) -> object:
        return SimpleNamespace(run=loops["poll"])

    monkeypatch.setattr(worker, "make_workers", no_workers)
    monkeypatch.setattr(worker, "make_poller", poller)
    loops = {"watch": forever, "run": forever, "poll": forever, loop: broken}
    parts: Any = SimpleNamespace(namespace="default", providers=SimpleNamespace(names=[]), **loops)
    async with asyncio.timeout(10):
        with pytest.raises(LookupError):
            await worker.work(parts, parts, parts, parts, parts, parts, stopping=asyncio.Event())


@pytest.mark.parametrize(
    "error", [asyncpg.InternalClientError("closed"), OSError("down"), LookupError("a defect")]
)
async def test_wakeups_listener_restarts_after_any_error(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(core.jobs.waiting.wakeups, "RECONNECT_SECONDS", 0.0)
    errors, tried_again = [error], asyncio.Event()

    @asynccontextmanager
    async def connection() -> AsyncGenerator[None]:
        if errors:
            raise errors.pop()
        tried_again.set()
        await forever()
        yield

    database: Any = SimpleNamespace(listening_connection=connection)
    async with asyncio.timeout(10), Wakeups().listening(database):
        await tried_again.wait()


async def test_api_compares_with_the_restore_marker_after_any_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = api.http.recovery_admission
    errors = [LookupError("a defect")]

    async def detect(*_: object) -> tuple[None, None, bool]:
        if errors:
            raise errors.pop()
        return None, None, False

    monkeypatch.setattr(module, "COMPARE_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(module, "detect_restore", detect)
    nothing: Any = None
    async with asyncio.timeout(10):
        await module.RecoveryAdmission(nothing, nothing).compare_with_restore_marker()
    assert not errors


@pytest.mark.parametrize("steps", range(5))
async def test_cancel_during_a_notification_ends_the_loop(steps: int) -> None:
    wake = asyncio.Event()

    async def loop() -> None:
        while True:
            await wait(wake, 30)

    task = asyncio.create_task(loop())
    for _ in range(3):
        await asyncio.sleep(0)
    wake.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task}, timeout=1)
    ended = task.cancelled()
    task.cancel()
    assert ended
