"""Every error of the application as a problem document."""

from collections.abc import Iterator, Sequence
from typing import Final

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.problems.documents import (
    ProblemError,
    problem_response,
    unavailable,
    validation_problem,
)
from api.http.problems.ordering import ordering_problem
from core.domain.failures import FailureCode
from core.ordering.errors import OrderingError
from core.platform.observability.logging import get_logger
from core.store.database import DATABASE_DOWN

log = get_logger(__name__)

_FRAMEWORK_CODES: Final = {
    400: FailureCode.MALFORMED_REQUEST,
    404: FailureCode.NOT_FOUND,
    405: FailureCode.METHOD_NOT_ALLOWED,
    413: FailureCode.PAYLOAD_TOO_LARGE,
    415: FailureCode.UNSUPPORTED_MEDIA_TYPE,
}
"""Statuses that the framework raises by itself."""


def install_error_handlers(app: FastAPI) -> None:
    app.exception_handler(ProblemError)(_problem)
    app.exception_handler(OrderingError)(_ordering)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_framework)


async def _problem(request: Request, error: ProblemError) -> Response:
    return problem_response(request, error)


async def _ordering(request: Request, error: OrderingError) -> Response:
    return problem_response(request, ordering_problem(error))


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    return problem_response(request, validation_problem(error.errors(), error.body))


async def _framework(request: Request, error: HTTPException) -> Response:
    code = _FRAMEWORK_CODES.get(error.status_code, FailureCode.INVALID_REQUEST)
    headers = dict(error.headers or {})
    if code is FailureCode.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(sorted(_methods_at(request.app.routes, request.url.path)))
    return problem_response(request, ProblemError(code, headers=headers))


def _methods_at(routes: Sequence[BaseRoute], path: str) -> set[str]:
    """Return all methods of a path; Starlette names those of the first matching route alone."""
    matching = [route for route in _all_routes(routes) if route.path_regex.match(path)]
    exact = [route for route in matching if route.path == path]
    methods = {method for route in exact or matching for method in route.methods or ()}
    return methods | {"HEAD"} if "GET" in methods else methods


def _all_routes(routes: Sequence[BaseRoute]) -> Iterator[Route]:
    for route in routes:
        if isinstance(route, Route):
            yield route
        included: APIRouter | None = getattr(route, "original_router", None)
        if included is not None:
            yield from _all_routes(included.routes)


class UnexpectedErrors:
    """ASGI middleware for every other exception: 503 if the database is down, otherwise 500.

    The exception is logged; its text is not sent to the client.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def note_start(message: Message) -> None:
            nonlocal has_begun
            has_begun = has_begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, note_start)
        except Exception as error:
            if has_begun:
                raise
            response = problem_response(Request(scope), _unexpected(error))
            await response(scope, receive, send)


def _unexpected(error: Exception) -> ProblemError:
    # A wrong argument to a query is also a ValueError; that is a defect, not an outage.
    if isinstance(error, DATABASE_DOWN) and not isinstance(error, ValueError):
        log.warning("request.database_unavailable", reason=type(error).__name__)
        return unavailable()
    log.error("request.failed_unexpectedly", exc_info=error)
    return ProblemError(FailureCode.INTERNAL_ERROR)
