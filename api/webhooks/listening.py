"""Routes of listening endpoints: the stream of their events, and the results of their listener."""

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request, Response

from api.auth.authentication import AdminUser
from api.events.callers import Reader
from api.events.frames import Frames
from api.events.routes import STREAM, check_open
from api.events.stream import EventStream, Stream
from api.http.ids import ENDPOINT_ID, EVENT_ID
from api.http.openapi import problems
from api.http.problems.documents import ProblemError, not_found
from api.http.problems.texts import NO_SUCH_ATTEMPT
from api.http.strict_json import StrictJsonRoute
from api.services import Services, services_of
from api.webhooks.schemas import ListenerResult
from core.domain.failures import FailureCode
from core.domain.ids import EndpointId, EventId, UserId
from core.domain.messages.webhooks import DeliveryOrder
from core.ordering.workflow_starts import start_delivery
from core.platform.observability.logging import get_logger
from core.platform.temporal.client import UNREACHABLE
from core.platform.temporal.policies import START_RPC_TIMEOUT
from core.store.webhooks.events import AttemptEnd
from core.store.webhooks.listening import note_listener, report_result, resume_missed
from core.webhooks.sender import excerpt_of, status_error

ENDPOINTS_PATH: Final = "/api/endpoints"
MAX_LATEST: Final = 20

log = get_logger(__name__)
router = APIRouter(prefix="/api", tags=["endpoints"], route_class=StrictJsonRoute)


@router.get(
    "/endpoints/{endpoint_id}/stream",
    summary="Listen to an endpoint",
    status_code=200,
    response_class=EventStream,
    responses={
        200: STREAM,
        **problems(
            FailureCode.UNAUTHENTICATED,
            FailureCode.NOT_FOUND,
            FailureCode.INVALID_REQUEST,
            FailureCode.TOO_MANY_STREAMS,
        ),
    },
)
async def listen_to_endpoint(
    request: Request,
    caller: Reader,
    endpoint_id: str,
    latest: Annotated[
        int,
        Query(
            ge=0,
            le=MAX_LATEST,
            description="Send as many of the account's latest webhooks first, without an attempt: "
            "`number` is 0.",
        ),
    ] = 0,
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            description="The last webhook that arrived: it is not sent again while its attempt runs.",
        ),
    ] = None,
) -> Response:
    """Stream the webhooks of a listening endpoint, each signed at the moment when it is sent.

    Each event `webhook` has `id`, `type`, `delivery`, `number`, the exact `body` and the `headers`.
    POST the body with the headers to your receiver, and report the result within 15 seconds to
    `POST /api/endpoints/{endpoint_id}/results`. What failed while no listener was connected is sent
    again. Of several listeners, the last one gets the webhooks.
    """
    services, user_id = services_of(request), caller.user_id
    hub = services.streams
    check_open(hub, caller)
    endpoint = await _listening(services, user_id, endpoint_id)
    shown = await services.offers.read_latest(user_id, endpoint, latest) if latest else ()
    stream = Stream(user_id=user_id, credential=caller.name, endpoint_id=endpoint)
    stream.seen = EventId(last_event_id) if last_event_id is not None else None
    if request.method == "GET":
        await _resume(services, user_id, endpoint)
    log.info("endpoint.listened", user_id=user_id, endpoint_id=endpoint)
    return hub.open(stream, Frames(events=[item.frame for item in shown], last=0))


async def _listening(services: Services, user_id: UserId, endpoint_id: str) -> EndpointId:
    """Raise ProblemError unless the user has such a listening endpoint."""
    endpoint = EndpointId(endpoint_id)
    if ENDPOINT_ID.fullmatch(endpoint_id):
        async with services.database.as_user(user_id) as conn:
            if await note_listener(conn, user_id, endpoint):
                return endpoint
    raise not_found(ENDPOINTS_PATH)


async def _resume(services: Services, user_id: UserId, endpoint_id: EndpointId) -> None:
    """Start the deliveries that failed for want of a listener.

    If Temporal is unreachable, the reconciler starts them later.
    """
    async with services.database.as_user(user_id) as conn:
        orders = await resume_missed(conn, user_id, endpoint_id)
    try:
        async with asyncio.timeout(START_RPC_TIMEOUT.total_seconds()):
            for order in orders:
                await start_delivery(services.temporal, order)
    except (TimeoutError, *UNREACHABLE) as error:
        log.warning("endpoint.resume_failed", endpoint_id=endpoint_id, reason=str(error)[:200])


@router.post(
    "/endpoints/{endpoint_id}/results",
    status_code=204,
    summary="Report the result of an attempt",
    responses=problems(
        FailureCode.UNAUTHENTICATED,
        FailureCode.NOT_FOUND,
        FailureCode.UNSUPPORTED_MEDIA_TYPE,
        FailureCode.INVALID_REQUEST,
    ),
)
async def report_attempt(
    request: Request, user_id: AdminUser, endpoint_id: str, body: ListenerResult
) -> Response:
    """Report what the receiver answered, as it then stands in the delivery log.

    404 if no such attempt waits for a result: it has one, or its 15 seconds are over. A failure is
    retried by the usual schedule.
    """
    services = services_of(request)
    endpoint = await _listening(services, user_id, endpoint_id)
    status = body.status_code
    end = AttemptEnd(
        duration_ms=body.duration_ms,
        status_code=status,
        error=status_error(status) if status is not None else body.error,
        response_excerpt=excerpt_of(body.excerpt.encode()) if status is not None else None,
    )
    reported = False
    if EVENT_ID.fullmatch(body.event_id):
        order = DeliveryOrder(
            user_id=user_id, event_id=EventId(body.event_id), delivery=body.delivery
        )
        async with services.database.as_user(user_id) as conn:
            reported = await report_result(conn, endpoint, order, body.number, end)
    if not reported:
        raise ProblemError(FailureCode.NOT_FOUND, NO_SUCH_ATTEMPT)
    return Response(status_code=204)
