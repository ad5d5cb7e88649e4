"""A cache of keys that another service publishes, with bounds against storms of fetches."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K")

FetchedBy = Callable[[], Awaitable[K]]
Clock = Callable[[], float]


class KeysUnavailableError(Exception):
    """The keys cannot be fetched now, so nothing can be verified with them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheLimits:
    """The limits of a cache.

    max_age_seconds: older keys are not used.
    refresh_after_seconds: older keys are used and fetched again in the background.
    pause_seconds: least time between two fetches, because a forged signature or an invented key id
    must not cause a fetch each.
    first_pause_seconds: the same while the cache is empty.
    """

    max_age_seconds: float
    refresh_after_seconds: float = float("inf")
    pause_seconds: float = 10.0
    first_pause_seconds: float = 10.0


class KeyCache(Generic[K]):
    """A cache of the keys that `fetch` returns; `fetch` may raise KeysUnavailableError."""

    def __init__(
        self, fetch: FetchedBy[K], limits: CacheLimits, *, clock: Clock = time.monotonic
    ) -> None:
        self._fetch, self._limits, self._clock = fetch, limits, clock
        self._keys: K | None = None
        self._fetched_at = self._tried_at = float("-inf")
        self._failure: str | None = None
        self._running: asyncio.Task[None] | None = None

    async def current(self) -> K:
        """Return keys that are not too old. Raise KeysUnavailableError."""
        age_seconds = self._clock() - self._fetched_at
        if age_seconds >= self._limits.max_age_seconds:
            await self._fetch_and_wait()
        elif age_seconds >= self._limits.refresh_after_seconds:
            self._start_fetch()
        is_too_old = self._clock() - self._fetched_at >= self._limits.max_age_seconds
        if self._keys is None or is_too_old:
            raise KeysUnavailableError(self._failure or "the keys were not fetched")
        return self._keys

    async def newer_than(self, seen: K) -> K | None:
        """Return keys other than `seen`, fetched if the pause allows, or None without such keys.

        Raise KeysUnavailableError if the last fetch failed.
        """
        if self._keys == seen:
            await self._fetch_and_wait()
        if self._failure is not None:
            raise KeysUnavailableError(self._failure)
        return self._keys if self._keys != seen else None

    async def close(self) -> None:
        """Cancel a fetch in progress."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _fetch_and_wait(self) -> None:
        self._start_fetch()
        if self._running is not None:
            await asyncio.shield(self._running)  # a cancelled caller must not end it for the others

    def _start_fetch(self) -> None:
        """Start a fetch unless one is running or the last one is too recent."""
        limits = self._limits
        pause_seconds = limits.pause_seconds if self._keys else limits.first_pause_seconds
        if self._running is None and self._clock() - self._tried_at >= pause_seconds:
            self._tried_at = self._clock()
            self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            self._keys = await self._fetch()
            self._fetched_at, self._failure = self._clock(), None
        except KeysUnavailableError as error:
            self._failure = str(error)
        finally:
            self._running = None
