"""Sessions of the web console: log in, look up, log out, and tickets that log in once.

These routes belong to the console and are not part of the public API.
"""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import Field, model_validator

from api.auth.authentication import Caller, Credentials, caller_of, unauthenticated
from api.auth.session_cookie import is_same_origin, session_text, set_session
from api.events.callers import current_reader
from api.http.problems.documents import ProblemError
from api.http.problems.texts import BROWSER_NEEDED, CONSOLE_TICKET_REFUSED
from api.http.schemas import RequestBody, ResponseBody, Time
from api.http.strict_json import StrictJsonRoute
from api.services import Services, services_of
from core.domain.failures import FailureCode
from core.domain.scopes import Scope
from core.platform.observability.logging import get_logger
from core.store.accounts.api_key_format import parse_api_key
from core.store.accounts.sessions import (
    Session,
    find_session,
    insert_console_ticket,
    insert_session,
    revoke_session,
    take_console_ticket,
)

log = get_logger(__name__)
router = APIRouter(prefix="/console", route_class=StrictJsonRoute, include_in_schema=False)


class Login(RequestBody):
    """credential: an API key, or a token of the identity provider. ticket: of a one-time link."""

    credential: Annotated[str, Field(min_length=1, max_length=16_384)] | None = Field(
        None, repr=False
    )
    ticket: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(None, repr=False)

    @model_validator(mode="after")
    def _exactly_one(self) -> "Login":
        if (self.credential is None) == (self.ticket is None):
            raise ValueError("must have either credential or ticket")
        return self


class SessionUser(ResponseBody):
    id: str
    name: str


class OpenSession(ResponseBody):
    """A session. temporal_workflows_url: of the Temporal Web UI, for admins.

    An execution's id appended to it is the address of its workflow.
    """

    user: SessionUser
    scopes: list[Scope]
    expires_at: Time
    temporal_workflows_url: str | None


class SessionState(ResponseBody):
    """session: None without a usable cookie, which is not an error.

    identity_provider: whether /console/oidc/login logs in there.
    """

    session: OpenSession | None
    identity_provider: bool


class ConsoleTicket(ResponseBody):
    """url: opens the console, logged in, once."""

    ticket: str
    url: str
    expires_at: Time


@router.get("/session")
async def read_session(request: Request, response: Response) -> SessionState:
    """Return the session of the cookie."""
    response.headers["Cache-Control"] = "no-store"
    services = services_of(request)
    key = parse_api_key(session_text(request, services.public_base_url))
    if key is None:
        return _state(services, None)
    try:
        caller = await caller_of(request, key.text)
    except ProblemError as problem:
        if problem.code is not FailureCode.UNAUTHENTICATED:
            raise
        return _state(services, None)
    async with services.database.reading_as(caller.user_id) as conn:
        session = await find_session(conn, caller.user_id, key)
    return _state(services, session)


@router.post("/session", status_code=201)
async def open_session(request: Request, response: Response, body: Login) -> SessionState:
    """Set the cookie of a new session with the scopes of the credential.

    A login counts as a write of the credential, so its rate limit also limits sessions.
    """
    if not is_same_origin(request):
        raise ProblemError(FailureCode.MALFORMED_REQUEST, BROWSER_NEEDED)
    services = services_of(request)
    caller = await _ticket_caller(services, body.ticket) if body.ticket else None
    if caller is None:
        caller = await caller_of(request, body.credential or "")
        await _refuse_session(services, caller, body.credential or "")
    session = await start_session(services, caller, response)
    return _state(services, session)


async def start_session(services: Services, caller: Caller, response: Response) -> Session | None:
    """Open a session and set its cookie. Raise ProblemError without the scope `read`."""
    current_reader(caller)
    async with services.database.as_system() as conn:
        made = await insert_session(conn, caller.user_id, caller.scopes, caller.name)
        session = await find_session(conn, caller.user_id, made.key)
    seconds = int((made.expires_at - datetime.now(UTC)).total_seconds())
    set_session(response, services.public_base_url, made.key.text, max(seconds, 1))
    response.headers["Cache-Control"] = "no-store"
    log.info("console.session_opened", user_id=caller.user_id, made_by=caller.name)
    return session


@router.delete("/session", status_code=204)
async def close_session(request: Request, response: Response) -> None:
    """Revoke the session of the cookie and delete the cookie. Repeating is safe."""
    services = services_of(request)
    key = parse_api_key(session_text(request, services.public_base_url))
    if key is None:
        return
    async with services.database.as_system() as conn:
        await revoke_session(conn, key)
    set_session(response, services.public_base_url, "", 0)
    log.info("console.session_closed", prefix=key.prefix)


@router.post("/tickets", status_code=201)
async def create_ticket(
    request: Request, response: Response, credentials: Credentials
) -> ConsoleTicket:
    """Return a link that logs in once, within 15 minutes, with the scopes of the credential."""
    services = services_of(request)
    text = credentials.credentials if credentials is not None else ""
    caller = await caller_of(request, text)
    await _refuse_session(services, caller, text)
    async with services.database.as_user(caller.user_id) as conn:
        ticket = await insert_console_ticket(conn, caller.user_id, caller.scopes, caller.name)
    response.headers["Cache-Control"] = "no-store"
    return ConsoleTicket(
        ticket=ticket.text,
        # Browsers do not send the fragment, so no log has the ticket.
        url=f"{services.public_base_url}/console/#ticket={ticket.text}",
        expires_at=ticket.expires_at,
    )


async def _ticket_caller(services: Services, ticket: str) -> Caller:
    async with services.database.as_system() as conn:
        taken = await take_console_ticket(conn, ticket)
    if taken is None:
        raise ProblemError(FailureCode.UNAUTHENTICATED, CONSOLE_TICKET_REFUSED)
    return Caller(user_id=taken.user_id, scopes=taken.scopes, name=taken.made_by)


async def _refuse_session(services: Services, caller: Caller, text: str) -> None:
    """Raise ProblemError for the key of a session, which must end after its 12 hours."""
    key = parse_api_key(text)
    if key is None:
        return
    async with services.database.reading_as(caller.user_id) as conn:
        if await find_session(conn, caller.user_id, key) is not None:
            raise unauthenticated()


def _state(services: Services, session: Session | None) -> SessionState:
    return SessionState(
        session=_answer(services, session) if session is not None else None,
        identity_provider=services.issuer is not None and services.issuer.login is not None,
    )


def _answer(services: Services, session: Session) -> OpenSession:
    return OpenSession(
        user=SessionUser(id=session.user_id, name=session.user_name),
        scopes=sorted(session.scopes),
        expires_at=session.expires_at,
        temporal_workflows_url=_workflows_url(services) if Scope.ADMIN in session.scopes else None,
    )


def _workflows_url(services: Services) -> str | None:
    if services.temporal_ui_url is None:
        return None
    return f"{services.temporal_ui_url}/namespaces/{services.temporal.namespace}/workflows/"
