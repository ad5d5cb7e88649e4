"""ASGI middleware with one log line and one measurement per request, for uvicorn's access log."""

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from core.platform.observability.logging import get_logger
from core.platform.observability.metrics import API_REQUEST_DURATION, API_RESPONSES

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

UNMATCHED_ROUTE = "unmatched"
MAX_PATH_CHARACTERS = 300
"""Of a path in the log. The paths of this API are shorter, and a client can send 64 kB."""
_EVENT_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Probes arrive every few seconds; only their failures are logged.
QUIET_ROUTES = frozenset({"/healthz", "/readyz"})

log = get_logger(__name__)

for _first_digit in "2345":
    API_RESPONSES.labels(f"{_first_digit}xx")  # start at zero, so that the first is an increase


class AccessLog:
    """Middleware for an app that stores its route in the scope, as Starlette does.

    The query is never logged, because it may contain secrets.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500  # the server's response if the app raises before its response starts
        start = time.perf_counter()
        streams_from: float | None = None

        async def send_and_store_status(message: Message) -> None:
            nonlocal status, streams_from
            if message["type"] == "http.response.start":
                status = int(message["status"])
                if _EVENT_STREAM in message.get("headers", ()):
                    streams_from = time.perf_counter()
            await send(message)

        try:
            await self._app(scope, receive, send_and_store_status)
        finally:
            end = time.perf_counter()
            _record(scope, status, end - start, (streams_from or end) - start)


def route_of(scope: Message) -> str:
    """Return the template of the route that served a request: a path has ids and tokens."""
    route: str = getattr(scope.get("route"), "path", UNMATCHED_ROUTE)
    return route


def method_of(scope: Message) -> str:
    return scope["method"] if scope["method"] in _METHODS else "other"


def _record(scope: Message, status: int, seconds: float, answered_seconds: float) -> None:
    """Record a request. answered_seconds: of an event stream, until it starts."""
    route, method = route_of(scope), method_of(scope)
    API_REQUEST_DURATION.labels(route, method, str(status)).observe(answered_seconds)
    if route in QUIET_ROUTES and status < 400:
        return
    if route not in QUIET_ROUTES:
        API_RESPONSES.labels(f"{status // 100}xx").inc()
    # The redactor removes the token of a callback's path, as in any text.
    log.info(
        "http.request_served",
        method=method,
        path=scope["path"][:MAX_PATH_CHARACTERS],
        route=route,
        status=status,
        duration_ms=round(seconds * 1000, 1),
    )
