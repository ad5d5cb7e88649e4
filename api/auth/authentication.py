"""Authentication by API key or OIDC token, and the scopes of the caller."""

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.auth.rate_limit import class_of, only_reads, rate_limited, set_rate_headers
from api.auth.session_cookie import session_text
from api.http.problems.documents import ProblemError, unavailable
from api.http.problems.texts import CREDENTIAL_NEEDED, ISSUER_UNREACHABLE, SCOPES_MISSING
from api.services import Services, services_of
from core.domain.failures import FailureCode
from core.domain.ids import KeyId, UserId
from core.domain.scopes import Scope
from core.platform.key_cache import KeysUnavailableError
from core.platform.observability.logging import get_logger
from core.platform.oidc.issuer import Issuer, TokenIdentity
from core.platform.oidc.login import TokenRefusedError
from core.store.accounts.api_key_format import ApiKey, parse_api_key
from core.store.accounts.identities import admit_identity
from core.store.accounts.rate_limit import Rate, admit_request
from core.store.accounts.users import mark_key_used

JWT_DOTS: Final = 2

log = get_logger(__name__)
_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="apiKey",
    bearerFormat="tko_…",
    description="An API key of a Takeone user. If the operator has set an OIDC issuer, also a JWT of "
    "that issuer.",
)

Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The user of a request.

    name: the key id or the token's subject, for logs and audits. key_id: None for a token.
    """

    user_id: UserId
    scopes: frozenset[Scope]
    name: str
    key_id: KeyId | None = None


async def authenticate(request: Request, credentials: Credentials) -> Caller:
    """Return the caller and count the request. A session counts as the key that opened it.

    Raise ProblemError without a valid credential, or beyond its rate limit. The problem does not
    contain the reason why a credential is invalid.
    """
    if credentials is not None:
        return await caller_of(request, credentials.credentials)
    return await caller_of(request, session_text(request, services_of(request).public_base_url))


async def caller_of(request: Request, text: str) -> Caller:
    """Return the caller with this key or token, as `authenticate` does."""
    services = services_of(request)
    key = parse_api_key(text)
    if key is not None:
        return await _by_key(request, services, key)
    if services.issuer is not None and text.count(".") == JWT_DOTS:
        return await _by_token(request, services, services.issuer, text)
    raise unauthenticated()


async def _by_key(request: Request, services: Services, key: ApiKey) -> Caller:
    async with services.database.without_transaction() as conn:
        admission = await admit_request(conn, key, class_of(request), services.rates)
    if admission is None or not key.matches(admission.secret_sha256) or not admission.usable:
        raise unauthenticated()
    _check_rate(request, admission.rate)
    if admission.touch_due:
        async with services.database.as_system() as conn:
            await mark_key_used(conn, admission.key_id)
    return Caller(
        user_id=admission.user_id,
        scopes=admission.scopes,
        name=admission.key_id,
        key_id=admission.key_id,
    )


async def _by_token(request: Request, services: Services, issuer: Issuer, token: str) -> Caller:
    try:
        identity = await issuer.verify(token)
    except TokenRefusedError as error:
        log.debug("token.refused", reason=str(error))
        raise unauthenticated() from None
    except KeysUnavailableError:
        raise unavailable(ISSUER_UNREACHABLE) from None
    return await caller_with(request, services, identity)


async def caller_with(request: Request, services: Services, identity: TokenIdentity) -> Caller:
    """Return the caller with a verified identity, and count the request.

    Raise ProblemError if no user is linked to it, or beyond the rate limit.
    """
    async with services.database.without_transaction() as conn:
        admission = await admit_identity(
            conn,
            identity.issuer,
            identity.subject,
            identity.user_id,
            class_of(request),
            services.rates,
        )
    if admission is None or not admission.usable:
        raise unauthenticated()
    _check_rate(request, admission.rate)
    return Caller(user_id=admission.user_id, scopes=identity.scopes, name=identity.subject)


def _check_rate(request: Request, rate: Rate | None) -> None:
    if rate is None:
        return
    set_rate_headers(request, rate)
    if not rate.admitted:
        raise rate_limited(rate)


def unauthenticated() -> ProblemError:
    return ProblemError(
        FailureCode.UNAUTHENTICATED,
        CREDENTIAL_NEEDED,
        headers={"WWW-Authenticate": 'Bearer realm="takeone"'},
    )


AnyCaller = Annotated[Caller, Depends(authenticate)]


def current_caller(request: Request, caller: AnyCaller) -> Caller:
    """Return the caller. Raise ProblemError without the scope that the method needs."""
    _check_scope(caller, usual_scope(request.method, request.url.path))
    return caller


def current_user(caller: Annotated[Caller, Depends(current_caller)]) -> UserId:
    """Return the user. Raise ProblemError without the scope that the method needs."""
    return caller.user_id


def usual_scope(method: str, path: str) -> Scope:
    """Return the scope that a route needs unless it needs `admin`."""
    return Scope.READ if only_reads(method, path) else Scope.GENERATE


def current_admin(
    caller: Annotated[Caller, Security(authenticate, scopes=[Scope.ADMIN.value])],
) -> Caller:
    """Return the caller. Raise ProblemError without the scope `admin`.

    The scope in the annotation is documentation; FastAPI does not enforce it.
    """
    _check_scope(caller, Scope.ADMIN)
    return caller


def _admin_user(caller: Annotated[Caller, Depends(current_admin)]) -> UserId:
    return caller.user_id


def _check_scope(caller: Caller, scope: Scope) -> None:
    if scope not in caller.scopes:
        raise insufficient_scope(scope)


def insufficient_scope(*missing: Scope) -> ProblemError:
    names = " ".join(sorted(missing))
    return ProblemError(
        FailureCode.INSUFFICIENT_SCOPE,
        SCOPES_MISSING.format(scopes=names),
        members={"missingScopes": sorted(missing)},
        headers={
            "WWW-Authenticate": f'Bearer realm="takeone", error="insufficient_scope", scope="{names}"'
        },
    )


CurrentUser = Annotated[UserId, Depends(current_user)]
"""Needs the scope `read` for requests that only read, otherwise `generate`."""
CurrentCaller = Annotated[Caller, Depends(current_caller)]
"""Like CurrentUser, but with the caller's key: orders count for its spend limit."""
AdminUser = Annotated[UserId, Depends(_admin_user)]
"""Needs the scope `admin`, also for requests that only read."""
Admin = Annotated[Caller, Depends(current_admin)]
"""Like AdminUser, but with the caller's scopes and name."""
