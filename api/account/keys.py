"""Routes of the account's API keys: create, list, revoke."""

from typing import Annotated, Final

from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, ConfigDict, Field

from api.auth.authentication import Admin, AdminUser, insufficient_scope
from api.http.ids import KEY_ID
from api.http.openapi import problems
from api.http.problems.documents import invalid_field, not_found
from api.http.problems.texts import TOO_MANY_KEYS
from api.http.schemas import RequestBody, ResponseBody, Time
from api.http.strict_json import StrictJsonRoute
from api.services import services_of
from core.domain.failures import FailureCode
from core.domain.ids import KeyId
from core.domain.scopes import USUAL_SCOPES, Scope
from core.platform.observability.logging import get_logger
from core.store.accounts.users import (
    KeyEntry,
    count_usable_keys,
    insert_api_key,
    list_api_keys,
    revoke_api_key,
)

MAX_KEYS: Final = 50
"""Valid keys of a user; each has its own rate limit."""
MAX_EXPIRES_DAYS: Final = 36_500
KEYS_PATH: Final = "/api/keys"

log = get_logger(__name__)
router = APIRouter(prefix="/api", tags=["API keys"], route_class=StrictJsonRoute)


def _printable(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("must have printable characters, and not only spaces")
    return value


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
Scopes = Annotated[
    tuple[Annotated[Scope, Field(strict=False)], ...],
    Field(strict=False, min_length=1, max_length=len(Scope)),
]


class NewKeyRequest(RequestBody):
    """The name of the new key, and what it may be used for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "dashboard", "scopes": ["read"], "expiresDays": 90}]
        }
    )

    name: Name = Field(description="Distinguishes keys in lists.")
    scopes: Scopes = Field(
        tuple(sorted(USUAL_SCOPES)),
        description="Only scopes that the credential of this request has.",
    )
    expires_days: Annotated[int, Field(ge=1, le=MAX_EXPIRES_DAYS)] | None = Field(
        None, description="Days until the key expires. Default: it does not expire."
    )


class Key(ResponseBody):
    """An API key, without its secret.

    prefix: the characters after `tko_`. madeBy: the key id or token subject that created the key;
    null: an operator did. lastUsedAt: to the minute.
    """

    id: str
    name: str
    prefix: str
    scopes: list[Scope]
    made_by: str | None
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None
    last_used_at: Time | None


class KeyList(ResponseBody):
    data: list[Key]


class NewKey(ResponseBody):
    """apiKey: the key itself, which no other response contains."""

    id: str
    name: str
    prefix: str
    scopes: list[Scope]
    api_key: Annotated[str, Field(repr=False)]
    created_at: Time
    expires_at: Time | None


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
    )


@router.get("/keys", summary="List API keys", responses=problems(FailureCode.UNAUTHENTICATED))
async def read_keys(request: Request, user_id: AdminUser) -> KeyList:
    """Return at most 200 keys, without secrets.

    Valid keys come first, then expired and revoked keys, each newest first.
    """
    async with services_of(request).database.reading_as(user_id) as conn:
        return KeyList(data=[_key(entry) for entry in await list_api_keys(conn, user_id)])


def _key(entry: KeyEntry) -> Key:
    return Key(
        id=entry.key_id,
        name=entry.name,
        prefix=entry.prefix,
        scopes=entry.scopes,
        made_by=entry.made_by,
        created_at=entry.created_at,
        expires_at=entry.expires_at,
        revoked_at=entry.revoked_at,
        last_used_at=entry.last_used_at,
    )


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
