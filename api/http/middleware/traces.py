"""ASGI middleware that begins a trace for every request, if traces are configured."""

from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.platform.observability import tracing
from core.platform.observability.access_log import QUIET_ROUTES, method_of, route_of
from core.platform.observability.tracing import Kind

HEADER: Final = "trace-id"
TRACEPARENT: Final = "traceparent"


class Traces:
    """Record each request, and return its trace id in a header.

    A client's own trace becomes a link: a stranger must not choose our trace ids and what is
    sampled.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in QUIET_ROUTES or not tracing.is_on():
            await self._app(scope, receive, send)
            return
        method = method_of(scope)
        theirs = Headers(scope=scope).get(TRACEPARENT)
        with tracing.span(method, Kind.SERVER, is_root=True, links=[theirs], method=method) as span:

            async def send_with_id(message: Message) -> None:
                if span is not None and message["type"] == "http.response.start":
                    MutableHeaders(scope=message)[HEADER] = span.context.trace_id
                    span.set(status=int(message["status"]))
                await send(message)

            try:
                await self._app(scope, receive, send_with_id)
            finally:
                if span is not None:
                    route = route_of(scope)
                    span.name = f"{method} {route}"
                    span.set(route=route)


def trace_id() -> str | None:
    """Return the trace id of the request that is being handled; None without traces."""
    place = tracing.current()
    return None if place is None else place.trace_id
