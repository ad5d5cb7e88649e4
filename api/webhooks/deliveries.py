"""The delivery log over HTTP: what was sent, every try of it, and sending it once more."""

import asyncio
import json
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from api.auth.authentication import AdminUser, CurrentUser
from api.http.bodies import read_json, read_optional_json
from api.http.ids import ENDPOINT_ID, EVENT_ID, EXECUTION_ID, decode_place, encode_place
from api.http.openapi import problems, request_body
from api.http.problems import ProblemError, invalid_field, not_found
from api.services import Services, services_of
from api.webhooks.schemas import (
    MAX_RESENT,
    Attempt,
    LoggedWebhook,
    ResendRequest,
    Resent,
    RotatedSecret,
    RotateSecretRequest,
    WebhookDetail,
    WebhookList,
    WebhookQuery,
    parsed,
)
from core.domain.failures import FailureCode
from core.domain.ids import EndpointId, EventId, ExecutionId, UserId
from core.domain.messages.webhooks import DeliveryOrder, FailedReason, WebhookState
from core.ordering.workflow_starts import start_delivery
from core.platform.observability.logging import get_logger
from core.platform.temporal.client import UNREACHABLE
from core.platform.temporal.policies import START_RPC_TIMEOUT
from core.store.database import Connection
from core.store.webhooks.delivery_log import (
    LogEntry,
    LogFilter,
    ResendRange,
    find_webhook,
    has_endpoint,
    has_execution,
    list_webhooks,
    resend_page,
)
from core.store.webhooks.events import (
    EndpointClosedError,
    WebhookNotFoundError,
    list_attempts,
    next_delivery,
)
from core.store.webhooks.signing_secrets import rotate_default_secret

_PATH = "/api/webhooks"

log = get_logger(__name__)
router = APIRouter(prefix="/api", tags=["webhooks"])


@router.get(
    "/webhooks",
    summary="What was sent to your endpoints, newest first",
    responses=problems(
        FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND, FailureCode.INVALID_REQUEST
    ),
)
async def read_webhooks(
    request: Request, user_id: CurrentUser, query: Annotated[WebhookQuery, Query()]
) -> WebhookList:
    """Follow `nextCursor` with the same filters; webhooks that come meanwhile do not move the
    pages.
    """
    before = decode_place(query.cursor) if query.cursor is not None else None
    async with services_of(request).database.reading_as(user_id) as conn:
        wanted = LogFilter(
            limit=query.limit + 1,
            before=before,
            execution_id=await _execution(conn, user_id, query.execution_id),
            endpoint_id=await _endpoint(conn, user_id, query.endpoint_id),
            state=query.state,
            type=query.type,
        )
        found = await list_webhooks(conn, user_id, wanted)
    page = found[: query.limit]
    more = len(found) > query.limit
    return WebhookList(
        data=[LoggedWebhook(**_plain(entry)) for entry in page],
        next_cursor=encode_place(page[-1].place) if more else None,
    )


async def _execution(conn: Connection, user_id: UserId, given: str | None) -> ExecutionId | None:
    """Raises ProblemError: there is no such execution of this user."""
    if given is None:
        return None
    execution_id = ExecutionId(given)
    if not EXECUTION_ID.fullmatch(given) or not await has_execution(conn, user_id, execution_id):
        raise not_found(_PATH)
    return execution_id


async def _endpoint(conn: Connection, user_id: UserId, given: str | None) -> EndpointId | None:
    """Raises ProblemError: there never was such an endpoint of this user."""
    if given is None:
        return None
    endpoint_id = EndpointId(given)
    if not ENDPOINT_ID.fullmatch(given) or not await has_endpoint(conn, user_id, endpoint_id):
        raise not_found(_PATH)
    return endpoint_id


@router.get(
    "/webhooks/{event_id}",
    summary="One webhook: its body, and every try",
    responses=problems(FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND),
)
async def read_webhook(request: Request, user_id: CurrentUser, event_id: str) -> WebhookDetail:
    """As of one moment."""
    async with services_of(request).database.reading_as(user_id) as conn:
        entry, body = await _find(conn, user_id, event_id)
        attempts = await list_attempts(conn, entry.event_id)
    log_of_tries = [
        Attempt(
            delivery=one.delivery,
            number=one.number,
            started_at=one.started_at,
            duration_ms=one.duration_ms,
            status_code=one.status_code,
            error=one.error,
            response_excerpt=one.response_excerpt,
        )
        for one in attempts
    ]
    return WebhookDetail(**_plain(entry), body=json.loads(body), attempt_log=log_of_tries)


@router.post(
    "/webhooks/resend",
    summary="Send the webhooks of a time again",
    openapi_extra=request_body(ResendRequest),
    responses=problems(
        FailureCode.UNAUTHENTICATED,
        FailureCode.NOT_FOUND,
        FailureCode.PAYLOAD_TOO_LARGE,
        FailureCode.UNSUPPORTED_MEDIA_TYPE,
        FailureCode.INVALID_REQUEST,
    ),
)
async def resend_webhooks(request: Request, user_id: AdminUser) -> Resent:
    """The oldest first, a thousand in one request; each with its old id and body, by a fresh
    schedule of tries.
    """
    wanted = parsed(ResendRequest, await read_json(request))
    if wanted.to <= wanted.from_:
        raise invalid_field("to", "must be later than from")
    after = decode_place(wanted.cursor) if wanted.cursor is not None else None
    async with services_of(request).database.as_user(user_id) as conn:
        done = await resend_page(
            conn,
            user_id,
            ResendRange(
                created_from=wanted.from_,
                created_before=wanted.to,
                state=WebhookState(wanted.state),
                endpoint_id=await _endpoint(conn, user_id, wanted.endpoint_id),
                after=after,
                limit=MAX_RESENT,
            ),
        )
    log.info("webhooks resent", user_id=user_id, resent=done.resent, skipped=done.skipped)
    return Resent(
        resent=done.resent,
        skipped=done.skipped,
        next_cursor=encode_place(done.next_after) if done.next_after is not None else None,
    )


@router.post(
    "/webhooks/{event_id}/resend",
    status_code=202,
    summary="Send a webhook again",
    responses=problems(
        FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND, FailureCode.ENDPOINT_DISABLED
    ),
)
async def resend_webhook(request: Request, user_id: AdminUser, event_id: str) -> LoggedWebhook:
    """The same id and body, by a fresh schedule of tries. A delivery that is under way stops before
    its next try.
    """
    services = services_of(request)
    async with services.database.as_user(user_id) as conn:
        entry, _ = await _find(conn, user_id, event_id)
        try:
            order = await next_delivery(conn, entry.event_id)
        except WebhookNotFoundError:
            raise not_found(_PATH) from None
        except EndpointClosedError as error:
            raise endpoint_closed(error.reason) from None
    log.info("webhook resent", user_id=user_id, event_id=event_id, delivery=order.delivery)
    return await begun(services, order)


def endpoint_closed(reason: FailedReason | None) -> ProblemError:
    if reason is FailedReason.ENDPOINT_DELETED:
        return ProblemError(
            FailureCode.ENDPOINT_DISABLED, "Its endpoint was deleted: make one of the same address."
        )
    return ProblemError(FailureCode.ENDPOINT_DISABLED, "Enable it first.")


async def begun(services: Services, order: DeliveryOrder) -> LoggedWebhook:
    """Start a delivery that was committed, and how it stands then. What is not started here, the
    sweep starts.
    """
    try:
        async with asyncio.timeout(START_RPC_TIMEOUT.total_seconds()):
            await start_delivery(services.temporal, order)
    except (TimeoutError, *UNREACHABLE) as error:
        log.warning("delivery not started yet", event_id=order.event_id, reason=str(error)[:200])
    async with services.database.reading_as(order.user_id) as conn:
        entry, _ = await _find(conn, order.user_id, order.event_id)
    return LoggedWebhook(**_plain(entry))


@router.post(
    "/webhook-secret/rotate",
    summary="Replace the account's webhook secret",
    openapi_extra=request_body(RotateSecretRequest, required=False),
    responses=problems(
        FailureCode.UNAUTHENTICATED,
        FailureCode.PAYLOAD_TOO_LARGE,
        FailureCode.UNSUPPORTED_MEDIA_TYPE,
        FailureCode.INVALID_REQUEST,
    ),
)
async def rotate_account_secret(
    request: Request, response: Response, user_id: AdminUser
) -> RotatedSecret:
    """Shown once. It signs from now on; until `previousUntil` the one before signs beside it."""
    services = services_of(request)
    wanted = parsed(RotateSecretRequest, await read_optional_json(request))
    overlap = timedelta(hours=wanted.overlap_hours)
    async with services.database.as_user(user_id) as conn:
        new = await rotate_default_secret(
            conn, services.secrets, user_id, overlap=overlap, secret=wanted.secret
        )
    log.info("webhook secret rotated", user_id=user_id, overlap_hours=wanted.overlap_hours)
    response.headers["Cache-Control"] = "no-store"
    return RotatedSecret(secret=new.secret, previous_until=new.previous_until)


async def _find(conn: Connection, user_id: UserId, event_id: str) -> tuple[LogEntry, bytes]:
    """Raises ProblemError: never was, or another user's."""
    found = (
        await find_webhook(conn, user_id, EventId(event_id))
        if EVENT_ID.fullmatch(event_id)
        else None
    )
    if found is None:
        raise not_found(_PATH)
    return found


def _plain(entry: LogEntry) -> dict[str, Any]:
    return {
        "id": entry.event_id,
        "type": entry.type,
        "endpoint_id": entry.endpoint_id,
        "url": entry.url,
        "execution_id": entry.execution_id,
        "generation": entry.generation,
        "sequence": entry.sequence,
        "state": entry.state,
        "failed_reason": entry.failed_reason,
        "delivery": entry.delivery,
        "attempts": entry.attempts,
        "last_attempt_at": entry.last_attempt_at,
        "last_status_code": entry.last_status_code,
        "last_error": entry.last_error,
        "created_at": entry.created_at,
        "ended_at": entry.ended_at,
    }
