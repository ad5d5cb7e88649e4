"""One log line and one measurement per HTTP request, in place of uvicorn's access log. Plain ASGI
middleware.
"""

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from core.platform.observability.logging import get_logger
from core.platform.observability.metrics import API_REQUEST_DURATION

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

UNMATCHED_ROUTE = "unmatched"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Probes come every few seconds and say nothing unless they fail.
_QUIET_ROUTES = frozenset({"/healthz", "/readyz"})

log = get_logger(__name__)


class AccessLog:
    """Wraps an app that leaves its route in the scope, as Starlette does. The query never gets into
    the log.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500  # what the server answers if the app raises before it has begun to answer
        start = time.perf_counter()

        async def remember_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, remember_status)
        finally:
            _record(scope, status, time.perf_counter() - start)


def _record(scope: Message, status: int, seconds: float) -> None:
    route: str = getattr(scope.get("route"), "path", UNMATCHED_ROUTE)
    method: str = scope["method"] if scope["method"] in _METHODS else "other"
    API_REQUEST_DURATION.labels(route, method, str(status)).observe(seconds)
    if route in _QUIET_ROUTES and status < 400:
        return
    # The path goes through the redactor like any text: a callback's token is blanked there.
    log.info(
        "http.request_served",
        method=method,
        path=scope["path"],
        route=route,
        status=status,
        duration_ms=round(seconds * 1000, 1),
    )
