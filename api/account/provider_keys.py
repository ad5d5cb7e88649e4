"""Routes of the account's own keys at providers, which no response contains."""

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field

from api.auth.authentication import AdminUser
from api.http.openapi import problems
from api.http.problems.documents import not_found
from api.http.schemas import RequestBody, ResponseBody, Time
from api.http.strict_json import StrictJsonRoute
from api.services import Services, services_of
from core.domain.failures import FailureCode
from core.domain.messages.jobs import key_scope
from core.platform.observability.logging import get_logger
from core.providers.port import ProviderUnavailableError
from core.providers.registry import OWN_KEY_PROVIDERS
from core.store.providers.capacity import reset
from core.store.providers.user_keys import (
    KeyTest,
    ProviderKey,
    current_key,
    delete_key,
    erase_unused,
    list_keys,
    mark_tested,
    open_key,
    put_key,
)

PROVIDER_KEYS_PATH: Final = "/api/provider-keys"

log = get_logger(__name__)
router = APIRouter(prefix="/api", tags=["provider keys"], route_class=StrictJsonRoute)


class ProviderKeyRequest(RequestBody):
    """The key, as the provider shows it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"key": "your-own-key-at-this-provider"}]}
    )

    # Printable ASCII, because it is sent in a header. Real keys have forty characters and more.
    key: Annotated[str, Field(min_length=16, max_length=512, pattern=r"^[!-~]+$")] = Field(
        repr=False,
        description="Stored encrypted. It is in no response and no log.",
        json_schema_extra={"writeOnly": True},
    )


class OwnProviderKey(ResponseBody):
    """A provider key of the account, without its secret.

    version: 1, 2, … of the account's keys at this provider. state: new purchases use the `current`
    key. hint: its last four characters. A replaced or deleted key is listed until the last of its
    openJobs has ended; then it is erased.
    """

    id: str
    provider: str
    version: int
    state: Literal["current", "replaced", "deleted"]
    hint: str
    open_jobs: int
    created_at: Time
    replaced_at: Time | None
    deleted_at: Time | None
    tested_at: Time | None
    test_outcome: KeyTest | None


class OwnProviderKeyList(ResponseBody):
    data: list[OwnProviderKey]


class TestedProviderKey(ResponseBody):
    """outcome: accepted, refused, or unreachable if the provider gave neither answer."""

    id: str
    provider: str
    outcome: KeyTest


class DeletedProviderKey(ResponseBody):
    """erased: false while jobs that were bought with the key are open."""

    id: str
    provider: str
    erased: bool


@router.put(
    "/provider-keys/{provider}",
    summary="Set an own provider key",
    responses=problems(
        FailureCode.UNAUTHENTICATED,
        FailureCode.NOT_FOUND,
        FailureCode.UNSUPPORTED_MEDIA_TYPE,
        FailureCode.INVALID_REQUEST,
    ),
)
async def put_provider_key(
    request: Request, user_id: AdminUser, provider: str, body: ProviderKeyRequest
) -> OwnProviderKey:
    """Use this key for new purchases; open jobs keep the key that they were bought with."""
    services = services_of(request)
    _check_provider(provider)
    async with services.database.as_user(user_id) as conn:
        key = await put_key(conn, services.secrets, user_id, provider, body.key)
        await erase_unused(conn)
    log.info(
        "provider_key.put",
        user_id=user_id,
        provider=provider,
        provider_key_id=key.provider_key_id,
    )
    return _own_key(key)


@router.get(
    "/provider-keys",
    summary="List own provider keys",
    responses=problems(FailureCode.UNAUTHENTICATED),
)
async def read_provider_keys(request: Request, user_id: AdminUser) -> OwnProviderKeyList:
    """Keys in use, masked."""
    async with services_of(request).database.reading_as(user_id) as conn:
        return OwnProviderKeyList(data=[_own_key(key) for key in await list_keys(conn, user_id)])


@router.post(
    "/provider-keys/{provider}/test",
    summary="Test an own provider key",
    responses=problems(FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND),
)
async def test_provider_key(
    request: Request, user_id: AdminUser, provider: str
) -> TestedProviderKey:
    """Send a free read request to the provider, for up to ten seconds.

    If the provider accepts the key, jobs that were paused because it had refused the key continue.
    """
    services = services_of(request)
    _check_provider(provider)
    async with services.database.as_user(user_id) as conn:
        provider_key_id = await current_key(conn, user_id, provider)
        if provider_key_id is None:
            raise not_found(PROVIDER_KEYS_PATH)
        key = await open_key(conn, services.secrets, provider_key_id)
    outcome = await _check_key(services, provider, key)
    async with services.database.as_user(user_id) as conn:
        await mark_tested(conn, provider_key_id, outcome)
    if outcome is KeyTest.ACCEPTED:
        async with services.database.as_system() as conn:
            await reset(conn, key_scope(provider, provider_key_id))
    log.info(
        "provider_key.tested",
        user_id=user_id,
        provider=provider,
        provider_key_id=provider_key_id,
        outcome=outcome,
    )
    return TestedProviderKey(id=provider_key_id, provider=provider, outcome=outcome)


async def _check_key(services: Services, provider: str, key: str) -> KeyTest:
    try:
        is_accepted = await services.providers.keyed(provider, key).check_key()
    except ProviderUnavailableError:
        return KeyTest.UNREACHABLE
    return KeyTest.ACCEPTED if is_accepted else KeyTest.REFUSED


@router.delete(
    "/provider-keys/{provider}",
    summary="Delete an own provider key",
    responses=problems(FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND),
)
async def delete_provider_key(
    request: Request, user_id: AdminUser, provider: str
) -> DeletedProviderKey:
    """Exclude the key from new purchases, and erase it.

    It is erased at once, or when the last job that was bought with it has ended.
    """
    services = services_of(request)
    _check_provider(provider)
    async with services.database.as_user(user_id) as conn:
        deleted = await delete_key(conn, user_id, provider)
        if deleted is None:
            raise not_found(PROVIDER_KEYS_PATH)
        is_erased = deleted in await erase_unused(conn)
    log.info(
        "provider_key.deleted",
        user_id=user_id,
        provider=provider,
        provider_key_id=deleted,
        erased=is_erased,
    )
    return DeletedProviderKey(id=deleted, provider=provider, erased=is_erased)


def _check_provider(provider: str) -> None:
    if provider not in OWN_KEY_PROVIDERS:
        raise not_found(PROVIDER_KEYS_PATH)


def _own_key(key: ProviderKey) -> OwnProviderKey:
    retired_state = "replaced" if key.replaced_at is not None else "deleted"
    return OwnProviderKey(
        id=key.provider_key_id,
        provider=key.provider,
        version=key.version,
        state="current" if key.is_current else retired_state,
        hint=f"…{key.hint}",
        open_jobs=key.open_jobs,
        created_at=key.created_at,
        replaced_at=key.replaced_at,
        deleted_at=key.deleted_at,
        tested_at=key.tested_at,
        test_outcome=key.test_outcome,
    )
