"""The fan-out of events: one LISTEN connection, and one read per change for all streams.

A notification marks an execution; a moment later its new events are read once and the same bytes go
to all of its streams. Notifications can be lost, so the sequences are also compared every 20 s,
after a reconnection, and when a stream opens.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncGenerator, Collection, Coroutine, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Final

from api.events.frames import Frames, Reading, frame, frames_after, needs_record
from api.events.limits import OpenStreams, StreamLimits
from api.events.listener import Note, listen
from api.events.offers import Offers
from api.events.schemas import Changed, ChangedWebhook
from api.events.stream import EventStream, Stream
from api.executions.outlook import NO_OUTLOOK, Outlook, Outlooks
from core.domain.ids import EndpointId, EventId, ExecutionId, UserId
from core.platform.observability.logging import get_logger
from core.store.database import DATABASE_ERRORS, Database
from core.store.events.execution_events import (
    find_position,
    list_changed,
    list_changed_webhooks,
    list_events,
    list_sequences,
)
from core.store.executions.views.status import find_execution
from core.webhooks.asset_links import AssetLinks

DEBOUNCE_SECONDS: Final = 0.05
COMPARE_SECONDS: Final = 20.0
TICK_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 1.0
READS_AT_ONCE: Final = 4
MOST_EVENTS: Final = 500
"""A stream that misses more gets a snapshot."""
CONNECT_SECONDS: Final = 5.0
"""Time of the first LISTEN connection, for which streams of an account wait."""
GOODBYE_MS: Final = (1000, 5000)
"""When clients reconnect after the end of this process: at random, not all at once."""
FLUSH_SECONDS: Final = 2.0
"""Time of a client to take the end of its stream."""

log = get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class _Work:
    """What the next round reads. compared: executions whose sequences are compared first.

    endpoints: those whose listeners may have new attempts to make.
    """

    executions: set[ExecutionId] = field(default_factory=set[ExecutionId])
    compared: set[ExecutionId] = field(default_factory=set[ExecutionId])
    endpoints: set[EndpointId] = field(default_factory=set[EndpointId])
    users: defaultdict[UserId, set[ExecutionId | EventId]] = field(
        default_factory=lambda: defaultdict[UserId, set[ExecutionId | EventId]](set)
    )


class Hub:
    """All open event streams of this process."""

    def __init__(
        self,
        database: Database,
        links: AssetLinks,
        limits: StreamLimits,
        outlooks: Outlooks,
        offers: Offers,
    ) -> None:
        self.counts = OpenStreams(limits)
        self.closed = False
        self._database = database
        self._links = links
        self._outlooks = outlooks
        self._offers = offers
        self._by_endpoint = defaultdict[EndpointId, set[Stream]](set)
        self._by_execution = defaultdict[ExecutionId, set[Stream]](set)
        self._by_user = defaultdict[UserId, set[Stream]](set)
        self._work = _Work()
        self._has_work = asyncio.Event()
        self._used = asyncio.Event()
        self._listens = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["Hub"]:
        """Serve streams while the context is open. Connects when the first stream opens."""
        tasks = [asyncio.create_task(loop()) for loop in (self._listen, self._deliver, self._tend)]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        """End all streams, because the process stops; their clients reconnect to another."""
        self.closed = True
        loop = asyncio.get_running_loop()
        for stream in self._streams():
            stream.end(b"retry: %d\n\n" % random.randint(*GOODBYE_MS))  # noqa: S311 - no secret
            if stream.abort is not None:
                loop.call_later(FLUSH_SECONDS, stream.abort)

    async def read(
        self,
        user_id: UserId,
        execution_id: ExecutionId,
        after: int | None,
        *,
        with_record: bool = False,
    ) -> Reading | None:
        """Read what a stream needs that has the events up to `after`; None: it has none.

        Return None if the execution does not exist, or is another user's.
        """
        async with self._database.reading_as(user_id) as conn:
            position = await find_position(conn, user_id, execution_id)
            if position is None:
                return None
            if after is None or not 0 <= position.last - after <= MOST_EVENTS:
                after, with_record = position.last, True
            events = await list_events(conn, user_id, execution_id, after=after, limit=MOST_EVENTS)
            record, outlooks = None, dict[ExecutionId, Outlook]()
            if with_record or needs_record(position, events):
                record = await find_execution(conn, user_id, execution_id)
            if record is not None:
                outlooks = await self._outlooks.read(conn, user_id, [record])
        return Reading(
            position=position,
            after=after,
            events=events,
            record=record,
            outlook=outlooks.get(execution_id, NO_OUTLOOK),
        )

    def open(self, stream: Stream, first: Frames | None = None) -> EventStream:
        """Return the response that serves a stream after its first frames."""
        if first is not None:
            stream.last, stream.ended = first.last, first.ended
        return EventStream(
            stream,
            first.events if first is not None else (),
            following=self._following,
            snapshot=self._snapshot,
        )

    async def open_account(self, stream: Stream) -> EventStream:
        """Return the response that serves changes of all executions of a user.

        Its client reads the list once the stream is open, and must not miss a later change. So wait
        for the first LISTEN connection. Raise TimeoutError after 5 seconds.
        """
        self._used.set()
        async with asyncio.timeout(CONNECT_SECONDS):
            await self._listens.wait()
        return self.open(stream)

    @contextmanager
    def _following(self, stream: Stream) -> Generator[None]:
        """Register a stream. What changed since its first frames were read is read again."""
        streams = self._group(stream)
        with self.counts.counting(stream.user_id, stream.credential):
            streams.add(stream)
            self._used.set()
            if self.closed:
                stream.end()
            elif not stream.ended:
                self._compare(stream)
            try:
                yield
            finally:
                streams.discard(stream)
                if not streams:
                    self._forget(stream)

    def _group(self, stream: Stream) -> set[Stream]:
        """Return the streams that follow the same as this one."""
        if stream.execution_id is not None:
            return self._by_execution[stream.execution_id]
        if stream.endpoint_id is not None:
            return self._by_endpoint[stream.endpoint_id]
        return self._by_user[stream.user_id]

    def _forget(self, stream: Stream) -> None:
        if stream.execution_id is not None:
            self._by_execution.pop(stream.execution_id, None)
        elif stream.endpoint_id is not None:
            self._by_endpoint.pop(stream.endpoint_id, None)
        else:
            self._by_user.pop(stream.user_id, None)

    async def _snapshot(self, stream: Stream) -> Frames:
        """Return a snapshot for a client that was too slow for the events."""
        reading = None
        if stream.execution_id is not None:
            with suppress(*DATABASE_ERRORS):  # the client resumes, and gets a snapshot or a problem
                reading = await self.read(stream.user_id, stream.execution_id, None)
        stream.stale = False
        if reading is None:
            stream.ended = True
            return Frames(events=(), last=stream.last, ended=True)
        frames = frames_after(reading, None, self._links)
        stream.last = frames.last
        # During the read, the client may have left or the process may have begun to stop.
        stream.ended = stream.ended or frames.ended
        self._compare(stream)
        return frames

    def _streams(self) -> Iterable[Stream]:
        groups = (self._by_execution, self._by_endpoint, self._by_user)
        for streams in [streams for group in groups for streams in group.values()]:
            yield from tuple(streams)

    def _compare(self, stream: Stream) -> None:
        if stream.execution_id is not None:
            self._work.compared.add(stream.execution_id)
            self._has_work.set()
        elif stream.endpoint_id is not None:
            self._work.endpoints.add(stream.endpoint_id)
            self._has_work.set()

    def _compare_all(self) -> None:
        self._work.compared.update(self._by_execution)
        self._work.endpoints.update(self._by_endpoint)
        self._has_work.set()

    def _note(self, note: Note) -> None:
        if note.execution_id is not None and note.execution_id in self._by_execution:
            self._work.executions.add(note.execution_id)
            self._has_work.set()
        if note.endpoint_id is not None and note.endpoint_id in self._by_endpoint:
            self._work.endpoints.add(note.endpoint_id)
            self._has_work.set()
        name = note.execution_id or note.event_id
        if name is not None and note.user_id in self._by_user:
            self._work.users[note.user_id].add(name)
            self._has_work.set()

    async def _listen(self) -> None:
        await self._used.wait()
        was_connected = False

        def connected() -> None:
            nonlocal was_connected
            self._compare_all()
            if was_connected:  # notifications are lost: the clients read their lists again
                for streams in self._by_user.values():
                    for stream in tuple(streams):
                        stream.end()
            was_connected = True
            self._listens.set()

        await listen(self._database, self._note, connected)

    async def _tend(self) -> None:
        """Send heartbeats, end old streams, and compare from time to time."""
        loop = asyncio.get_running_loop()
        compare_at = loop.time() + COMPARE_SECONDS
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = loop.time()
            for stream in self._streams():
                stream.tend(now)
            if now >= compare_at:
                compare_at = now + COMPARE_SECONDS
                self._compare_all()

    async def _deliver(self) -> None:
        while True:
            await self._has_work.wait()
            await asyncio.sleep(DEBOUNCE_SECONDS)
            self._has_work.clear()
            work, self._work = self._work, _Work()
            try:
                await self._read_and_push(work)
            except DATABASE_ERRORS as error:
                log.warning("streams.read_failed", reason=type(error).__name__)
                await self._again(work)
            except Exception as error:  # recorded: all streams would end with this task
                log.exception("streams.delivery_crashed", reason=repr(error))
                await self._again(work)

    async def _again(self, work: _Work) -> None:
        """Repeat a failed round: what it has pushed already is not pushed twice."""
        await asyncio.sleep(RETRY_SECONDS)
        self._work.compared |= {*work.executions, *work.compared} & self._by_execution.keys()
        self._work.endpoints |= work.endpoints & self._by_endpoint.keys()
        for user_id, names in work.users.items():
            self._work.users[user_id] |= names
        self._has_work.set()

    async def _read_and_push(self, work: _Work) -> None:
        unsure = (work.compared - work.executions) & self._by_execution.keys()
        if unsure:
            work.executions |= await self._behind(unsure)
        gate = asyncio.Semaphore(READS_AT_ONCE)

        async def gated(act: Coroutine[object, object, None]) -> None:
            async with gate:
                await act

        results = await asyncio.gather(
            *(gated(self._push_events(name)) for name in work.executions),
            *(gated(self._push_offers(endpoint)) for endpoint in work.endpoints),
            *(gated(self._push_changes(user, names)) for user, names in work.users.items()),
            return_exceptions=True,
        )
        for error in results:
            if error is not None:
                raise error

    async def _behind(self, names: Collection[ExecutionId]) -> set[ExecutionId]:
        """Return those executions that have events which a stream lacks, or that are deleted."""
        async with self._database.reading_all() as conn:
            sequences = await list_sequences(conn, list(names))
        return {
            name
            for name in names
            if any(
                stream.last != sequences.get(name, 0) for stream in self._by_execution.get(name, ())
            )
        }

    async def _push_events(self, execution_id: ExecutionId) -> None:
        streams = tuple(self._by_execution.get(execution_id, ()))
        if not streams:
            return
        user_id, after = streams[0].user_id, min(stream.last for stream in streams)
        reading = await self.read(user_id, execution_id, after)
        if reading is None:  # deleted
            for stream in streams:
                stream.end()
            return
        made: dict[int, Frames] = {}
        for stream in streams:
            if stream.last > reading.position.last:  # of a database that was restored since
                stream.end()
                continue
            if stream.last not in made:
                made[stream.last] = frames_after(reading, stream.last, self._links)
            stream.push(made[stream.last])

    async def _push_offers(self, endpoint_id: EndpointId) -> None:
        """Send the attempts that wait to the last listener of an endpoint, each once."""
        streams = self._by_endpoint.get(endpoint_id)
        if not streams:
            return
        stream = max(streams, key=lambda each: each.expires_at)
        offers = await self._offers.read(stream.user_id, endpoint_id)
        if offers is None:  # deleted
            for each in tuple(streams):
                each.end()
            return
        new = [
            offer
            for offer in offers
            if offer.key not in stream.offered and offer.key[0] != stream.seen
        ]
        stream.seen = None
        stream.offered |= {offer.key for offer in offers}
        if new:
            stream.push(Frames(events=[offer.frame for offer in new], last=0))

    async def _push_changes(self, user_id: UserId, names: set[ExecutionId | EventId]) -> None:
        executions = [ExecutionId(name) for name in names if name.startswith("exec_")]
        webhooks = [EventId(name) for name in names if name.startswith("evt_")]
        async with self._database.reading_as(user_id) as conn:
            changed = await list_changed(conn, user_id, executions) if executions else ()
            sent = await list_changed_webhooks(conn, user_id, webhooks) if webhooks else ()
        events = [frame("changed", Changed(**asdict(row))) for row in changed]
        events += [frame("webhook", ChangedWebhook(**asdict(row))) for row in sent]
        if events:
            for stream in tuple(self._by_user.get(user_id, ())):
                stream.push(Frames(events=[b"".join(events)], last=0))
