"""Heartbeats of activities that wait, and protection of work that a cancel must not interrupt."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from temporalio import activity

from core.platform.temporal.failures import hand_over

Result = TypeVar("Result")

HEARTBEAT_SECONDS = 1.5
"""A quarter of the heartbeat time-out; the SDK throttles what it sends."""


async def sleep_with_heartbeats(
    seconds: float, wake: asyncio.Event, details: Sequence[object] = ()
) -> bool:
    """Sleep until the time is over (False) or the event is set (True), sending heartbeats.

    details: for the next try, if this one is lost.

    Raises the hand-over error at once when the worker shuts down.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        activity.heartbeat(*details)
        if activity.is_worker_shutdown():
            raise hand_over()
        rest = end - loop.time()
        if rest <= 0:
            return False
        try:
            async with asyncio.timeout(min(rest, HEARTBEAT_SECONDS)):
                await wake.wait()
        except TimeoutError:
            continue
        wake.clear()
        return True


async def shielded(work: Coroutine[Any, Any, Result]) -> Result:
    """Run work to its end even if the activity is cancelled; the cancel is raised afterwards.

    Temporal cancels an activity after a reset, a termination or a late heartbeat.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


@asynccontextmanager
async def heartbeats(details: Sequence[object] | None = None) -> AsyncGenerator[None]:
    """Send heartbeats alongside work that has its own time limits, so they never hide a stall.

    The first heartbeat comes after a pause: work that ends sooner, as most does, sends none.
    details: for the next try; None: those that the previous try left.
    """
    if details is None:
        details = activity.info().heartbeat_details

    async def send_heartbeats() -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            activity.heartbeat(*details)

    sender = asyncio.create_task(send_heartbeats())
    try:
        yield
    finally:
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)
