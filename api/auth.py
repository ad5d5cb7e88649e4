"""Who asks: a user, by an API key in the Authorization header."""

from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.problems import ProblemError
from api.services import Services, services_of
from contracts.failures import FailureCode
from contracts.ids import UserId
from store.keys import parse_api_key
from store.users import find_api_key, mark_key_used

_bearer = HTTPBearer(
    auto_error=False, scheme_name="apiKey", bearerFormat="tko_…", description="An API key of a Takeone user."
)


async def authenticate(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> UserId:
    """The user of the key. Raises ProblemError; what is wrong with a key is not said to whoever holds it."""
    key = parse_api_key(credentials.credentials) if credentials is not None else None
    if key is None:
        raise _unauthenticated()
    services: Services = services_of(request)
    async with services.database.as_system() as conn:
        record = await find_api_key(conn, key.prefix)
        if record is None or not key.matches(record.secret_sha256) or not record.usable:
            raise _unauthenticated()
        if record.touch_due:
            await mark_key_used(conn, record.key_id)
    return record.user_id


def _unauthenticated() -> ProblemError:
    return ProblemError(
        FailureCode.UNAUTHENTICATED,
        "Send a valid API key in the header Authorization: Bearer tko_…",
        headers={"WWW-Authenticate": 'Bearer realm="takeone"'},
    )


CurrentUser = Annotated[UserId, Depends(authenticate)]
