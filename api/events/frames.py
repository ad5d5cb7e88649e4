"""Events as bytes of a `text/event-stream`, and which of them a stream gets next."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel

from api.events.schemas import End, Progress
from api.executions.outlook import NO_OUTLOOK, Outlook
from api.executions.presenter import execution_response, job_body
from api.executions.responses import Cost, ErrorBody
from core.domain.money import NanoUsd, usd_text
from core.store.events.execution_events import EventType, ExecutionEvent, Position, job_of
from core.store.executions.views.status import ExecutionStatusRecord
from core.webhooks.asset_links import AssetLinks

RETRY_MS: Final = 2000
RETRY: Final = b"retry: %d\n\n" % RETRY_MS
HEARTBEAT: Final = b": heartbeat\n\n"
SNAPSHOT: Final = "snapshot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was read of an execution as of one moment.

    events: in their order. after: all events after this sequence up to `position.last` are here.
    record: None unless a snapshot or an end is sent.
    """

    position: Position
    after: int
    events: Sequence[ExecutionEvent] = ()
    record: ExecutionStatusRecord | None = None
    outlook: Outlook = NO_OUTLOOK


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """What a stream gets. last: the sequence up to which it then has the events."""

    events: Sequence[bytes]
    last: int
    ended: bool = False


def is_over(position: Position, after: int) -> bool:
    """Return whether a stream that has the events up to `after` will get no further one."""
    return position.status.ended and position.end <= after <= position.last


def needs_record(position: Position, events: Sequence[ExecutionEvent]) -> bool:
    return position.status.ended or any(event.type is EventType.END for event in events)


def frames_after(reading: Reading, after: int | None, links: AssetLinks) -> Frames:
    """Return the frames for a stream that has the events up to `after`; None: it has none.

    An end that a retry has superseded is not sent: the stream gets a new snapshot.
    """
    position = reading.position
    until = position.end if position.status.ended else position.last
    if after is None or after < reading.after or after > position.last:
        return _snapshot(reading, links)
    if is_over(position, after):
        return Frames(events=(), last=after, ended=True)
    events = [event for event in reading.events if after < event.sequence <= until]
    superseded = events[:-1] if position.status.ended else events
    if any(event.type is EventType.END for event in superseded):
        return _snapshot(reading, links)
    return Frames(
        events=[_event_frame(event, reading, links) for event in events],
        last=until,
        ended=position.status.ended,
    )


def _snapshot(reading: Reading, links: AssetLinks) -> Frames:
    """Return a snapshot, and the end if it has ended.

    The snapshot of an ended execution has the number before its end, so that a stream that breaks
    between the two gets the end later.
    """
    position, document = reading.position, _document(reading, links)
    if not position.status.ended:
        return Frames(events=[frame(SNAPSHOT, document, position.last)], last=position.last)
    before_end = position.end - 1 if position.end else None
    return Frames(
        events=[
            frame(SNAPSHOT, document, before_end),
            frame(EventType.END, document, position.end),
        ],
        last=position.end,
        ended=True,
    )


def _document(reading: Reading, links: AssetLinks) -> BaseModel:
    if reading.record is None:
        raise ValueError("the execution itself was not read")
    return execution_response(reading.record, links, reading.outlook)


def _event_frame(event: ExecutionEvent, reading: Reading, links: AssetLinks) -> bytes:
    body = _document(reading, links) if event.type is EventType.END else event_body(event)
    return frame(event.type, body, event.sequence)


def event_body(event: ExecutionEvent) -> BaseModel:
    """Return the data of an event as in a timeline."""
    data = event.data
    if event.type is EventType.JOB:
        return job_body(job_of(event))
    if event.type is EventType.COST:
        return Cost(
            estimated=usd_text(NanoUsd(data["estimated"])),
            held=usd_text(NanoUsd(data["held"])),
            settled=usd_text(NanoUsd(data["settled"])),
            saved=usd_text(NanoUsd(data["saved"])),
            final=data["final"],
        )
    if event.type is EventType.PROGRESS:
        return Progress.model_validate({**data, "updated_at": event.at})
    error = data["error"]
    return End(
        status=data["status"],
        progress=data["progress"],
        error=ErrorBody.model_validate(error) if error is not None else None,
    )


def frame(name: str, body: BaseModel, sequence: int | None = None) -> bytes:
    """Return one event. Its JSON has no line break, so one `data` line holds it."""
    text = json.dumps(
        body.model_dump(mode="json", by_alias=True), ensure_ascii=False, separators=(",", ":")
    )
    number = f"id: {sequence}\n" if sequence is not None else ""
    return f"{number}event: {name}\ndata: {text}\n\n".encode()
