"""A user's own keys at the providers over HTTP: put, listed masked, tested, deleted. None ever
comes out again.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from api.auth.authentication import AdminUser
from api.http.bodies import read_json
from api.http.openapi import problems, request_body
from api.http.problems import not_found, validation_problem
from api.http.schemas import ResponseBody as Wire
from api.http.schemas import Time
from api.services import Services, services_of
from core.domain.failures import FailureCode
from core.domain.messages.jobs import key_scope
from core.platform.observability.logging import get_logger
from core.providers.port import ProviderUnavailableError
from core.providers.registry import PROVIDER_NAMES
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

_PATH = "/api/provider-keys"

log = get_logger(__name__)
router = APIRouter(prefix="/api", tags=["provider keys"])


class ProviderKeyRequest(BaseModel):
    """The key, as the provider shows it."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=False,
        extra="forbid",
        strict=True,
        frozen=True,
        json_schema_extra={"examples": [{"key": "your-own-key-at-this-provider"}]},
    )

    # What a header can carry. Real ones have forty characters and more.
    key: Annotated[str, Field(min_length=16, max_length=512, pattern=r"^[!-~]+$")] = Field(
        repr=False,
        description="Kept encrypted. It is in no answer and no log.",
        json_schema_extra={"writeOnly": True},
    )


class OwnProviderKey(Wire):
    """version: 1, 2, … of your keys at this provider. state: what is bought from now on, is bought
    with `current`.

    An older one is listed until the last of its openJobs, bought with it, needs it no more; then it
    is erased. hint: its last four characters.
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


class OwnProviderKeyList(Wire):
    data: list[OwnProviderKey]


class TestedProviderKey(Wire):
    """outcome: accepted, refused, or unreachable: the provider said neither."""

    id: str
    provider: str
    outcome: KeyTest


class DeletedProviderKey(Wire):
    """erased: false while jobs are open that were bought with it."""

    id: str
    provider: str
    erased: bool


@router.put(
    "/provider-keys/{provider}",
    summary="Use a key of your own at a provider",
    openapi_extra=request_body(ProviderKeyRequest),
    responses=problems(
        FailureCode.UNAUTHENTICATED,
        FailureCode.NOT_FOUND,
        FailureCode.PAYLOAD_TOO_LARGE,
        FailureCode.UNSUPPORTED_MEDIA_TYPE,
        FailureCode.INVALID_REQUEST,
    ),
)
async def put_provider_key(request: Request, user_id: AdminUser, provider: str) -> OwnProviderKey:
    """What is bought from now on is bought with it. What was bought with the one before goes on
    with that.
    """
    services = services_of(request)
    _check_provider(provider)
    wanted = _parse(await read_json(request))
    async with services.database.as_user(user_id) as conn:
        made = await put_key(conn, services.secrets, user_id, provider, wanted.key)
        await erase_unused(conn)
    log.info("provider key put", user_id=user_id, provider=provider, key=made.provider_key_id)
    return _answer(made)


@router.get(
    "/provider-keys",
    summary="Your own keys at providers",
    responses=problems(FailureCode.UNAUTHENTICATED),
)
async def read_provider_keys(request: Request, user_id: AdminUser) -> OwnProviderKeyList:
    """Those in use, masked."""
    async with services_of(request).database.reading_as(user_id) as conn:
        return OwnProviderKeyList(data=[_answer(key) for key in await list_keys(conn, user_id)])


@router.post(
    "/provider-keys/{provider}/test",
    summary="Ask the provider whether it takes your key",
    responses=problems(FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND),
)
async def test_provider_key(
    request: Request, user_id: AdminUser, provider: str
) -> TestedProviderKey:
    """A read that costs nothing. Takes up to ten seconds. If the key is taken, what waits because
    it was refused before goes on.
    """
    services = services_of(request)
    _check_provider(provider)
    async with services.database.as_user(user_id) as conn:
        provider_key_id = await current_key(conn, user_id, provider)
        if provider_key_id is None:
            raise not_found(_PATH)
        key = await open_key(conn, services.secrets, provider_key_id)
    outcome = await _ask(services, provider, key)
    async with services.database.as_user(user_id) as conn:
        await mark_tested(conn, provider_key_id, outcome)
    if outcome is KeyTest.ACCEPTED:
        async with services.database.as_system() as conn:
            await reset(conn, key_scope(provider, provider_key_id))
    log.info(
        "provider key tested",
        user_id=user_id,
        provider=provider,
        key=provider_key_id,
        outcome=outcome,
    )
    return TestedProviderKey(id=provider_key_id, provider=provider, outcome=outcome)


async def _ask(services: Services, provider: str, key: str) -> KeyTest:
    try:
        taken = await services.providers.keyed(provider, key).check_key()
    except ProviderUnavailableError:
        return KeyTest.UNREACHABLE
    return KeyTest.ACCEPTED if taken else KeyTest.REFUSED


@router.delete(
    "/provider-keys/{provider}",
    summary="Use your own key no more",
    responses=problems(FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND),
)
async def delete_provider_key(
    request: Request, user_id: AdminUser, provider: str
) -> DeletedProviderKey:
    """Nothing more is bought with it. It is erased at once, or as soon as no job that was bought
    with it is open.
    """
    services = services_of(request)
    _check_provider(provider)
    async with services.database.as_user(user_id) as conn:
        deleted = await delete_key(conn, user_id, provider)
        if deleted is None:
            raise not_found(_PATH)
        erased = deleted in await erase_unused(conn)
    log.info("provider key deleted", user_id=user_id, provider=provider, key=deleted, erased=erased)
    return DeletedProviderKey(id=deleted, provider=provider, erased=erased)


def _check_provider(provider: str) -> None:
    if provider not in PROVIDER_NAMES:
        raise not_found(_PATH)


def _parse(plain: dict[str, Any]) -> ProviderKeyRequest:
    try:
        return ProviderKeyRequest.model_validate(plain)
    except ValidationError as error:
        raise validation_problem(error.errors(include_url=False, include_input=False)) from None


def _answer(key: ProviderKey) -> OwnProviderKey:
    retired = "replaced" if key.replaced_at is not None else "deleted"
    return OwnProviderKey(
        id=key.provider_key_id,
        provider=key.provider,
        version=key.version,
        state="current" if key.is_current else retired,
        hint=f"…{key.hint}",
        open_jobs=key.open_jobs,
        created_at=key.created_at,
        replaced_at=key.replaced_at,
        deleted_at=key.deleted_at,
        tested_at=key.tested_at,
        test_outcome=key.test_outcome,
    )
