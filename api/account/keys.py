"""Routes of the account's API keys: create, list, limit, revoke."""

from typing import Final

from fastapi import APIRouter, Request, Response

from api.account.key_bodies import (
    ChangeKeyRequest,
    Key,
    KeyList,
    NewKey,
    NewKeyRequest,
    key_answer,
    limit_answer,
)
from api.auth.authentication import Admin, AdminUser, CurrentCaller, insufficient_scope
from api.http.ids import KEY_ID
from api.http.openapi import problems
from api.http.problems.documents import ProblemError, invalid_field, not_found
from api.http.problems.texts import CALLER_HAS_NO_KEY, LIMIT_OF_ADMIN_KEY, TOO_MANY_KEYS
from api.http.strict_json import StrictJsonRoute
from api.services import services_of
from core.domain.failures import FailureCode
from core.domain.ids import KeyId, UserId
from core.domain.scopes import Scope
from core.platform.observability.logging import get_logger
from core.store.accounts.users import (
    count_usable_keys,
    find_api_key,
    insert_api_key,
    list_api_keys,
    revoke_api_key,
)
from core.store.database import Connection
from core.store.money.key_spending import (
    NO_LIMIT,
    AdminKeyError,
    find_key_spending,
    list_key_spending,
    lock_spend_limit,
    set_spend_limit,
)

MAX_KEYS: Final = 50
"""Valid keys of a user; each has its own rate limit."""
KEYS_PATH: Final = "/api/keys"

log = get_logger(__name__)
router = APIRouter(prefix="/api", tags=["API keys"], route_class=StrictJsonRoute)


@router.post(
    "/keys",
    status_code=201,
    summary="Create an API key",
    responses=problems(
        FailureCode.UNAUTHENTICATED,
        FailureCode.UNSUPPORTED_MEDIA_TYPE,
        FailureCode.INVALID_REQUEST,
    ),
)
async def create_key(
    request: Request, response: Response, admin: Admin, body: NewKeyRequest
) -> NewKey:
    """Return a new key, which is shown once and works immediately.

    It stays valid when the key that created it is revoked.
    """
    scopes = frozenset(body.scopes)
    if not scopes <= admin.scopes:
        raise insufficient_scope(*scopes - admin.scopes)
    limit = NO_LIMIT if body.spend_limit is None else body.spend_limit.stored()
    if limit.is_set and Scope.ADMIN in scopes:
        raise invalid_field("spendLimit", LIMIT_OF_ADMIN_KEY)
    async with services_of(request).database.as_user(admin.user_id) as conn:
        if await count_usable_keys(conn, admin.user_id) >= MAX_KEYS:
            raise invalid_field("name", TOO_MANY_KEYS.format(limit=MAX_KEYS))
        created = await insert_api_key(
            conn,
            admin.user_id,
            body.name,
            scopes=scopes,
            expires_days=body.expires_days,
            made_by=admin.name,
            spend_limit=limit,
        )
    log.info(
        "api_key.created",
        user_id=admin.user_id,
        key_id=created.key_id,
        made_by=admin.name,
        scopes=sorted(scopes),
    )
    response.headers["Cache-Control"] = "no-store"
    return NewKey(
        id=created.key_id,
        name=body.name,
        prefix=created.key.prefix,
        scopes=sorted(scopes),
        api_key=created.key.text,
        created_at=created.created_at,
        expires_at=created.expires_at,
        spend_limit=limit_answer(limit),
    )


@router.get("/keys", summary="List API keys", responses=problems(FailureCode.UNAUTHENTICATED))
async def read_keys(request: Request, user_id: AdminUser) -> KeyList:
    """Return at most 200 keys, without secrets.

    Valid keys come first, then expired and revoked keys, each newest first.
    """
    async with services_of(request).database.reading_as(user_id) as conn:
        spending = await list_key_spending(conn, user_id)
        keys = await list_api_keys(conn, user_id)
    return KeyList(data=[key_answer(key, spending[key.key_id]) for key in keys])


@router.get(
    "/keys/current",
    summary="Get the API key of the request",
    responses=problems(FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND),
)
async def read_current_key(request: Request, caller: CurrentCaller) -> Key:
    """Return the key that this request was sent with, its spend limit and what it has spent."""
    if caller.key_id is None:
        raise ProblemError(FailureCode.NOT_FOUND, CALLER_HAS_NO_KEY)
    async with services_of(request).database.reading_as(caller.user_id) as conn:
        return await _read(conn, caller.user_id, caller.key_id)


@router.patch(
    "/keys/{key_id}",
    summary="Change an API key",
    responses=problems(
        FailureCode.UNAUTHENTICATED,
        FailureCode.NOT_FOUND,
        FailureCode.UNSUPPORTED_MEDIA_TYPE,
        FailureCode.INVALID_REQUEST,
    ),
)
async def change_key(request: Request, admin: Admin, key_id: str, body: ChangeKeyRequest) -> Key:
    """Replace the spend limit of a key, from its next order on.

    What is held or spent already stays and counts, also above a lower limit.
    """
    if not KEY_ID.fullmatch(key_id):
        raise not_found(KEYS_PATH)
    limit = NO_LIMIT if body.spend_limit is None else body.spend_limit.stored()
    try:
        async with services_of(request).database.as_user(admin.user_id) as conn:
            locked = await lock_spend_limit(conn, KeyId(key_id), user_id=admin.user_id)
            await set_spend_limit(conn, locked, limit)
            key = await _read(conn, admin.user_id, KeyId(key_id))
    except LookupError:
        raise not_found(KEYS_PATH) from None
    except AdminKeyError:
        raise invalid_field("spendLimit", LIMIT_OF_ADMIN_KEY) from None
    log.info(
        "api_key.limit_set",
        user_id=admin.user_id,
        key_id=key_id,
        set_by=admin.name,
        daily_nano_usd=limit.daily_nano_usd,
        monthly_nano_usd=limit.monthly_nano_usd,
    )
    return key


async def _read(conn: Connection, user_id: UserId, key_id: KeyId) -> Key:
    key = await find_api_key(conn, user_id, key_id)
    spending = await find_key_spending(conn, user_id, key_id)
    if key is None or spending is None:
        raise not_found(KEYS_PATH)
    return key_answer(key, spending)


@router.delete(
    "/keys/{key_id}",
    status_code=204,
    summary="Revoke an API key",
    responses=problems(FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND),
)
async def revoke_key(request: Request, admin: Admin, key_id: str) -> None:
    """Revoke a key; every process rejects its next request.

    A key may revoke itself. Repeating is safe.
    """
    revoked_at = None
    if KEY_ID.fullmatch(key_id):
        async with services_of(request).database.as_user(admin.user_id) as conn:
            revoked_at = await revoke_api_key(conn, KeyId(key_id), user_id=admin.user_id)
    if revoked_at is None:
        raise not_found(KEYS_PATH)
    log.info("api_key.revoked", user_id=admin.user_id, key_id=key_id, revoked_by=admin.name)
