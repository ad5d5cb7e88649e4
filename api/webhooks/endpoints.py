"""Routes of endpoints: create, list, change, rotate the secret, disable, enable, test, delete."""

from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from api.auth.authentication import Admin, AdminUser, Caller, CurrentUser, insufficient_scope
from api.http.ids import ENDPOINT_ID, decode_endpoint_cursor, encode_cursor
from api.http.openapi import problems
from api.http.problems.documents import ProblemError, invalid_field, not_found
from api.http.problems.texts import ENDPOINT_FOR_URL_EXISTS
from api.http.strict_json import StrictJsonRoute
from api.services import services_of
from api.webhooks.deliveries import endpoint_closed, start_resend
from api.webhooks.fields import check_webhook_url
from api.webhooks.schemas import (
    DEFAULT_ROTATION,
    ChangeEndpointRequest,
    CreatedEndpoint,
    Endpoint,
    EndpointList,
    EndpointQuery,
    LoggedWebhook,
    NewEndpointRequest,
    RotatedSecret,
    RotateSecretRequest,
)
from core.domain.failures import FailureCode
from core.domain.ids import EndpointId, UserId, new_event_id
from core.domain.messages.webhooks import DeliveryOrder, EndpointKind, EventType
from core.domain.scopes import Scope
from core.domain.webhook_payload import endpoint_test_body
from core.platform.observability.logging import get_logger
from core.store.accounts.users import new_webhook_secret
from core.store.database import Connection
from core.store.webhooks import endpoints
from core.store.webhooks.account_events import insert_account_event
from core.store.webhooks.listening import (
    TOO_MANY_LISTENING,
    TooManyListeningError,
    insert_listening,
)
from core.store.webhooks.signing_secrets import (
    rotate_endpoint_secret,
    set_first_secret,
    set_own_headers,
)

ENDPOINTS_PATH: Final = "/api/endpoints"
_ONE_ENDPOINT: Final = (FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND)
_WITH_BODY: Final = (FailureCode.UNSUPPORTED_MEDIA_TYPE, FailureCode.INVALID_REQUEST)

log = get_logger(__name__)
router = APIRouter(prefix="/api", tags=["endpoints"], route_class=StrictJsonRoute)


@router.post(
    "/endpoints",
    status_code=201,
    summary="Create an endpoint",
    responses=problems(FailureCode.UNAUTHENTICATED, FailureCode.ENDPOINT_EXISTS, *_WITH_BODY),
)
async def create_endpoint(
    request: Request, response: Response, caller: Admin, body: NewEndpointRequest
) -> CreatedEndpoint:
    """Create an endpoint with an optional description and secret.

    A `webhook` in a request also creates an endpoint, without either. A default endpoint receives
    the account's data, so `default` also needs the scope `read`. A listening endpoint (`kind`
    `stream`) gets a secret of its own, shown once; as the default it stands in for the present one
    until it is deleted.
    """
    services, user_id = services_of(request), caller.user_id
    _check_default(caller, default=body.default)
    if (body.url is None) != (body.kind is EndpointKind.STREAM):
        raise invalid_field("url", "is required, except with the kind stream, which has none")
    check_webhook_url(services.outbound, "url", body.url)
    secret = body.secret
    if body.kind is EndpointKind.STREAM and secret is None:
        secret = new_webhook_secret()
    try:
        async with services.database.as_user(user_id) as conn:
            endpoint_id = await _insert(conn, user_id, body)
            if secret is not None:
                await set_first_secret(conn, services.secrets, endpoint_id, user_id, secret)
            if body.headers:
                await set_own_headers(conn, services.secrets, endpoint_id, user_id, body.headers)
            created = await _find(conn, user_id, endpoint_id)
    except endpoints.EndpointExistsError as error:
        members = {"endpointId": error.endpoint_id}
        raise ProblemError(
            FailureCode.ENDPOINT_EXISTS,
            ENDPOINT_FOR_URL_EXISTS.format(endpoint_id=error.endpoint_id),
            members=members,
        ) from None
    log.info("endpoint.created", user_id=user_id, endpoint_id=endpoint_id, kind=body.kind)
    response.headers["Cache-Control"] = "no-store"
    shown = None if body.secret is not None else secret
    return CreatedEndpoint(**_endpoint(created).model_dump(), secret=shown)


async def _insert(conn: Connection, user_id: UserId, body: NewEndpointRequest) -> EndpointId:
    if body.url is None:
        try:
            return await insert_listening(conn, user_id, body.description, default=body.default)
        except TooManyListeningError:
            raise invalid_field("kind", TOO_MANY_LISTENING) from None
    if not await endpoints.may_have_endpoint(conn, user_id, body.url):
        raise invalid_field("url", endpoints.TOO_MANY_ENDPOINTS)
    endpoint_id = await endpoints.insert_endpoint(conn, user_id, body.url, body.description)
    if body.default:
        await endpoints.set_default(conn, user_id, endpoint_id)
    return endpoint_id


@router.get(
    "/endpoints",
    summary="List endpoints",
    responses=problems(FailureCode.UNAUTHENTICATED, FailureCode.INVALID_REQUEST),
)
async def read_endpoints(
    request: Request, user_id: CurrentUser, query: Annotated[EndpointQuery, Query()]
) -> EndpointList:
    """Return a page of endpoints, newest first.

    They include endpoints that the `webhook` of a request created. Follow `nextCursor`.
    """
    before = decode_endpoint_cursor(query.cursor) if query.cursor is not None else None
    async with services_of(request).database.reading_as(user_id) as conn:
        listed = await endpoints.list_endpoints(
            conn, user_id, before_id=before, limit=query.limit + 1
        )
    page = listed[: query.limit]
    return EndpointList(
        data=[_endpoint(item) for item in page],
        next_cursor=encode_cursor(page[-1].endpoint_id) if len(listed) > query.limit else None,
    )


@router.get(
    "/endpoints/{endpoint_id}", summary="Get an endpoint", responses=problems(*_ONE_ENDPOINT)
)
async def read_endpoint(request: Request, user_id: CurrentUser, endpoint_id: str) -> Endpoint:
    """`GET /api/webhooks?endpointId=` lists its webhooks."""
    async with services_of(request).database.reading_as(user_id) as conn:
        return _endpoint(await _find(conn, user_id, endpoint_id))


@router.patch(
    "/endpoints/{endpoint_id}",
    summary="Change an endpoint",
    responses=problems(*_ONE_ENDPOINT, *_WITH_BODY),
)
async def change_endpoint(
    request: Request, caller: Admin, endpoint_id: str, body: ChangeEndpointRequest
) -> Endpoint:
    """Change the given fields; a new default endpoint applies to new requests only.

    `default: true` also needs the scope `read`.
    """
    user_id = caller.user_id
    _check_default(caller, default=body.default)
    services = services_of(request)
    async with services.database.as_user(user_id) as conn:
        endpoint = await _find(conn, user_id, endpoint_id)
        if body.description is not None:
            await endpoints.set_description(conn, endpoint.endpoint_id, body.description)
        if body.headers is not None:
            await set_own_headers(
                conn, services.secrets, endpoint.endpoint_id, user_id, body.headers
            )
        if body.default is True:
            await endpoints.set_default(conn, user_id, endpoint.endpoint_id)
        elif body.default is False and endpoint.is_default:
            await endpoints.set_default(conn, user_id, None)
        changed = await _find(conn, user_id, endpoint_id)
    log.info("endpoint.changed", user_id=user_id, endpoint_id=endpoint_id)
    return _endpoint(changed)


@router.post(
    "/endpoints/{endpoint_id}/rotate-secret",
    summary="Rotate an endpoint's secret",
    responses=problems(*_ONE_ENDPOINT, *_WITH_BODY),
)
async def rotate_secret(
    request: Request,
    response: Response,
    user_id: AdminUser,
    endpoint_id: str,
    body: RotateSecretRequest = DEFAULT_ROTATION,
) -> RotatedSecret:
    """Return a new secret, which is shown once.

    An endpoint's first secret replaces the account's. Until `previousUntil` the previous secret
    also signs.
    """
    services = services_of(request)
    overlap = timedelta(hours=body.overlap_hours)
    async with services.database.as_user(user_id) as conn:
        endpoint = await _find(conn, user_id, endpoint_id)
        new = await rotate_endpoint_secret(
            conn, services.secrets, endpoint.endpoint_id, overlap=overlap, secret=body.secret
        )
    if new is None:
        raise not_found(ENDPOINTS_PATH)
    log.info(
        "endpoint.secret_rotated",
        user_id=user_id,
        endpoint_id=endpoint_id,
        overlap_hours=body.overlap_hours,
    )
    response.headers["Cache-Control"] = "no-store"
    return RotatedSecret(secret=new.secret, previous_until=new.previous_until)


@router.post(
    "/endpoints/{endpoint_id}/disable",
    summary="Disable an endpoint",
    responses=problems(*_ONE_ENDPOINT),
)
async def disable_endpoint(request: Request, user_id: AdminUser, endpoint_id: str) -> Endpoint:
    """Its webhooks fail until it is enabled again; then they can be resent. Repeating is safe."""
    return await _switch(request, user_id, endpoint_id, disabled=True)


@router.post(
    "/endpoints/{endpoint_id}/enable",
    summary="Enable an endpoint",
    responses=problems(*_ONE_ENDPOINT),
)
async def enable_endpoint(request: Request, user_id: AdminUser, endpoint_id: str) -> Endpoint:
    """Enable an endpoint, also one that was disabled automatically.

    `POST /api/webhooks/resend` resends the webhooks that failed meanwhile. Repeating is safe.
    """
    return await _switch(request, user_id, endpoint_id, disabled=False)


@router.post(
    "/endpoints/{endpoint_id}/test",
    status_code=202,
    summary="Test an endpoint",
    responses=problems(*_ONE_ENDPOINT, FailureCode.ENDPOINT_DISABLED),
)
async def test_endpoint(request: Request, user_id: AdminUser, endpoint_id: str) -> LoggedWebhook:
    """Sends a webhook of the type `endpoint.test`. `GET /api/webhooks/{id}` returns its outcome."""
    services = services_of(request)
    event_id = new_event_id()
    async with services.database.as_user(user_id) as conn:
        endpoint = await _find(conn, user_id, endpoint_id)
        if endpoint.disabled_at is not None:
            raise endpoint_closed(None)
        body = endpoint_test_body(event_id, endpoint_id=endpoint.endpoint_id)
        await insert_account_event(
            conn, event_id, endpoint.endpoint_id, EventType.ENDPOINT_TEST, body
        )
    return await start_resend(services, DeliveryOrder(user_id=user_id, event_id=event_id))


@router.delete(
    "/endpoints/{endpoint_id}",
    status_code=204,
    response_class=Response,
    summary="Delete an endpoint",
    responses=problems(*_ONE_ENDPOINT),
)
async def delete_endpoint(request: Request, user_id: AdminUser, endpoint_id: str) -> Response:
    """Erase the endpoint's secrets, fail its pending webhooks, and keep its delivery log.

    A request with the same `webhook` creates a new endpoint.
    """
    async with services_of(request).database.as_user(user_id) as conn:
        endpoint = await _find(conn, user_id, endpoint_id)
        await endpoints.delete_endpoint(conn, endpoint.endpoint_id)
    log.info("endpoint.deleted", user_id=user_id, endpoint_id=endpoint_id)
    return Response(status_code=204)


def _check_default(caller: Caller, *, default: bool | None) -> None:
    if default and Scope.READ not in caller.scopes:
        raise insufficient_scope(Scope.READ)


async def _switch(
    request: Request, user_id: UserId, endpoint_id: str, *, disabled: bool
) -> Endpoint:
    async with services_of(request).database.as_user(user_id) as conn:
        endpoint = await _find(conn, user_id, endpoint_id)
        await endpoints.set_disabled_by_user(conn, endpoint.endpoint_id, disabled=disabled)
        switched = await _find(conn, user_id, endpoint_id)
    log.info("endpoint.switched", user_id=user_id, endpoint_id=endpoint_id, disabled=disabled)
    return _endpoint(switched)


async def _find(conn: Connection, user_id: UserId, endpoint_id: str) -> endpoints.Endpoint:
    """Raise ProblemError if the endpoint is unknown, deleted or another user's."""
    if ENDPOINT_ID.fullmatch(endpoint_id):
        endpoint = await endpoints.find_endpoint(conn, user_id, EndpointId(endpoint_id))
        if endpoint is not None:
            return endpoint
    raise not_found(ENDPOINTS_PATH)


def _endpoint(stored: endpoints.Endpoint) -> Endpoint:
    return Endpoint(
        id=stored.endpoint_id,
        kind=stored.kind,
        url=stored.url,
        description=stored.description,
        default=stored.is_default,
        own_secret=stored.has_secret,
        own_headers=stored.has_headers,
        previous_secret_until=stored.previous_secret_until,
        state="disabled" if stored.disabled_at is not None else "enabled",
        disabled_at=stored.disabled_at,
        disabled_reason=stored.disabled_reason,
        failing_since=stored.failing_since,
        last_success_at=stored.last_success_at,
        last_failure_at=stored.last_failure_at,
        created_at=stored.created_at,
    )
