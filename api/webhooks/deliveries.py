"""Routes of the delivery log: list, get, resend; and rotation of the account's webhook secret."""

import asyncio
import json
from datetime import timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from api.auth.authentication import AdminUser, CurrentUser
from api.http.ids import ENDPOINT_ID, EVENT_ID, EXECUTION_ID, decode_place, encode_place
from api.http.openapi import problems
from api.http.problems.documents import ProblemError, invalid_field, not_found
from api.http.problems.texts import ENDPOINT_IS_DISABLED, ENDPOINT_WAS_DELETED
from api.http.strict_json import StrictJsonRoute
from api.services import Services, services_of
from api.webhooks.schemas import (
    DEFAULT_ROTATION,
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

WEBHOOKS_PATH: Final = "/api/webhooks"

log = get_logger(__name__)
router = APIRouter(prefix="/api", tags=["webhooks"], route_class=StrictJsonRoute)


@router.get(
    "/webhooks",
    summary="List webhooks",
    responses=problems(
        FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND, FailureCode.INVALID_REQUEST
    ),
)
async def read_webhooks(
    request: Request, user_id: CurrentUser, query: Annotated[WebhookQuery, Query()]
) -> WebhookList:
    """Return a page of webhooks, newest first.

    Follow `nextCursor` with the same filters; new webhooks do not shift the pages.
    """
    before = decode_place(query.cursor) if query.cursor is not None else None
    async with services_of(request).database.reading_as(user_id) as conn:
        log_filter = LogFilter(
            limit=query.limit + 1,
            before=before,
            execution_id=await _check_execution(conn, user_id, query.execution_id),
            endpoint_id=await _check_endpoint(conn, user_id, query.endpoint_id),
            state=query.state,
            type=query.type,
        )
        entries = await list_webhooks(conn, user_id, log_filter)
    page = entries[: query.limit]
    has_more = len(entries) > query.limit
    return WebhookList(
        data=[_logged_webhook(entry) for entry in page],
        next_cursor=encode_place(page[-1].place) if has_more else None,
    )


async def _check_execution(
    conn: Connection, user_id: UserId, text: str | None
) -> ExecutionId | None:
    """Raise ProblemError if the user has no such execution."""
    if text is None:
        return None
    execution_id = ExecutionId(text)
    if not EXECUTION_ID.fullmatch(text) or not await has_execution(conn, user_id, execution_id):
        raise not_found(WEBHOOKS_PATH)
    return execution_id


async def _check_endpoint(conn: Connection, user_id: UserId, text: str | None) -> EndpointId | None:
    """Raise ProblemError if the user never had such an endpoint."""
    if text is None:
        return None
    endpoint_id = EndpointId(text)
    if not ENDPOINT_ID.fullmatch(text) or not await has_endpoint(conn, user_id, endpoint_id):
        raise not_found(WEBHOOKS_PATH)
    return endpoint_id


@router.get(
    "/webhooks/{event_id}",
    summary="Get a webhook",
    responses=problems(FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND),
)
async def read_webhook(request: Request, user_id: CurrentUser, event_id: str) -> WebhookDetail:
    """Return the body and every attempt, from one snapshot."""
    async with services_of(request).database.reading_as(user_id) as conn:
        entry, body = await _find(conn, user_id, event_id)
        attempts = await list_attempts(conn, entry.event_id)
    attempt_log = [
        Attempt(
            delivery=attempt.delivery,
            number=attempt.number,
            started_at=attempt.started_at,
            duration_ms=attempt.duration_ms,
            status_code=attempt.status_code,
            error=attempt.error,
            response_excerpt=attempt.response_excerpt,
        )
        for attempt in attempts
    ]
    return WebhookDetail(**_fields(entry), body=json.loads(body), attempt_log=attempt_log)


@router.post(
    "/webhooks/resend",
    summary="Resend webhooks",
    responses=problems(
        FailureCode.UNAUTHENTICATED,
        FailureCode.NOT_FOUND,
        FailureCode.UNSUPPORTED_MEDIA_TYPE,
        FailureCode.INVALID_REQUEST,
    ),
)
async def resend_webhooks(request: Request, user_id: AdminUser, body: ResendRequest) -> Resent:
    """Resend the webhooks of a time range, oldest first, at most a thousand per request.

    Each keeps its id and body and starts a new schedule of attempts.
    """
    if body.to <= body.from_:
        raise invalid_field("to", "must be later than from")
    after = decode_place(body.cursor) if body.cursor is not None else None
    async with services_of(request).database.as_user(user_id) as conn:
        result = await resend_page(
            conn,
            user_id,
            ResendRange(
                created_from=body.from_,
                created_before=body.to,
                state=WebhookState(body.state),
                endpoint_id=await _check_endpoint(conn, user_id, body.endpoint_id),
                after=after,
                limit=MAX_RESENT,
            ),
        )
    log.info("webhooks.resent", user_id=user_id, resent=result.resent, skipped=result.skipped)
    return Resent(
        resent=result.resent,
        skipped=result.skipped,
        next_cursor=encode_place(result.next_after) if result.next_after is not None else None,
    )


@router.post(
    "/webhooks/{event_id}/resend",
    status_code=202,
    summary="Resend a webhook",
    responses=problems(
        FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND, FailureCode.ENDPOINT_DISABLED
    ),
)
async def resend_webhook(request: Request, user_id: AdminUser, event_id: str) -> LoggedWebhook:
    """Start a new schedule of attempts with the same id and body.

    A delivery in progress stops before its next attempt.
    """
    services = services_of(request)
    async with services.database.as_user(user_id) as conn:
        entry, _ = await _find(conn, user_id, event_id)
        try:
            order = await next_delivery(conn, entry.event_id)
        except WebhookNotFoundError:
            raise not_found(WEBHOOKS_PATH) from None
        except EndpointClosedError as error:
            raise endpoint_closed(error.reason) from None
    log.info("webhook.resent", user_id=user_id, event_id=event_id, delivery=order.delivery)
    return await start_resend(services, order)


def endpoint_closed(reason: FailedReason | None) -> ProblemError:
    if reason is FailedReason.ENDPOINT_DELETED:
        return ProblemError(FailureCode.ENDPOINT_DISABLED, ENDPOINT_WAS_DELETED)
    return ProblemError(FailureCode.ENDPOINT_DISABLED, ENDPOINT_IS_DISABLED)


async def start_resend(services: Services, order: DeliveryOrder) -> LoggedWebhook:
    """Start a committed delivery and return its log entry.

    If Temporal is unreachable, the reconciler starts the delivery later.
    """
    try:
        async with asyncio.timeout(START_RPC_TIMEOUT.total_seconds()):
            await start_delivery(services.temporal, order)
    except (TimeoutError, *UNREACHABLE) as error:
        log.warning("delivery.start_failed", event_id=order.event_id, reason=str(error)[:200])
    async with services.database.reading_as(order.user_id) as conn:
        entry, _ = await _find(conn, order.user_id, order.event_id)
    return _logged_webhook(entry)


@router.post(
    "/webhook-secret/rotate",
    summary="Rotate the account's webhook secret",
    responses=problems(
        FailureCode.UNAUTHENTICATED,
        FailureCode.UNSUPPORTED_MEDIA_TYPE,
        FailureCode.INVALID_REQUEST,
    ),
)
async def rotate_account_secret(
    request: Request,
    response: Response,
    user_id: AdminUser,
    body: RotateSecretRequest = DEFAULT_ROTATION,
) -> RotatedSecret:
    """Return a new secret, which is shown once and signs immediately.

    Until `previousUntil` the previous secret also signs.
    """
    services = services_of(request)
    overlap = timedelta(hours=body.overlap_hours)
    async with services.database.as_user(user_id) as conn:
        new = await rotate_default_secret(
            conn, services.secrets, user_id, overlap=overlap, secret=body.secret
        )
    log.info("webhook_secret.rotated", user_id=user_id, overlap_hours=body.overlap_hours)
    response.headers["Cache-Control"] = "no-store"
    return RotatedSecret(secret=new.secret, previous_until=new.previous_until)


async def _find(conn: Connection, user_id: UserId, event_id: str) -> tuple[LogEntry, bytes]:
    """Return the log entry and the body.

    Raise ProblemError if the webhook is unknown or another user's.
    """
    if EVENT_ID.fullmatch(event_id):
        webhook = await find_webhook(conn, user_id, EventId(event_id))
        if webhook is not None:
            return webhook
    raise not_found(WEBHOOKS_PATH)


def _logged_webhook(entry: LogEntry) -> LoggedWebhook:
    return LoggedWebhook(**_fields(entry))


def _fields(entry: LogEntry) -> dict[str, Any]:
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
