"""Who asks, and what they may: a user, by an API key in the Authorization header."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.problems import ProblemError
from api.rates import announce, class_of, only_reads, rate_limited
from api.services import Services, services_of
from contracts.failures import FailureCode
from contracts.ids import UserId
from contracts.scopes import Scope
from store.keys import parse_api_key
from store.rates import admit_request
from store.users import mark_key_used

_bearer = HTTPBearer(
    auto_error=False, scheme_name="apiKey", bearerFormat="tko_…", description="An API key of a Takeone user."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """name: the id of the key, for whoever asks later what was done with it."""

    user_id: UserId
    scopes: frozenset[Scope]
    name: str


async def authenticate(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> Caller:
    """Whose key it is, and the request counted. Raises ProblemError: no usable key, or too many requests of it.

    What is wrong with a key is not said to whoever holds it.
    """
    key = parse_api_key(credentials.credentials) if credentials is not None else None
    if key is None:
        raise _unauthenticated()
    services: Services = services_of(request)
    async with services.database.alone() as conn:
        admission = await admit_request(conn, key, class_of(request), services.rates)
    if admission is None or not key.matches(admission.secret_sha256) or not admission.usable:
        raise _unauthenticated()
    if admission.rate is not None:
        announce(request, admission.rate)
        if not admission.rate.admitted:
            raise rate_limited(admission.rate)
    if admission.touch_due:
        async with services.database.as_system() as conn:
            await mark_key_used(conn, admission.key_id)
    return Caller(user_id=admission.user_id, scopes=admission.scopes, name=admission.key_id)


def _unauthenticated() -> ProblemError:
    return ProblemError(
        FailureCode.UNAUTHENTICATED,
        "Send a valid API key in the header Authorization: Bearer tko_…",
        headers={"WWW-Authenticate": 'Bearer realm="takeone"'},
    )


AnyCaller = Annotated[Caller, Depends(authenticate)]


def current_user(request: Request, caller: AnyCaller) -> UserId:
    """Raises ProblemError: the caller may not do what this method does."""
    _check_scope(caller, Scope.READ if only_reads(request) else Scope.GENERATE)
    return caller.user_id


def current_admin(caller: AnyCaller) -> Caller:
    """Raises ProblemError: the caller may not administer."""
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
        headers={"WWW-Authenticate": f'Bearer realm="takeone", error="insufficient_scope", scope="{names}"'},
    )


CurrentUser = Annotated[UserId, Depends(current_user)]
"""Needs the scope `read` to look at something, and `generate` for everything else."""
AdminUser = Annotated[UserId, Depends(_admin_user)]
"""Needs the scope `admin`, also to look."""
Admin = Annotated[Caller, Depends(current_admin)]
"""Like AdminUser, for who must know with what it was asked."""
