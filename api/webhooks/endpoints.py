"""Endpoints over HTTP: the addresses that webhooks go to, made, changed, tested, switched off and
on.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.auth.authentication import AdminUser, CurrentUser
from api.http.bodies import read_json, read_optional_json
from api.http.ids import ENDPOINT_ID, decode_endpoint_cursor, encode_cursor
from api.http.openapi import problems, request_body
from api.http.problems import ProblemError, not_found
from api.services import services_of
from api.webhooks.deliveries import begun, endpoint_closed
from api.webhooks.fields import check_webhook_url
from api.webhooks.schemas import (
    ChangeEndpointRequest,
    Endpoint,
    EndpointList,
    EndpointQuery,
    LoggedWebhook,
    NewEndpointRequest,
    RotatedSecret,
    RotateSecretRequest,
    parsed,
)
from core.domain.failures import FailureCode
from core.domain.ids import EndpointId, UserId, new_event_id
from core.domain.messages.webhooks import DeliveryOrder, EventType
from core.platform.observability.logging import get_logger
from core.store.database import Connection
from core.store.webhooks import endpoints
from core.store.webhooks.account_events import insert_account_event
from core.store.webhooks.signing_secrets import rotate_endpoint_secret, set_first_secret

_PATH = "/api/endpoints"
_CHANGES = (FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND)
_WITH_BODY = (
    FailureCode.PAYLOAD_TOO_LARGE,
    FailureCode.UNSUPPORTED_MEDIA_TYPE,
    FailureCode.INVALID_REQUEST,
)

log = get_logger(__name__)
router = APIRouter(prefix="/api", tags=["endpoints"])


@router.post(
    "/endpoints",
    status_code=201,
    summary="Make an endpoint",
    openapi_extra=request_body(NewEndpointRequest),
    responses=problems(FailureCode.UNAUTHENTICATED, FailureCode.ENDPOINT_EXISTS, *_WITH_BODY),
)
async def make_endpoint(request: Request, user_id: AdminUser) -> Endpoint:
    """A `webhook` of a request makes one too, of its address: here it gets a description, or a
    secret, before that.
    """
    services = services_of(request)
    wanted = parsed(NewEndpointRequest, await read_json(request))
    check_webhook_url(services.outbound, "url", wanted.url)
    try:
        async with services.database.as_user(user_id) as conn:
            endpoint_id = await endpoints.insert_endpoint(
                conn, user_id, wanted.url, wanted.description
            )
            if wanted.secret is not None:
                await set_first_secret(conn, services.secrets, endpoint_id, user_id, wanted.secret)
            if wanted.default:
                await endpoints.set_default(conn, user_id, endpoint_id)
            made = await _find(conn, user_id, endpoint_id)
    except endpoints.EndpointExistsError as error:
        members = {"endpointId": error.endpoint_id}
        raise ProblemError(
            FailureCode.ENDPOINT_EXISTS, f"It is {error.endpoint_id}.", members=members
        ) from None
    log.info("endpoint made", user_id=user_id, endpoint_id=endpoint_id)
    return _answer(made)


@router.get(
    "/endpoints",
    summary="Own endpoints, newest first",
    responses=problems(FailureCode.UNAUTHENTICATED, FailureCode.INVALID_REQUEST),
)
async def read_endpoints(
    request: Request, user_id: CurrentUser, query: Annotated[EndpointQuery, Query()]
) -> EndpointList:
    """Also those that were made for the `webhook` of a request. Follow `nextCursor`."""
    before = decode_endpoint_cursor(query.cursor) if query.cursor is not None else None
    async with services_of(request).database.reading_as(user_id) as conn:
        found = await endpoints.list_endpoints(
            conn, user_id, before_id=before, limit=query.limit + 1
        )
    page = found[: query.limit]
    return EndpointList(
        data=[_answer(one) for one in page],
        next_cursor=encode_cursor(page[-1].endpoint_id) if len(found) > query.limit else None,
    )


@router.get(
    "/endpoints/{endpoint_id}", summary="How an endpoint fares", responses=problems(*_CHANGES)
)
async def read_endpoint(request: Request, user_id: CurrentUser, endpoint_id: str) -> Endpoint:
    """What went there, `GET /api/webhooks?endpointId=` lists."""
    async with services_of(request).database.reading_as(user_id) as conn:
        return _answer(await _find(conn, user_id, endpoint_id))


@router.patch(
    "/endpoints/{endpoint_id}",
    summary="Describe an endpoint, or make it the default",
    openapi_extra=request_body(ChangeEndpointRequest),
    responses=problems(*_CHANGES, *_WITH_BODY),
)
async def change_endpoint(request: Request, user_id: AdminUser, endpoint_id: str) -> Endpoint:
    """Requests that are accepted from now on use the new default; those before keep theirs."""
    wanted = parsed(ChangeEndpointRequest, await read_json(request))
    async with services_of(request).database.as_user(user_id) as conn:
        found = await _find(conn, user_id, endpoint_id)
        if wanted.description is not None:
            await endpoints.set_description(conn, found.endpoint_id, wanted.description)
        if wanted.default is True:
            await endpoints.set_default(conn, user_id, found.endpoint_id)
        elif wanted.default is False and found.is_default:
            await endpoints.set_default(conn, user_id, None)
        changed = await _find(conn, user_id, endpoint_id)
    log.info("endpoint changed", user_id=user_id, endpoint_id=endpoint_id)
    return _answer(changed)


@router.post(
    "/endpoints/{endpoint_id}/rotate-secret",
    summary="Give an endpoint its next secret",
    openapi_extra=request_body(RotateSecretRequest, required=False),
    responses=problems(*_CHANGES, *_WITH_BODY),
)
async def rotate_secret(
    request: Request, response: Response, user_id: AdminUser, endpoint_id: str
) -> RotatedSecret:
    """Shown once. The first one replaces the account's here. Until `previousUntil` the one before
    signs, too.
    """
    services = services_of(request)
    wanted = parsed(RotateSecretRequest, await read_optional_json(request))
    overlap = timedelta(hours=wanted.overlap_hours)
    async with services.database.as_user(user_id) as conn:
        found = await _find(conn, user_id, endpoint_id)
        new = await rotate_endpoint_secret(
            conn, services.secrets, found.endpoint_id, overlap=overlap, secret=wanted.secret
        )
    if new is None:
        raise not_found(_PATH)
    log.info(
        "endpoint secret rotated",
        user_id=user_id,
        endpoint_id=endpoint_id,
        overlap_hours=wanted.overlap_hours,
    )
    response.headers["Cache-Control"] = "no-store"
    return RotatedSecret(secret=new.secret, previous_until=new.previous_until)


@router.post(
    "/endpoints/{endpoint_id}/disable", summary="Send nothing there", responses=problems(*_CHANGES)
)
async def disable_endpoint(request: Request, user_id: AdminUser, endpoint_id: str) -> Endpoint:
    """What would be sent there fails; enabled again, it can be resent. Repeating is safe."""
    return await _switch(request, user_id, endpoint_id, disabled=True)


@router.post(
    "/endpoints/{endpoint_id}/enable", summary="Send there again", responses=problems(*_CHANGES)
)
async def enable_endpoint(request: Request, user_id: AdminUser, endpoint_id: str) -> Endpoint:
    """Also one that was disabled by itself. What failed meanwhile: `POST /api/webhooks/resend`.
    Repeating is safe.
    """
    return await _switch(request, user_id, endpoint_id, disabled=False)


@router.post(
    "/endpoints/{endpoint_id}/test",
    status_code=202,
    summary="Send an endpoint a test event",
    responses=problems(*_CHANGES, FailureCode.ENDPOINT_DISABLED),
)
async def test_endpoint(request: Request, user_id: AdminUser, endpoint_id: str) -> LoggedWebhook:
    """A webhook like any other, of the type `endpoint.test`: `GET /api/webhooks/{id}` tells what
    became of it.
    """
    services = services_of(request)
    event_id = new_event_id()
    body = {
        "id": event_id,
        "type": EventType.ENDPOINT_TEST,
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "endpointId": endpoint_id,
    }
    async with services.database.as_user(user_id) as conn:
        found = await _find(conn, user_id, endpoint_id)
        if found.disabled_at is not None:
            raise endpoint_closed(None)
        plain = json.dumps(body, separators=(",", ":")).encode()
        await insert_account_event(
            conn, event_id, found.endpoint_id, EventType.ENDPOINT_TEST, plain
        )
    return await begun(services, DeliveryOrder(user_id=user_id, event_id=event_id))


@router.delete(
    "/endpoints/{endpoint_id}",
    status_code=204,
    response_class=Response,
    summary="Delete an endpoint",
    responses=problems(*_CHANGES),
)
async def delete_endpoint(request: Request, user_id: AdminUser, endpoint_id: str) -> Response:
    """Its secrets are erased, and what was still to be sent there fails. What was sent stays in the
    log. A request that names its address makes a new one.
    """
    async with services_of(request).database.as_user(user_id) as conn:
        found = await _find(conn, user_id, endpoint_id)
        await endpoints.delete_endpoint(conn, found.endpoint_id)
    log.info("endpoint deleted", user_id=user_id, endpoint_id=endpoint_id)
    return Response(status_code=204)


async def _switch(
    request: Request, user_id: UserId, endpoint_id: str, *, disabled: bool
) -> Endpoint:
    async with services_of(request).database.as_user(user_id) as conn:
        found = await _find(conn, user_id, endpoint_id)
        await endpoints.set_disabled_by_user(conn, found.endpoint_id, disabled=disabled)
        switched = await _find(conn, user_id, endpoint_id)
    log.info("endpoint switched", user_id=user_id, endpoint_id=endpoint_id, disabled=disabled)
    return _answer(switched)


async def _find(conn: Connection, user_id: UserId, endpoint_id: str) -> endpoints.Endpoint:
    """Raises ProblemError: never was, was deleted, or is another user's."""
    fits = ENDPOINT_ID.fullmatch(endpoint_id) is not None
    found = await endpoints.find_endpoint(conn, user_id, EndpointId(endpoint_id)) if fits else None
    if found is None:
        raise not_found(_PATH)
    return found


def _answer(found: endpoints.Endpoint) -> Endpoint:
    return Endpoint(
        id=found.endpoint_id,
        url=found.url,
        description=found.description,
        default=found.is_default,
        own_secret=found.has_secret,
        previous_secret_until=found.previous_secret_until,
        state="disabled" if found.disabled_at is not None else "enabled",
        disabled_at=found.disabled_at,
        disabled_reason=found.disabled_reason,
        failing_since=found.failing_since,
        last_success_at=found.last_success_at,
        last_failure_at=found.last_failure_at,
        created_at=found.created_at,
    )
