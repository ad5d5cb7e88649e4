"""ASGI middleware that answers HEAD wherever a route answers GET."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

_IS_HEAD: Final = "takeone.head"


def is_head(scope: Scope) -> bool:
    """Return whether a request that runs as GET is a HEAD."""
    return _IS_HEAD in scope


class HeadRequests:
    """Run HEAD as GET. The server omits the body of the response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        as_get = {**scope, "method": "GET", _IS_HEAD: True}
        try:
            await self._app(as_get, receive, send)
        finally:
            scope["route"] = as_get.get("route")  # the access log reads it
