"""A user's own API keys over HTTP: made, listed, revoked."""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, ConfigDict, Field

from api.auth.authentication import Admin, AdminUser, insufficient_scope
from api.http.ids import KEY_ID
from api.http.openapi import problems
from api.http.problems import invalid_field, not_found
from api.http.schemas import RequestBody, Time
from api.http.schemas import ResponseBody as Wire
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

MAX_KEYS = 50
"""Keys of a user that are accepted at once; each has an allowance of requests of its own."""
MAX_EXPIRES_DAYS = 36_500

_PATH = "/api/keys"

log = get_logger(__name__)
router = APIRouter(prefix="/api", tags=["keys"], route_class=StrictJsonRoute)


def _printable(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("must have printable characters, and not only spaces")
    return value


class NewKeyRequest(RequestBody):
    """The name of the new key and what it may be used for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "dashboard", "scopes": ["read"], "expiresDays": 90}]
        }
    )

    name: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)] = Field(
        description="To tell keys apart."
    )
    scopes: Annotated[
        tuple[Annotated[Scope, Field(strict=False)], ...],
        Field(strict=False, min_length=1, max_length=len(Scope)),
    ] = Field(
        tuple(sorted(USUAL_SCOPES)), description="None that the key lacks that this is asked with."
    )
    expires_days: Annotated[int, Field(ge=1, le=MAX_EXPIRES_DAYS)] | None = Field(
        None, description="When it ends by itself. Default: never."
    )


class Key(Wire):
    """prefix: how it begins, after `tko_`. madeBy: the id of the key, or the subject of the token,
    that asked for it; null: an operator made it. lastUsedAt: to the minute.
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


class KeyList(Wire):
    data: list[Key]


class NewKey(Wire):
    """apiKey: the key itself. It is in this answer and nowhere else."""

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
    summary="Make an API key",
    responses=problems(
        FailureCode.UNAUTHENTICATED,
        FailureCode.PAYLOAD_TOO_LARGE,
        FailureCode.UNSUPPORTED_MEDIA_TYPE,
        FailureCode.INVALID_REQUEST,
    ),
)
async def make_key(
    request: Request, response: Response, admin: Admin, body: NewKeyRequest
) -> NewKey:
    """Shown once. It works at once, and outlives the key that it was made with."""
    scopes = frozenset(body.scopes)
    if not scopes <= admin.scopes:
        raise insufficient_scope(*scopes - admin.scopes)
    async with services_of(request).database.as_user(admin.user_id) as conn:
        if await count_usable_keys(conn, admin.user_id) >= MAX_KEYS:
            raise invalid_field(
                "name", f"cannot be given: this user has {MAX_KEYS} keys. Revoke one first"
            )
        made = await insert_api_key(
            conn,
            admin.user_id,
            body.name,
            scopes=scopes,
            expires_days=body.expires_days,
            made_by=admin.name,
        )
    log.info(
        "api key made",
        user_id=admin.user_id,
        key_id=made.key_id,
        made_by=admin.name,
        scopes=sorted(scopes),
    )
    response.headers["Cache-Control"] = "no-store"
    return NewKey(
        id=made.key_id,
        name=body.name,
        prefix=made.key.prefix,
        scopes=sorted(scopes),
        api_key=made.key.text,
        created_at=made.created_at,
        expires_at=made.expires_at,
    )


@router.get("/keys", summary="Own API keys", responses=problems(FailureCode.UNAUTHENTICATED))
async def read_keys(request: Request, user_id: AdminUser) -> KeyList:
    """Those that are accepted, then those that were, the newest of each first: 200 at most. Without
    their secrets.
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
    """Refused from the next request on, by every process; also the key that this is asked with.
    Repeating is safe.
    """
    revoked_at = None
    if KEY_ID.fullmatch(key_id):
        async with services_of(request).database.as_user(admin.user_id) as conn:
            revoked_at = await revoke_api_key(conn, KeyId(key_id), user_id=admin.user_id)
    if revoked_at is None:
        raise not_found(_PATH)
    log.info("api key revoked", user_id=admin.user_id, key_id=key_id, revoked_by=admin.name)
