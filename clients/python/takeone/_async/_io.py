"""How this client sleeps and calls back: what the twin of this file does without asyncio."""

import asyncio
import inspect
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def sleep(seconds: float) -> None:
    """Wait without blocking the event loop."""
    await asyncio.sleep(seconds)


async def call(function: Callable[[T], object], value: T) -> None:
    """Call a function of the user, which may be a coroutine function."""
    done = function(value)
    if inspect.isawaitable(done):
        await done
