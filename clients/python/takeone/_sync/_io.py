"""How this client sleeps and calls back: what the twin of this file does with asyncio."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def sleep(seconds: float) -> None:
    """Wait, and block the thread."""
    time.sleep(seconds)


def call(function: Callable[[T], object], value: T) -> None:
    """Call a function of the user."""
    function(value)
