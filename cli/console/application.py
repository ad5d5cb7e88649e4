"""The HTTP application of the operator's console: its pages, its session, and commands.

    GET  /commands/jobs/list?state=unknown    run a command that only reads
    POST /commands/jobs/adopt {"values": {}}  the dry run of a command, and its confirmation
    POST /confirmations/{id}                  run what the dry run has shown

Responses have the command as an operator types it, its exit code, and its JSON output.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, cast

import typer
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from cli.console.guard import Guard
from cli.console.links import PAGE
from cli.console.served import CommandLine, Kind, command_line
from cli.console.sessions import OperatorSession, OperatorSessions
from cli.main import execute, parse
from cli.session import ExitCode, Session
from core.platform.console_files import read_files
from core.platform.observability.logging import get_logger
from core.store.operator import RefusedError

TOKEN_HEADER: Final = "x-takeone-operator"  # noqa: S105 - a name
MAX_BODY_BYTES: Final = 65_536
NO_STORE: Final = {"Cache-Control": "no-store"}
STATUS: Final[Mapping[int, tuple[int, str, str]]] = {
    ExitCode.FAILED: (409, "failed", "The command failed."),
    ExitCode.REFUSED: (422, "refused", "The command was refused."),
    ExitCode.MUST_RECOVER: (409, "must_recover", "The database must be recovered first."),
}
"""The response to a failed command by its exit code: status, code and title."""

log = get_logger(__name__)


class ProblemError(Exception):
    """A refused request. Its document has the form of the API's."""

    def __init__(self, status: int, code: str, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.document = {"status": status, "code": code, "title": title, "detail": detail}


class OperatorConsole:
    """The routes. session: of the commands, with a database that all of them share."""

    def __init__(
        self, session: Session, sessions: OperatorSessions, *, workflows_url: str | None = None
    ) -> None:
        self._session = session
        self._sessions = sessions
        self._workflows_url = workflows_url
        self._files = read_files()

    def app(self) -> Starlette:
        """Return the application, behind the guard."""
        routes = [
            Route("/session", self.read_session, methods=["GET"]),
            Route("/session", self.open_session, methods=["POST"]),
            Route("/session", self.close_session, methods=["DELETE"]),
            Route("/commands/{name:path}", self.read, methods=["GET"]),
            Route("/commands/{name:path}", self.show, methods=["POST"]),
            Route("/confirmations/{confirmation}", self.confirm, methods=["POST"]),
            Route("/", enter, methods=["GET"]),
            Route("/{path:path}", self.read_file, methods=["GET"]),
        ]
        return Starlette(
            routes=routes,
            middleware=[Middleware(Guard)],
            exception_handlers={ProblemError: _problem},
        )

    async def read_file(self, request: Request) -> Response:
        path = request.path_params["path"]
        file = self._files.get(f"{path}index.html" if path.endswith("/") else path)
        if file is None:
            raise ProblemError(404, "not_found", "Not found", "There is no such page.")
        headers = {"Cache-Control": "no-cache", "ETag": file.etag}
        if file.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(file.content, media_type=file.media_type, headers=headers)

    async def open_session(self, request: Request) -> Response:
        """Exchange the ticket of a link for a token."""
        ticket = (await _body(request)).get("ticket")
        opened = self._sessions.open(ticket) if isinstance(ticket, str) else None
        if opened is None:
            raise _no_session("The link has been used, is too old, or was made with other keys.")
        token, session = opened
        log.info("operator.session_opened", actor=session.actor)
        return _json({"token": token, "session": self._session_json(session)}, status=201)

    async def read_session(self, request: Request) -> Response:
        session = self._sessions.find(_token(request))
        return _json({"session": None if session is None else self._session_json(session)})

    async def close_session(self, request: Request) -> Response:
        self._sessions.close(_token(request))
        return Response(status_code=204, headers=NO_STORE)

    async def read(self, request: Request) -> Response:
        """Run a command that only reads."""
        session = self._caller(request)
        line = self._line(request, dict(request.query_params), session)
        if line.kind is not Kind.READ:
            raise ProblemError(405, "not_a_read", "Not a read", "Send its dry run with POST.")
        return _json(await self._run(line.real, line.text))

    async def show(self, request: Request) -> Response:
        """Run the dry run of a command, and return the id that confirms it."""
        session = self._caller(request)
        values = (await _body(request)).get("values", {})
        if not isinstance(values, dict):
            raise ProblemError(422, "refused", "Invalid request", "values must be an object.")
        line = self._line(request, cast("dict[str, object]", values), session)
        if line.kind is Kind.CHECK:
            return _json(await self._run(line.real, line.text))
        if line.kind is Kind.READ:
            raise ProblemError(405, "only_a_read", "Only a read", "Read it with GET.")
        shown = await self._run(line.dry, line.text)
        return _json({**shown, "confirmation": session.keep(line.real, line.text)})

    async def confirm(self, request: Request) -> Response:
        """Run the command of a dry run, once."""
        session = self._caller(request)
        dry_run = session.take(request.path_params["confirmation"])
        if dry_run is None:
            detail = "It was confirmed already, or the dry run is too old. Run the dry run again."
            raise ProblemError(409, "not_shown", "Nothing to confirm", detail)
        log.info("operator.command_run", actor=session.actor, command=dry_run.arguments[:2])
        return _json(await self._run(dry_run.arguments, dry_run.command))

    def _caller(self, request: Request) -> OperatorSession:
        session = self._sessions.find(_token(request))
        if session is None:
            raise _no_session("The session has ended.")
        return session

    def _line(
        self, request: Request, values: Mapping[str, object], session: OperatorSession
    ) -> CommandLine:
        name = request.path_params["name"].replace("/", " ")
        try:
            return command_line(name, values, actor=f"{session.actor} (console)")
        except LookupError as error:
            raise ProblemError(404, "not_found", "No such command", str(error.args[0])) from None
        except RefusedError as error:
            raise ProblemError(422, "refused", "Invalid value", str(error)) from None

    async def _run(self, arguments: tuple[str, ...], text: str) -> dict[str, Any]:
        try:
            command = parse(list(arguments), self._session)
        except typer.TyperException as error:
            detail = error.format_message()
            raise ProblemError(422, "refused", "Invalid value", detail) from None
        assert not isinstance(command, int)  # noqa: S101 - only --help returns a number
        code, output, is_result = await execute(command)
        if not is_result:
            status, name, title = STATUS[code]
            raise ProblemError(status, name, title, output)
        return {"command": text, "code": code, "result": json.loads(output)}

    def _session_json(self, session: OperatorSession) -> dict[str, object]:
        return {
            "actor": session.actor,
            "expiresAt": datetime.fromtimestamp(session.expires_at, UTC).isoformat(),
            "workflowsUrl": self._workflows_url,
        }


async def enter(_request: Request) -> Response:
    return RedirectResponse(PAGE, headers=NO_STORE)


async def _problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)  # noqa: S101 - registered for this class
    return _json(error.document, status=error.status, media_type="application/problem+json")


def _no_session(reason: str) -> ProblemError:
    detail = f"{reason} Print a new link with: takeone-admin console-link"
    return ProblemError(401, "unauthenticated", "Not logged in", detail)


def _token(request: Request) -> str:
    return request.headers.get(TOKEN_HEADER, "")


async def _body(request: Request) -> dict[str, object]:
    """Return the JSON object of a body. Raise ProblemError."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BODY_BYTES:
            raise ProblemError(413, "payload_too_large", "Too large", "The body is too large.")
    try:
        body: object = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise ProblemError(400, "malformed_request", "Invalid request", "Send a JSON object.")
    return cast("dict[str, object]", body)


def _json(
    content: Mapping[str, object], *, status: int = 200, media_type: str = "application/json"
) -> Response:
    return JSONResponse(dict(content), status, NO_STORE, media_type)
