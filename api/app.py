"""The HTTP application: routes, and every error as a problem."""

from collections.abc import Iterator, Sequence
from typing import Final

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import callbacks
from api.account import keys, provider_keys, usage
from api.auth.rate_limit import RateHeaders
from api.executions import assets, executions, generate_video, models, quotes, retry
from api.http import health, openapi
from api.http.body_limits import BodyLimits
from api.http.ordering_problems import ordering_problem
from api.http.problems import ProblemError, problem_response, unavailable, validation_problem
from api.http.restore_gate import refuse_while_closed
from api.services import Services
from api.webhooks import deliveries, endpoints
from core.domain.failures import FailureCode
from core.ordering.errors import OrderingError
from core.platform.observability.logging import get_logger
from core.store.database import DATABASE_DOWN
from core.version import VERSION

log = get_logger(__name__)

_CODES: Final = {
    404: FailureCode.NOT_FOUND,
    405: FailureCode.METHOD_NOT_ALLOWED,
    413: FailureCode.PAYLOAD_TOO_LARGE,
    415: FailureCode.UNSUPPORTED_MEDIA_TYPE,
}
"""What the framework itself refuses."""


def create_app(services: Services) -> FastAPI:
    """The services stay the caller's: open before the first request, closed after the last."""
    app = FastAPIOffline(  # the docs page brings its own scripts: no address of somebody else's
        title="Takeone",
        version=VERSION,
        summary="Durable AI video generation. Every step is paid for once.",
        redirect_slashes=False,
        redoc_url=None,
    )
    app.state.services = services
    for module in (generate_video, retry):
        app.include_router(module.router, dependencies=[Depends(refuse_while_closed)])
    for module in (
        assets,
        callbacks,
        endpoints,
        executions,
        health,
        keys,
        models,
        provider_keys,
        quotes,
        usage,
        deliveries,
    ):
        app.include_router(module.router)
    app.exception_handler(ProblemError)(_problem)
    app.exception_handler(OrderingError)(_ordering_error)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_refused)
    app.exception_handler(ClientDisconnect)(_gone)
    app.add_middleware(BodyLimits)
    app.add_middleware(LastResort)
    app.add_middleware(RateHeaders)
    openapi.install(app)
    return app


async def _problem(request: Request, error: ProblemError) -> Response:
    return problem_response(request, error)


async def _ordering_error(request: Request, error: OrderingError) -> Response:
    return problem_response(request, ordering_problem(error))


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    return problem_response(request, validation_problem(error.errors()))


async def _refused(request: Request, error: HTTPException) -> Response:
    code = _CODES.get(error.status_code, FailureCode.INVALID_REQUEST)
    headers = dict(error.headers or {})
    if code is FailureCode.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(sorted(_methods_at(request.app.routes, request.url.path)))
    return problem_response(request, ProblemError(code, headers=headers))


def _methods_at(routes: Sequence[BaseRoute], path: str) -> set[str]:
    """What this address takes; Starlette would name the methods of the first route that fits it."""
    fitting = [route for route in _all_routes(routes) if route.path_regex.match(path)]
    exact = [route for route in fitting if route.path == path]
    return {method for route in exact or fitting for method in route.methods or ()}


def _all_routes(routes: Sequence[BaseRoute]) -> Iterator[Route]:
    for route in routes:
        if isinstance(route, Route):
            yield route
        included: APIRouter | None = getattr(route, "original_router", None)
        if included is not None:
            yield from _all_routes(included.routes)


async def _gone(request: Request, _error: ClientDisconnect) -> Response:
    """Nobody reads this, but the log and the metrics should not call it our bug."""
    return problem_response(
        request, ProblemError(FailureCode.INVALID_REQUEST, "The body ended before its end.")
    )


class LastResort:
    """A database that is away is a 503, everything else our bug: logged, and told without
    its text.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def remember_start(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, remember_start)
        except Exception as error:
            if begun:
                raise
            response = problem_response(Request(scope), _unexpected(error))
            await response(scope, receive, send)


def _unexpected(error: Exception) -> ProblemError:
    # A wrong argument to a query is a kind of ValueError, and our bug.
    if isinstance(error, DATABASE_DOWN) and not isinstance(error, ValueError):
        log.warning("database away", reason=type(error).__name__)
        return unavailable()
    log.error("unexpected error", exc_info=error)
    return ProblemError(FailureCode.INTERNAL_ERROR)
