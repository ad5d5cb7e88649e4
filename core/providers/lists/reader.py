"""Readers of providers' lists of jobs: streamed, shared by look-ups, and kept up to date.

A list may hold far more than this service's own jobs, with whole files inside its items. It is
therefore parsed while it arrives, and each item is reduced to what a look-up compares.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from core.platform.clock import ClockOffset, boot_seconds, joined_clocks
from core.providers.http.responses import unavailable
from core.providers.http.transport import ProviderHttp, ResponseTooLargeError
from core.providers.lists.matching import Candidate
from core.providers.lists.page import ListPage, PageError
from core.providers.port import Lookup, ProviderUnavailableError

PAGE_MAX_BYTES: Final = 64 * 1024 * 1024
"""A larger page is read again with fewer items, if the API allows that."""
READ_SECONDS: Final = 90.0
"""One look at a list. What a look has read by then is kept, and the next one continues."""
SLICE_SECONDS: Final = 300
"""A list is kept up to date in slices of time."""
FRESH_SECONDS: Final = 0.5
"""How old the reading of a new slice may be, where jobs still appear; more is allowed for an old
slice. Look-ups within that time share a reading.
"""
MAX_JOBS: Final = 100_000
"""Reduced items in memory per list, about 30 MB. Then the reading starts again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListApi:
    """How a vendor's list is read.

    member: the member of a page that holds its items. ignored: members of an item that are large
    and not compared. first_url: the first page from a time until another (None: without an end),
    with a number of items. next_url: the page after one, from that page's other members; None for
    the last page. is_last: whether a page without a next one ends the list. read_item: reduces an
    item, or returns None for an item of another kind.
    """

    headers: Mapping[str, str]
    member: str
    ignored: Sequence[str]
    page_sizes: Sequence[int]
    first_url: Callable[[datetime, datetime | None, int], str]
    next_url: Callable[[str, Mapping[str, object]], str | None]
    is_last: Callable[[Mapping[str, object]], bool]
    read_item: Callable[[Mapping[str, object]], Candidate | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The jobs of a list in a time window.

    complete: every page of the window was read. looked_at: the reading of boot_seconds before the
    oldest part was read. clock: the provider's, over all responses.
    """

    jobs: Iterable[Candidate]
    complete: bool
    looked_at: float
    clock: ClockOffset | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    began_at: float
    complete: bool
    clock: ClockOffset | None


@dataclass(slots=True)
class ListReader:
    """Reads one list with one key, for all look-ups that need it."""

    http: ProviderHttp
    api: ListApi
    _jobs: dict[object, Candidate] = field(default_factory=dict[object, Candidate])
    _readings: dict[int, _Reading] = field(default_factory=dict[int, _Reading])
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _most_slices: int = 1000
    _page_size: int = 0

    async def read(self, start: datetime, end: datetime, lookup: Lookup) -> Listed:
        """Return the jobs from start to end, after reading the parts that are out of date.

        Raises ProviderUnavailableError, also if the list is too long to
        be read in time; then the next call continues.
        """
        now, asked_at = lookup.now.timestamp(), boot_seconds()
        async with self._lock:
            if len(self._jobs) > MAX_JOBS:
                self._jobs.clear()
                self._readings.clear()
            open_slice = int(now) // SLICE_SECONDS
            first = int(start.timestamp()) // SLICE_SECONDS
            last = max(first, min(int(end.timestamp()) // SLICE_SECONDS, open_slice))
            slices = range(first, last + 1)
            oldest = lookup.list_age_seconds
            stale = {number for number in slices if self._is_stale(number, now, oldest, asked_at)}
            try:
                async with asyncio.timeout(READ_SECONDS):
                    while stale:
                        chunk = self._next_chunk(stale)
                        await self._read_chunk(chunk, lookup, is_open=chunk[-1] >= open_slice)
                        stale -= set(chunk)
            except TimeoutError:
                self._most_slices = max(1, min(self._most_slices, len(slices)) // 2)
                raise ProviderUnavailableError("list too long to be read in time") from None
            readings = [self._readings[number] for number in slices]
            return Listed(
                jobs=tuple(self._jobs.values()),
                complete=all(reading.complete for reading in readings),
                looked_at=min(reading.began_at for reading in readings),
                clock=joined_clocks(reading.clock for reading in readings),
            )

    def _is_stale(self, number: int, now: float, oldest_seconds: float, asked_at: float) -> bool:
        reading = self._readings.get(number)
        if reading is None:
            return True
        if reading.began_at >= asked_at:  # read for another look-up while this one waited
            return False
        if reading.clock is not None:  # a provider whose clock is behind lists new jobs there
            now = min(now, boot_seconds() + reading.clock.low)
        age_seconds = now - (number + 1) * SLICE_SECONDS
        allowed_seconds = min(oldest_seconds, max(FRESH_SECONDS, age_seconds / 20))
        return boot_seconds() - reading.began_at > allowed_seconds

    def _next_chunk(self, stale: set[int]) -> list[int]:
        """Return adjacent slices starting at the least recently read slice."""

        def read_at(number: int) -> tuple[float, int]:
            reading = self._readings.get(number)
            return (reading.began_at if reading is not None else 0.0, number)

        chunk = [min(stale, key=read_at)]
        while chunk[-1] + 1 in stale and len(chunk) < self._most_slices:
            chunk.append(chunk[-1] + 1)
        return chunk

    async def _read_chunk(self, chunk: Sequence[int], lookup: Lookup, *, is_open: bool) -> None:
        start = datetime.fromtimestamp(chunk[0] * SLICE_SECONDS, UTC)
        end = None if is_open else datetime.fromtimestamp((chunk[-1] + 1) * SLICE_SECONDS, UTC)
        while True:
            try:
                reading = await self._read_pages(start, end, lookup)
                break
            except ResponseTooLargeError:
                if self._page_size + 1 >= len(self.api.page_sizes):
                    raise ProviderUnavailableError("list page too large") from None
                self._page_size += 1
        self._readings.update(dict.fromkeys(chunk, reading))

    async def _read_pages(self, start: datetime, end: datetime | None, lookup: Lookup) -> _Reading:
        began_at = boot_seconds()
        clocks: list[ClockOffset | None] = []
        url: str | None = self.api.first_url(start, end, self.api.page_sizes[self._page_size])
        complete = True
        while url is not None:
            if lookup.admit_page is not None:
                await lookup.admit_page()
            page = ListPage(self.api.member, self.api.ignored, self.api.read_item)
            try:
                response = await self.http.read_list(
                    url, self.api.headers, page.feed, max_bytes=PAGE_MAX_BYTES
                )
                if response.status_code != 200:
                    raise unavailable(response)
                members = page.close()
            except PageError as error:
                raise ProviderUnavailableError(str(error)) from None
            clocks.append(response.clock)
            for job in page.jobs:
                self._jobs[job.job_id or job] = job
            url = self.api.next_url(url, members)
            complete = url is not None or self.api.is_last(members)
        return _Reading(began_at=began_at, complete=complete, clock=joined_clocks(clocks))
