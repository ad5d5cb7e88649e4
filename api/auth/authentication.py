"""Who asks, and what they may: a user, by an API key or an issuer's token in the Authorization
header.
"""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.auth.rate_limit import announce, class_of, only_reads, rate_limited
from api.http.problems import ProblemError, unavailable
from api.services import Services, services_of
from core.domain.failures import FailureCode
from core.domain.ids import UserId
from core.domain.scopes import Scope
from core.platform.observability.logging import get_logger
from core.platform.oidc.issuer import Issuer, TokenRefusedError
from core.platform.oidc.jwks import KeysUnreachableError
from core.store.accounts.api_key_format import ApiKey, parse_api_key
from core.store.accounts.identities import admit_identity
from core.store.accounts.rate_limit import Rate, admit_request
from core.store.accounts.users import mark_key_used

_JWT_DOTS = 2

log = get_logger(__name__)
_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="apiKey",
    bearerFormat="tko_…",
    description="An API key of a Takeone user; where the operator has set an issuer, also a JWT of that issuer.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """name: the id of the key, or the token's subject, for whoever asks later what was done with
    it.
    """

    user_id: UserId
    scopes: frozenset[Scope]
    name: str


async def authenticate(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> Caller:
    """Who it is, and the request counted. Raises ProblemError: no usable credential, or too many
    requests with it.

    What is wrong with a credential is not said to whoever holds it.
    """
    text = credentials.credentials if credentials is not None else ""
    services = services_of(request)
    key = parse_api_key(text)
    if key is not None:
        return await _by_key(request, services, key)
    if services.issuer is not None and text.count(".") == _JWT_DOTS:
        return await _by_token(request, services, services.issuer, text)
    raise _unauthenticated()


async def _by_key(request: Request, services: Services, key: ApiKey) -> Caller:
    async with services.database.alone() as conn:
        admission = await admit_request(conn, key, class_of(request), services.rates)
    if admission is None or not key.matches(admission.secret_sha256) or not admission.usable:
        raise _unauthenticated()
    _check_rate(request, admission.rate)
    if admission.touch_due:
        async with services.database.as_system() as conn:
            await mark_key_used(conn, admission.key_id)
    return Caller(user_id=admission.user_id, scopes=admission.scopes, name=admission.key_id)


async def _by_token(request: Request, services: Services, issuer: Issuer, token: str) -> Caller:
    try:
        vouched = await issuer.verify(token)
    except TokenRefusedError as error:
        log.debug("token refused", reason=str(error))
        raise _unauthenticated() from None
    except KeysUnreachableError:
        raise unavailable(
            "Tokens cannot be checked now: the keys of their issuer cannot be read."
        ) from None
    async with services.database.alone() as conn:
        admission = await admit_identity(
            conn,
            vouched.issuer,
            vouched.subject,
            vouched.user_id,
            class_of(request),
            services.rates,
        )
    if admission is None or not admission.usable:
        raise _unauthenticated()
    _check_rate(request, admission.rate)
    return Caller(user_id=admission.user_id, scopes=vouched.scopes, name=vouched.subject)


def _check_rate(request: Request, rate: Rate | None) -> None:
    if rate is None:
        return
    announce(request, rate)
    if not rate.admitted:
        raise rate_limited(rate)


def _unauthenticated() -> ProblemError:
    return ProblemError(
        FailureCode.UNAUTHENTICATED,
        "Send a valid API key in the header Authorization: Bearer tko_…, or a token of this service's issuer.",
        headers={"WWW-Authenticate": 'Bearer realm="takeone"'},
    )


AnyCaller = Annotated[Caller, Depends(authenticate)]


def current_user(request: Request, caller: AnyCaller) -> UserId:
    """Raises ProblemError: the caller may not do what this method does."""
    _check_scope(caller, usual_scope(request.method, request.url.path))
    return caller.user_id


def usual_scope(method: str, path: str) -> Scope:
    """What a route asks for that is not for administration."""
    return Scope.READ if only_reads(method, path) else Scope.GENERATE


def current_admin(
    caller: Annotated[Caller, Security(authenticate, scopes=[Scope.ADMIN.value])],
) -> Caller:
    """Raises ProblemError: the caller may not administer. Naming the scope above is for the
    documentation alone.
    """
    _check_scope(caller, Scope.ADMIN)
    return caller


def _admin_user(caller: Annotated[Caller, Depends(current_admin)]) -> UserId:
    return caller.user_id


def _check_scope(caller: Caller, needed: Scope) -> None:
    if needed not in caller.scopes:
        raise insufficient_scope(needed)


def insufficient_scope(*needed: Scope) -> ProblemError:
    """needed: those that are missing."""
    names = " ".join(sorted(needed))
    return ProblemError(
        FailureCode.INSUFFICIENT_SCOPE,
        f"Missing: {names}.",
        members={"missingScopes": sorted(needed)},
        headers={
            "WWW-Authenticate": f'Bearer realm="takeone", error="insufficient_scope", scope="{names}"'
        },
    )


CurrentUser = Annotated[UserId, Depends(current_user)]
"""Needs the scope `read` to look at something, and `generate` for everything else."""
AdminUser = Annotated[UserId, Depends(_admin_user)]
"""Needs the scope `admin`, also to look."""
Admin = Annotated[Caller, Depends(current_admin)]
"""Like AdminUser, for who must know with what it was asked."""
