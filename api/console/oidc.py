"""Log in to the console at the identity provider.

The routes are pages of a browser, so they answer with redirects: to the provider, and back to the
console. The fragment of the console's address has the outcome.
"""

from enum import StrEnum
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from api.auth.authentication import caller_with
from api.auth.session_cookie import login_text, set_login
from api.console.files import CONSOLE_PATH
from api.console.sessions import start_session
from api.http.problems.documents import ProblemError, not_found
from api.services import Services, services_of
from core.domain.failures import FailureCode
from core.platform.key_cache import KeysUnavailableError
from core.platform.observability.logging import get_logger
from core.platform.oidc.issuer import Issuer
from core.platform.oidc.login import Login, LoginAttempt, TokenRefusedError

ATTEMPT_SECONDS: Final = 600
"""Time to enter a password and a second factor at the provider."""

log = get_logger(__name__)
router = APIRouter(prefix=f"{CONSOLE_PATH}/oidc", include_in_schema=False)


class Outcome(StrEnum):
    """The end of a login. The console has a sentence for each.

    DENIED: the user or the provider did not agree. EXPIRED: it was begun in another browser, or too
    long ago. REFUSED: the provider's answer is not valid. UNKNOWN: no account is linked to the
    subject. UNAVAILABLE: the provider cannot be reached. LIMITED: too many logins.
    """

    DONE = "done"
    DENIED = "denied"
    EXPIRED = "expired"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    UNAVAILABLE = "unavailable"
    LIMITED = "limited"


@router.get("/login")
async def begin_login(request: Request) -> Response:
    """Send the browser to the identity provider."""
    services, _, login = _login_of(request)
    attempt = LoginAttempt.new()
    try:
        address = await login.address(attempt, _redirect_url(services))
    except KeysUnavailableError:
        return _back(services, Outcome.UNAVAILABLE)
    response = RedirectResponse(address, status_code=302, headers={"Cache-Control": "no-store"})
    set_login(response, services.public_base_url, attempt.text, ATTEMPT_SECONDS)
    return response


@router.get("/callback")
async def finish_login(request: Request) -> Response:
    """Open a session for the user who comes back from the identity provider."""
    services, issuer, login = _login_of(request)
    response = _back(services, Outcome.DONE)
    try:
        attempt, code = _answer_of(request, services, login)
        await _open_session(request, services, issuer, attempt, code, response)
    except _EndedError as ended:
        log.info("console.login_refused", outcome=ended.outcome, reason=ended.reason)
        return _back(services, ended.outcome)
    return response


class _EndedError(Exception):
    """The login ends without a session."""

    def __init__(self, outcome: Outcome, reason: str = "") -> None:
        super().__init__(outcome, reason)
        self.outcome, self.reason = outcome, reason


def _answer_of(request: Request, services: Services, login: Login) -> tuple[LoginAttempt, str]:
    """Return the attempt of this browser and the code that the provider has answered."""
    query = request.query_params
    attempt = LoginAttempt.parse(login_text(request, services.public_base_url))
    if attempt is None or not attempt.has_state(query.get("state", "")):
        raise _EndedError(Outcome.EXPIRED)
    if "error" in query:
        raise _EndedError(Outcome.DENIED)
    if "iss" in query and not login.is_issuer(query["iss"]):
        raise _EndedError(Outcome.REFUSED, "another issuer")
    code = query.get("code", "")
    if not code:
        raise _EndedError(Outcome.REFUSED, "no code")
    return attempt, code


async def _open_session(
    request: Request,
    services: Services,
    issuer: Issuer,
    attempt: LoginAttempt,
    code: str,
    response: Response,
) -> None:
    try:
        identity = await issuer.log_in(attempt, code, _redirect_url(services))
        caller = await caller_with(request, services, identity)
        await start_session(services, caller, response)
    except TokenRefusedError as error:
        raise _EndedError(Outcome.REFUSED, str(error)) from None
    except KeysUnavailableError as error:
        raise _EndedError(Outcome.UNAVAILABLE, str(error)) from None
    except ProblemError as problem:
        is_limited = problem.code is FailureCode.RATE_LIMITED
        outcome = Outcome.LIMITED if is_limited else Outcome.UNKNOWN
        raise _EndedError(outcome, problem.code) from None


def _login_of(request: Request) -> tuple[Services, Issuer, Login]:
    services = services_of(request)
    issuer = services.issuer
    if issuer is None or issuer.login is None:
        raise not_found(CONSOLE_PATH)
    return services, issuer, issuer.login


def _redirect_url(services: Services) -> str:
    """Return the address that the provider must allow for the client."""
    return f"{services.public_base_url}{CONSOLE_PATH}/oidc/callback"


def _back(services: Services, outcome: Outcome) -> Response:
    """Return to the console; an attempt is used once."""
    response = RedirectResponse(
        f"{CONSOLE_PATH}/#login={outcome}", status_code=302, headers={"Cache-Control": "no-store"}
    )
    set_login(response, services.public_base_url, "", 0)
    return response
