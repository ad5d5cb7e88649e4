"""Who asks: a user, by an API key in the Authorization header."""

from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.problems import ProblemError
from api.rates import announce, class_of, rate_limited
from api.services import Services, services_of
from contracts.failures import FailureCode
from contracts.ids import UserId
from store.keys import parse_api_key
from store.rates import admit_request
from store.users import mark_key_used

_bearer = HTTPBearer(
    auto_error=False, scheme_name="apiKey", bearerFormat="tko_…", description="An API key of a Takeone user."
)


async def authenticate(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> UserId:
    """The user of the key, and the request counted. Raises ProblemError: no usable key, or too many requests of it.

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
    return admission.user_id


def _unauthenticated() -> ProblemError:
    return ProblemError(
        FailureCode.UNAUTHENTICATED,
        "Send a valid API key in the header Authorization: Bearer tko_…",
        headers={"WWW-Authenticate": 'Bearer realm="takeone"'},
    )


CurrentUser = Annotated[UserId, Depends(authenticate)]
