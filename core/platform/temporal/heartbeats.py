"""Heartbeats of activities that wait."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from temporalio import activity

from core.platform.temporal.failures import hand_over

Result = TypeVar("Result")

BEAT_SECONDS = 1.5
"""A quarter of the heartbeat time-out; the SDK sends what is needed of them."""


async def pause(seconds: float, wake: asyncio.Event) -> bool:
    """Wait, beating, until the time is over or somebody wakes us (True).

    Hands over at once when the worker shuts down.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        activity.heartbeat()
        if activity.is_worker_shutdown():
            raise hand_over()
        rest = end - loop.time()
        if rest <= 0:
            return False
        try:
            await asyncio.wait_for(wake.wait(), min(rest, BEAT_SECONDS))
        except TimeoutError:
            continue
        wake.clear()
        return True


async def to_its_end(work: Coroutine[Any, Any, Result]) -> Result:
    """Do work that a cancel must not cut in two: the cancel comes after it.

    Temporal cancels an activity that it has given up (a reset, a termination, a beat that came too
    late).
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


@asynccontextmanager
async def beating() -> AsyncGenerator[None]:
    """Beat beside work that has time limits of its own, so that a beat never hides a stall.

    The first beat comes after a pause: what is done by then, and most is, costs Temporal none.
    """

    async def beat() -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            activity.heartbeat()

    beats = asyncio.create_task(beat())
    try:
        yield
    finally:
        beats.cancel()
        await asyncio.gather(beats, return_exceptions=True)
