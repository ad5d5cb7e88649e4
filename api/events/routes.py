"""Event streams of executions, their timeline, and tickets for browsers."""

from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request, Response

from api.auth.authentication import Caller, CurrentUser
from api.events.callers import Reader, StreamCaller
from api.events.frames import event_body, frames_after, is_over
from api.events.hub import Hub
from api.events.limits import TooManyStreamsError
from api.events.schemas import StreamTicket, Timeline, TimelineEntry, TimelineQuery
from api.events.stream import EventStream, Stream
from api.executions.parameters import ExecutionIdPath
from api.executions.presenter import status_url
from api.http.openapi import problems
from api.http.problems.documents import RETRY_AFTER_SECONDS, ProblemError, not_found, unavailable
from api.http.problems.ordering import EXECUTIONS_PATH
from api.http.problems.texts import TOO_MANY_STREAMS
from api.services import services_of
from core.domain.failures import FailureCode
from core.store.events.execution_events import find_position, list_events
from core.store.events.stream_tickets import insert_ticket

router = APIRouter(prefix="/api", tags=["events"])

MOST_NUMBER: Final = 2**31 - 1
PAGE: Final = 500
STREAM: Final = {
    "description": "A stream of server-sent events.",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}


@router.get(
    "/executions/{execution_id}/events",
    summary="Follow an execution",
    status_code=200,
    response_class=EventStream,
    responses={
        200: STREAM,
        204: {"description": "The execution has ended, and no event follows."},
        **problems(
            FailureCode.UNAUTHENTICATED,
            FailureCode.NOT_FOUND,
            FailureCode.INVALID_REQUEST,
            FailureCode.TOO_MANY_STREAMS,
        ),
    },
)
async def follow_execution(
    request: Request,
    caller: StreamCaller,
    execution_id: ExecutionIdPath,
    after: Annotated[
        int | None,
        Query(ge=0, le=MOST_NUMBER, description="Send the events after this sequence."),
    ] = None,
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            description="As `after`, sent by an EventSource; it precedes `after`.",
        ),
    ] = None,
) -> Response:
    """Stream what happens to the execution: `progress`, `job`, `cost`, and at last `end`.

    Without a number to resume from, `snapshot` comes first: the document of `GET
    /api/executions/{execution_id}`. `end` has the final document. The `id` of an event is its
    sequence. A stream ends after 15 minutes; resume it with the last `id`.
    """
    hub = services_of(request).streams
    check_open(hub, caller)
    known = _number(last_event_id) if last_event_id is not None else after
    reading = await hub.read(caller.user_id, execution_id, known)
    if reading is None:
        raise not_found(EXECUTIONS_PATH)
    if known is not None and is_over(reading.position, known):
        return Response(status_code=204)
    frames = frames_after(reading, known, services_of(request).links)
    check_open(hub, caller)
    stream = Stream(user_id=caller.user_id, credential=caller.name, execution_id=execution_id)
    return hub.open(stream, frames)


@router.get(
    "/events",
    summary="Follow all executions",
    status_code=200,
    response_class=EventStream,
    responses={
        200: STREAM,
        **problems(FailureCode.UNAUTHENTICATED, FailureCode.TOO_MANY_STREAMS),
    },
)
async def follow_account(request: Request, caller: Reader) -> Response:
    """Stream changes of all your executions, for lists: `changed` and `webhook`.

    The events have no ids. After a reconnection, read the list of executions again.
    """
    hub = services_of(request).streams
    check_open(hub, caller)
    try:
        response = await hub.open_account(Stream(user_id=caller.user_id, credential=caller.name))
    except TimeoutError:
        raise unavailable() from None
    check_open(hub, caller)
    return response


@router.get(
    "/executions/{execution_id}/timeline",
    summary="Get the timeline of an execution",
    responses=problems(
        FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND, FailureCode.INVALID_REQUEST
    ),
)
async def get_timeline(
    request: Request,
    user_id: CurrentUser,
    execution_id: ExecutionIdPath,
    query: Annotated[TimelineQuery, Query()],
) -> Timeline:
    """Return the events of all generations of the execution, oldest first, at most 500."""
    async with services_of(request).database.reading_as(user_id) as conn:
        position = await find_position(conn, user_id, execution_id)
        if position is None:
            raise not_found(EXECUTIONS_PATH)
        events = await list_events(conn, user_id, execution_id, after=query.after, limit=PAGE)
    return Timeline(
        execution_id=execution_id,
        data=[
            TimelineEntry(
                sequence=event.sequence,
                generation=event.generation,
                at=event.at,
                type=event.type,
                data=event_body(event).model_dump(mode="json", by_alias=True),
            )
            for event in events
        ],
        next_after=events[-1].sequence if events and events[-1].sequence < position.last else None,
    )


@router.post(
    "/executions/{execution_id}/stream-tickets",
    status_code=201,
    summary="Create a stream ticket",
    responses=problems(FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND),
)
async def create_stream_ticket(
    request: Request, caller: Reader, execution_id: ExecutionIdPath
) -> StreamTicket:
    """Return a ticket that opens the stream of this execution once, within 60 seconds.

    An EventSource of a browser cannot send an API key, and must not have one.
    """
    services = services_of(request)
    async with services.database.as_user(caller.user_id) as conn:
        ticket = await insert_ticket(conn, caller.user_id, execution_id, caller.name)
    if ticket is None:
        raise not_found(EXECUTIONS_PATH)
    return StreamTicket(
        execution_id=execution_id,
        ticket=ticket.text,
        url=f"{status_url(services.public_base_url, execution_id)}/events?ticket={ticket.text}",
        expires_at=ticket.expires_at,
    )


def _number(text: str) -> int | None:
    """Return the sequence of a Last-Event-ID; None for other text: a snapshot comes first."""
    usable = text.isascii() and text.isdigit() and len(text) <= len(str(MOST_NUMBER))
    return int(text) if usable and int(text) <= MOST_NUMBER else None


def check_open(hub: Hub, caller: Caller) -> None:
    """Raise ProblemError if the process stops or has too many streams."""
    if hub.closed:
        raise unavailable()
    try:
        hub.counts.check(caller.user_id, caller.name)
    except TooManyStreamsError as error:
        raise ProblemError(
            FailureCode.TOO_MANY_STREAMS,
            TOO_MANY_STREAMS.format(subject=error.subject, limit=error.limit),
            headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        ) from None
